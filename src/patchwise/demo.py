"""The library's main job on its embedded default: train on synthetic scenes and show the gain."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from patchwise import api
from patchwise.api.validation import (
    open_validation,
    read_evaluations,
    score_table,
    write_evaluations,
)
from patchwise.configs.loader import read_config
from patchwise.configs.run import RunConfig
from patchwise.errors import CheckpointError
from patchwise.eval.baselines import RawPatches
from patchwise.eval.results import Evaluation, ModelIdentity
from patchwise.eval.setup import identify
from patchwise.models.backbone import Backbone
from patchwise.models.vit import ViT
from patchwise.randomness import random_seed
from patchwise.training.folder import RunFolder
from patchwise.training.run import TrainResult

SCENES = "scenes:20000"
_RANDOM_VIT = 10  # key of the seed of a ViT that is not the one before training
SHORT: dict[str, Any] = {"train.epochs": 0.05, "optim.warmup_epochs": 0.01}


@dataclass(frozen=True)
class DemoResult:
    """What the demo came to."""

    train: TrainResult
    evaluations: list[Evaluation]  # none if training was stopped
    report: Path | None  # likewise


def demo(out: str | Path, *, seed: int = 0, short: bool = False) -> DemoResult:
    """Train on synthetic scenes; score patch features beside raw pixels; write the report.

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
        return DemoResult(result, [], None)
    evaluations = add_baselines(folder)
    page = api.report(folder.path)
    console = Console(soft_wrap=True)
    console.print(score_table(evaluations))
    console.print(f"report: {page}", markup=False, highlight=False)
    return DemoResult(result, evaluations, page)


def add_baselines(folder: RunFolder) -> list[Evaluation]:
    """Score what the trained backbone must beat beside it, and add that to the run's results."""
    evaluations = read_evaluations(folder)
    config = read_config(folder.config)
    validation = open_validation("scenes", config)
    raw = RawPatches(config.backbone.patch_px)
    torch.manual_seed(random_seed(config.train.seed, _RANDOM_VIT))
    vit = ViT(config.backbone).eval()
    baselines: dict[str, tuple[Backbone, ModelIdentity]] = {
        "raw RGB patches": (raw, raw.identity),
        "random ViT": (vit, identify(vit, "ViT")),
    }
    done = {evaluation.subject for evaluation in evaluations}
    console = Console(stderr=True)
    missing = [
        evaluation
        for subject, (backbone, identity) in baselines.items()
        if subject not in done
        for evaluation in validation.full(backbone, identity, subject, console.print)
    ]
    write_evaluations(folder, [*missing, *evaluations])
    return [*missing, *evaluations]


def _require_same(config: RunConfig, seed: int, short: bool, folder: RunFolder) -> None:
    """Refuse to show the scores of another demo as those of the one asked for."""
    is_short = config.train.epochs == SHORT["train.epochs"]
    if (config.recipe, config.train.seed, is_short) != ("demo", seed, short):
        raise CheckpointError(
            f"demo: out must be empty or hold the same demo (seed {seed}, short {short}), got "
            f"'{folder.path}' with recipe {config.recipe}, seed {config.train.seed}, "
            f"{config.train.epochs:g} epochs; delete it, or choose another folder"
        )
