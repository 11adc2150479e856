"""What stands behind the study of CoTAP: where CLS looks, what is alike, what colour tells.

    python -m studies.cotap_causes runs/cotap

measures the weights that `studies.cotap scenes` has trained in that folder, on scenes of which all
is known, and writes ``studies/cotap/causes.json`` and a table of ``docs/cotap_study.md``.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

import patchwise
from patchwise.data.synthetic import CATEGORIES, SceneBatch, render_scenes
from patchwise.files import write_text
from patchwise.models.filtered_vit import FilteredViT
from patchwise.models.vit import ViT
from patchwise.normalisation import normalise
from patchwise.ops.foreground import foreground_mask
from studies.cotap_jobs import TABLES, Values
from studies.cotap_results import PAGE, insert

RESULTS = TABLES / "causes.json"
_SEED = 2**20 + 2  # scenes that nothing else uses
_SCENES, _AT_ONCE, _PATCH_PX = 1000, 100, 8
_PAIRS = 400_000
_MASS_FRAC = 0.6  # of CoTAP's mask


@dataclass(frozen=True)
class Causes:
    """What is measured of one backbone, all in [0, 1]."""

    in_mask: float  # share of the mask's pixels that are of objects
    everywhere: float  # likewise, of all pixels
    alike: float  # chance that a pair of one category is more alike than one of two
    colour: float  # share of the features' variance that colour and contrast of the patch explain


def measure(backbone: ViT | FilteredViT, scenes: SceneBatch) -> Causes:
    """Measure a backbone on scenes of 64 px.

    Pairs are of patches of two scenes, each at least half one object. Colour and contrast are the
    means of red, green and blue, their squares, and the deviation of the patch's lightness.
    """
    pixels = torch.from_numpy(scenes.images).permute(0, 3, 1, 2).float() / 255
    kinds = torch.from_numpy(scenes.semantic.astype(np.int64))
    shares = F.one_hot(kinds, 1 + len(CATEGORIES)).float().permute(0, 3, 1, 2)
    shares = F.avg_pool2d(shares, _PATCH_PX).flatten(2).mT  # [B, N, classes]
    features, masks = _see(backbone, pixels)
    objects = 1 - shares[..., 0]
    share, category = shares[..., 1:].max(dim=-1)
    return Causes(
        in_mask=float(objects[masks].mean()),
        everywhere=float(objects.mean()),
        alike=alike(features, category, share >= 0.5),
        colour=explained(_colours(pixels), F.normalize(features.flatten(0, 1), dim=-1)),
    )


def alike(
    features: Float[Tensor, "B N D"], category: Int[Tensor, "B N"], chosen: Tensor, seed: int = 0
) -> float:
    """Return the area under the curve of "same category" by cosine, over pairs of two images."""
    unit = F.normalize(features[chosen], dim=-1)
    kinds = category[chosen]
    images = torch.arange(len(features))[:, None].expand_as(category)[chosen]
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randint(len(unit), (2, _PAIRS), generator=generator)
    apart = images[first] != images[second]
    first, second = first[apart], second[apart]
    same = kinds[first] == kinds[second]
    ranks = (unit[first] * unit[second]).sum(dim=-1).argsort().argsort().double() + 1
    number, others = int(same.sum()), int((~same).sum())
    return float((ranks[same].sum() - number * (number + 1) / 2) / (number * others))


def explained(causes: Float[Tensor, "M C"], features: Float[Tensor, "M D"]) -> float:
    """Return the share of the features' variance that is linear in the causes."""
    centred = features - features.mean(dim=0)
    known = torch.cat([causes - causes.mean(dim=0), torch.ones(len(causes), 1)], dim=1)
    left = centred - known @ torch.linalg.lstsq(known, centred).solution
    return float(1 - left.square().sum() / centred.square().sum())


@torch.no_grad()
def _see(backbone: ViT | FilteredViT, pixels: Tensor) -> tuple[Tensor, Tensor]:
    features, masks = [], []
    for images in torch.split(pixels, _AT_ONCE):
        output = backbone.eval()(normalise(images, backbone.normalisation), attention=True)
        assert output.attention is not None, "it was asked for"
        features.append(output.patches)
        masks.append(foreground_mask(output.attention, output.grid, mass_frac=_MASS_FRAC))
    return torch.cat(features), torch.cat(masks)


def _colours(pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "M 7"]:
    means = F.avg_pool2d(pixels, _PATCH_PX)
    light = pixels.mean(dim=1, keepdim=True)
    spread = F.avg_pool2d(light.square(), _PATCH_PX) - F.avg_pool2d(light, _PATCH_PX).square()
    causes = torch.cat([means, means.square(), spread.clamp_min(0).sqrt()], dim=1)
    return causes.flatten(2).mT.flatten(0, 1)


def table(found: Values) -> str:
    """Return the results as Markdown."""
    lines = [
        "| | objects in the mask | objects everywhere | pairs of one category more alike | "
        "explained by colour |",
        "|---|---|---|---|---|",
    ]
    for name, values in found.items():
        cells = " | ".join(f"{value:.3f}" for value in values.values())
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure the weights of a study's folder, and publish."""
    parser = argparse.ArgumentParser(prog="python -m studies.cotap_causes")
    parser.add_argument("out", type=Path, help="folder of `studies.cotap scenes`")
    out: Path = parser.parse_args().out
    runs = json.loads((out / "results.json").read_text(encoding="utf-8"))["runs"]
    digests = {name: run["weights"] for name, run in runs.items() if "weights" in run}
    files = {"base": out / "base.safetensors"}
    for record in (out / "records").glob("*.json"):
        values = json.loads(record.read_text(encoding="utf-8"))
        for name, digest in digests.items():
            if values.get("weights") == digest and "scores" in values:
                files[name] = out / values["file"]
    scenes = render_scenes(np.arange(_SCENES), seed=_SEED)
    found = {
        name: asdict(measure(patchwise.load_backbone(files[name]), scenes))
        for name in ("base", *digests)
        if name in files
    }
    write_text(RESULTS, json.dumps(found, indent=1) + "\n")
    write_text(PAGE, insert(PAGE.read_text(encoding="utf-8"), "causes", table(found)))
    print(table(found))


if __name__ == "__main__":
    main()
