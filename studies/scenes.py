"""Are the synthetic scenes a real test? k-NN and linear probes of patches, on held-out scenes.

All arms match patches by the paper's rule; `studies.matching` compares it with the nearest.

Pixels and random features must tell categories badly, a trained model much better, and one
that is trained on scenes whose patches were shuffled hardly better: categories are in structures
larger than a patch. One command, which goes on where it was stopped:

    python -m studies.scenes --out runs/scenes --seeds 0 1 2

Results are written to ``studies/scenes.json``.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

import patchwise
from patchwise.configs.backbone import ViTConfig
from patchwise.data.segmentation import SegmentationSource, open_segmentation
from patchwise.data.synthetic import CATEGORIES, render_scenes, shuffle_patches
from patchwise.eval.baselines import RawPatches
from patchwise.eval.results import headline
from patchwise.eval.squares import class_shares, read_patches
from patchwise.features.subject import ModelIdentity, Subject
from patchwise.files import write_text
from patchwise.models.backbone import Backbone, BackboneOutput
from patchwise.models.vit import ViT

RESULTS = Path(__file__).with_suffix(".json")
PATCH_PX, SIZE_PX = 8, 64
SCENES = "scenes:20000"
PROTOCOLS = ("knn/patches-short", "incontext/hummingbird-short", "linseg/cotap-short")
# Half an hour on two cores. In a long run patches do as well or better in their own colours.
LONG: dict[str, Any] = {
    "train.epochs": 15.0,
    "optim.warmup_epochs": 1.0,
    "method.recolour_patches": False,
}
SHUFFLED = 20_000  # scenes, as many as the demo trains on


@dataclass(frozen=True)
class Score:
    """How well held-out patches and pixels are told apart."""

    knn: float  # share of patches whose category is found
    linear: float  # likewise, by a logistic regression
    incontext: float  # mIoU
    linseg: float  # mIoU


class MeanColour(RawPatches):
    """Nothing but the mean colour of each patch."""

    def __init__(self, patch_px: int) -> None:
        super().__init__(patch_px)
        self.dim = 3
        self.identity = ModelIdentity("mean colour", None)

    def __call__(self, images: Tensor, *, attention: bool = False) -> BackboneOutput:
        maps = F.avg_pool2d(images, self.patch_px)
        patches = maps.flatten(2).mT
        return BackboneOutput(patches.mean(dim=1), patches, (maps.shape[2], maps.shape[3]))


def score(backbone: Backbone) -> Score:
    """Score a backbone on 200 scenes with 400 others to learn from."""
    results = [patchwise.evaluate(backbone, protocol=p, data="scenes") for p in PROTOCOLS]
    data = open_segmentation("scenes", size_px=SIZE_PX)
    linear = linear_probe(*labelled(backbone, data.fit), *labelled(backbone, data.test))
    knn, incontext, linseg = (headline(result)[1] for result in results)
    return Score(knn, linear, incontext, linseg)


def labelled(backbone: Backbone, part: SegmentationSource) -> tuple[Tensor, Tensor]:
    """Return features and category of the patches of which at least half is one object."""
    found, classes = [], []
    subject = Subject(backbone, ModelIdentity("model", None))
    for patches in read_patches(
        subject, part, range(len(part)), size_px=SIZE_PX, classes=1 + len(CATEGORIES)
    ):
        share, category = patches.shares[..., 1:].max(dim=-1)
        found.append(patches.features[share >= 0.5])
        classes.append(category[share >= 0.5])
    return torch.cat(found), torch.cat(classes)


def linear_probe(memory: Tensor, labels: Tensor, query: Tensor, truth: Tensor) -> float:
    """Accuracy of a logistic regression on standardised features, with a little weight decay."""
    mean, std = memory.mean(dim=0), memory.std(dim=0) + 1e-6
    memory, query = (memory - mean) / std, (query - mean) / std
    weight = torch.zeros(memory.shape[1], len(CATEGORIES), requires_grad=True)
    bias = torch.zeros(len(CATEGORIES), requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(memory @ weight + bias, labels) + 1e-4 * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        return float(((query @ weight + bias).argmax(dim=1) == truth).double().mean())


def with_labels(steps: int = 1000, batch: int = 64) -> ViT:
    """Train the demo's backbone on the scenes' own masks: how much there is to be learnt."""
    torch.manual_seed(0)
    vit = ViT(ViTConfig(dim=96, depth=4, heads=3, patch_px=PATCH_PX, image_px=SIZE_PX))
    head = torch.nn.Linear(vit.dim, len(CATEGORIES))
    optimizer = torch.optim.AdamW([*vit.parameters(), *head.parameters()], lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-3, total_steps=steps)
    for step in range(steps):
        scenes = render_scenes(np.arange(step * batch, (step + 1) * batch), size_px=SIZE_PX)
        images = torch.from_numpy(scenes.images).movedim(-1, 1).float() / 255
        semantic = torch.from_numpy(scenes.semantic)
        shares = class_shares(semantic, patch_px=PATCH_PX, classes=1 + len(CATEGORIES))
        most, place = shares[..., 1:].max(dim=-1)
        category = torch.where(most >= 0.5, place + 1, 0)
        with torch.autocast("cpu", torch.bfloat16):
            output: BackboneOutput = vit(patchwise.normalise(images, vit.normalisation))
            scores = head(output.patches[category > 0]).float()
        loss = F.cross_entropy(scores, category[category > 0] - 1)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return vit.eval()


def write_shuffled(folder: Path) -> Path:
    """Write scenes with shuffled patches as PNG files."""
    for start in range(0, SHUFFLED, 1000):
        block = folder / f"{start // 1000:03d}"
        if block.exists():
            continue
        ids = np.arange(start, start + 1000)
        scenes = shuffle_patches(
            render_scenes(ids, size_px=SIZE_PX), patch_px=PATCH_PX, seed=0, ids=ids
        )
        unfinished = block.with_suffix(".unfinished")
        unfinished.mkdir(parents=True, exist_ok=True)
        for index, image in zip(ids, scenes.images, strict=True):
            Image.fromarray(image).save(unfinished / f"{index}.png")
        unfinished.rename(block)
    return folder


def train(data: str | Path, out: Path, settings: dict[str, Any]) -> bool:
    """Train, or go on training; tell whether the run is complete."""
    if (out / "config.toml").exists():
        return patchwise.train(data, out=out, resume=True).complete
    return patchwise.train(data, out=out, recipe="demo", settings=settings).complete


def main() -> None:
    """Train what is not trained yet, score what is not scored yet, write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("runs/scenes"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    scores: dict[str, dict[str, float]] = (
        json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    )

    def add(name: str, backbone: Callable[[], Backbone]) -> None:
        if name not in scores:
            scores[name] = asdict(score(backbone()))
            write_text(RESULTS, json.dumps(scores, indent=2) + "\n")
        print(name, scores[name], flush=True)

    add("mean colour", lambda: MeanColour(PATCH_PX))
    add("raw RGB patches", lambda: RawPatches(PATCH_PX))
    add("trained with labels", with_labels)
    runs: dict[str, tuple[Callable[[], str | Path], dict[str, Any]]] = {
        f"seed-{seed}": (lambda: SCENES, {"train.seed": seed}) for seed in arguments.seeds
    }
    runs["long"] = lambda: SCENES, LONG
    runs["shuffled"] = lambda: write_shuffled(arguments.out / "shuffled-images"), {}
    for name, (data, settings) in runs.items():
        if f"{name} after" not in scores and not train(
            data(), arguments.out / name, {"method.matching": "thinned", **settings}
        ):
            raise SystemExit(f"stopped in {name}; call again to go on")
        for moment, file in {"before": "initial", "after": "backbone"}.items():
            path = arguments.out / name / f"{file}.safetensors"
            add(f"{name} {moment}", partial(patchwise.load_backbone, path))


if __name__ == "__main__":
    main()
