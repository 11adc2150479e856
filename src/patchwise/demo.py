"""The library's main job on its embedded default: train on synthetic scenes and show the gain."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from patchwise import api
from patchwise.configs.loader import read_config
from patchwise.configs.run import RunConfig
from patchwise.errors import CheckpointError
from patchwise.eval.results import KNNResult
from patchwise.eval.scenes import backbone_patches, knn_scene_patches, pixel_patches
from patchwise.files import write_text
from patchwise.models.weights import load_backbone
from patchwise.training.folder import RunFolder
from patchwise.training.run import TrainResult

SCENES = "scenes:20000"
SHORT: dict[str, Any] = {"train.epochs": 0.05, "optim.warmup_epochs": 0.01}


@dataclass(frozen=True)
class DemoResult:
    """What the demo came to."""

    train: TrainResult
    scores: dict[str, KNNResult]  # empty if training was stopped


def demo(out: str | Path, *, seed: int = 0, short: bool = False) -> DemoResult:
    """Train on synthetic scenes; compare patch features before, after, and with raw pixels.

    A run that was stopped is resumed; one that is complete only shows its scores again.

    Raises:
        CheckpointError: ``out`` holds a demo of another seed or length, or another run.

    Args:
        out: Folder of the run.
        seed: Of initial weights, order and views.
        short: A few steps only, which show that everything works, not that it learns.
    """
    folder = RunFolder(Path(out).expanduser())
    settings = {"train.seed": seed, **(SHORT if short else {})}
    if folder.config.exists():
        _require_same(read_config(folder.config), seed, short, folder)
        result = api.train(SCENES, out=out, resume=True)
    else:
        result = api.train(SCENES, out=out, recipe="demo", settings=settings, val="scenes")
    if not result.complete:
        return DemoResult(result, {})
    scores = score(folder)
    _write(scores, folder)
    Console().print(_table(scores))
    return DemoResult(result, scores)


def _require_same(config: RunConfig, seed: int, short: bool, folder: RunFolder) -> None:
    """Refuse to show the scores of another demo as those of the one asked for."""
    is_short = config.train.epochs == SHORT["train.epochs"]
    if (config.recipe, config.train.seed, is_short) != ("demo", seed, short):
        raise CheckpointError(
            f"demo: out must be empty or hold the same demo (seed {seed}, short {short}), got "
            f"'{folder.path}' with recipe {config.recipe}, seed {config.train.seed}, "
            f"{config.train.epochs:g} epochs; delete it, or choose another folder"
        )


def score(folder: RunFolder) -> dict[str, KNNResult]:
    """Classify the patches of held-out scenes by pixels and by features before and after."""
    config = read_config(folder.config)
    patch_px, size_px = config.backbone.patch_px, config.method.views.global_px
    features = {
        "raw pixels": pixel_patches(patch_px),
        "random ViT": backbone_patches(load_backbone(folder.initial)),
        "trained ViT": backbone_patches(load_backbone(folder.backbone)),
    }
    return {
        name: knn_scene_patches(function, patch_px=patch_px, size_px=size_px)
        for name, function in features.items()
    }


def _write(scores: dict[str, KNNResult], folder: RunFolder) -> None:
    content = json.loads(folder.results.read_text(encoding="utf-8"))
    content["scores"] = {name: asdict(result) for name, result in scores.items()}
    write_text(folder.results, json.dumps(content, indent=2) + "\n")


def _table(scores: dict[str, KNNResult]) -> Table:
    first = next(iter(scores.values()))
    table = Table(
        "features",
        "accuracy",
        "balanced",
        title="k-NN category of patches in held-out scenes",
        caption=f"{first.protocol}; {first.num_queries} patches, 10 categories",
    )
    for name, result in scores.items():
        table.add_row(name, f"{result.accuracy:.3f}", f"{result.balanced_accuracy:.3f}")
    return table
