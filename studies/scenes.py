"""Are the synthetic scenes a real test? k-NN and linear probes of patches, on held-out scenes.

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
from patchwise.configs.loader import parse_settings
from patchwise.data.synthetic import CATEGORIES, render_scenes, shuffle_patches
from patchwise.eval.knn import KNN
from patchwise.eval.scenes import (
    PatchFeatures,
    backbone_patches,
    labelled_patches,
    majority_category,
    pixel_patches,
)
from patchwise.files import write_text
from patchwise.models.backbone import BackboneOutput
from patchwise.models.vit import ViT

RESULTS = Path(__file__).with_suffix(".json")
PATCH_PX, SIZE_PX = 8, 64
SHUFFLED = 20_000  # scenes, as many as the demo trains on


@dataclass(frozen=True)
class Score:
    """Shares of held-out patches whose category is found."""

    knn: float
    linear: float


def mean_colour(images: Tensor) -> Tensor:
    """Return nothing but the mean colour of each patch."""
    return F.avg_pool2d(images, PATCH_PX).flatten(2).mT


def score(features: PatchFeatures) -> Score:
    """Classify patches of 200 scenes by those of 400 others, without and with training."""
    ids = np.arange(600)
    memory, labels = labelled_patches(features, ids[:400], patch_px=PATCH_PX, size_px=SIZE_PX)
    query, truth = labelled_patches(features, ids[400:], patch_px=PATCH_PX, size_px=SIZE_PX)
    votes = KNN().classify(query, memory, labels)
    return Score(
        knn=float((votes.argmax(dim=1) == truth).double().mean()),
        linear=linear_probe(memory.clone(), labels.clone(), query.clone(), truth.clone()),
    )


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
        category = majority_category(torch.from_numpy(scenes.semantic), patch_px=PATCH_PX)
        with torch.autocast("cpu", torch.bfloat16):
            output: BackboneOutput = vit(patchwise.normalise(images))
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
    return patchwise.train(data, out=out, recipe="demo", settings=settings, val="scenes").complete


def trained(path: Path) -> PatchFeatures:
    """Return the patch features of a backbone file."""
    return backbone_patches(patchwise.load_backbone(path))


def main() -> None:
    """Train what is not trained yet, score everything, write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("runs/scenes"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    changes = parse_settings(arguments.set)
    runs: dict[str, Callable[[], bool]] = {}
    for seed in arguments.seeds:
        out, settings = arguments.out / f"seed-{seed}", {**changes, "train.seed": seed}
        runs[out.name] = partial(train, "scenes:20000", out, settings)
    shuffled = write_shuffled(arguments.out / "shuffled-images")
    runs["shuffled"] = partial(train, shuffled, arguments.out / "shuffled", changes)

    scores: dict[str, Score] = {"mean colour": score(mean_colour)}
    scores["raw pixels"] = score(pixel_patches(PATCH_PX))
    scores["trained with labels"] = score(backbone_patches(with_labels()))
    for name, run in runs.items():
        if not run():
            raise SystemExit(f"stopped in {name}; call again to go on")
        for moment, file in {"before": "initial", "after": "backbone"}.items():
            path = arguments.out / name / f"{file}.safetensors"
            scores[f"{name} {moment}"] = score(trained(path))
        print(json.dumps({n: asdict(s) for n, s in scores.items()}, indent=2), flush=True)
    write_text(RESULTS, json.dumps({n: asdict(s) for n, s in scores.items()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
