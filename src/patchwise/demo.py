"""The library's main job on its embedded default: train on synthetic scenes and show the gain."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from patchwise import api
from patchwise.api.validation import (
    AFTER,
    BEFORE,
    open_validation,
    read_evaluations,
    score_table,
    write_evaluations,
)
from patchwise.configs.loader import read_config
from patchwise.configs.run import RunConfig
from patchwise.errors import CheckpointError
from patchwise.eval.baselines import RawPatches
from patchwise.eval.results import Evaluation
from patchwise.features.subject import Subject, identify
from patchwise.models.vit import ViT
from patchwise.randomness import random_seed
from patchwise.training.folder import RunFolder
from patchwise.training.run import TrainResult

SCENES = "scenes:20000"
VAL = "scenes"
RAW, RANDOM = "raw RGB patches", "random ViT"
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
        result = api.train(SCENES, out=out, recipe="demo", settings=settings, val=VAL)
    if not result.complete:
        return DemoResult(result, [], None)
    try:
        evaluations = score(folder)
    except KeyboardInterrupt:
        return DemoResult(replace(result, complete=False), [], None)
    page = api.report(folder.path)
    console = Console(soft_wrap=True)
    console.print(score_table(evaluations))
    console.print(f"report: {page}", markup=False, highlight=False)
    return DemoResult(result, evaluations, page)


def score(folder: RunFolder) -> list[Evaluation]:
    """Score pixels, a random backbone, and the backbones before and after, but what is scored."""
    config = read_config(folder.config)
    validation = open_validation(VAL, config)
    say = Console(stderr=True).print
    raw = RawPatches(config.backbone.patch_px)
    torch.manual_seed(random_seed(config.train.seed, _RANDOM_VIT))
    vit = ViT(config.backbone).eval()
    validation.score(RAW, Subject(raw, raw.identity), folder, say)
    validation.score(RANDOM, Subject(vit, identify(vit, "ViT of another seed")), folder, say)
    validation.score_run(folder, config.train.device, say)
    order = (RAW, RANDOM, BEFORE, AFTER)
    evaluations = sorted(read_evaluations(folder), key=lambda e: order.index(e.subject))
    write_evaluations(folder, evaluations)
    return evaluations


def _require_same(config: RunConfig, seed: int, short: bool, folder: RunFolder) -> None:
    """Refuse to show the scores of another demo as those of the one asked for."""
    is_short = config.train.epochs == SHORT["train.epochs"]
    if (config.recipe, config.train.seed, is_short) != ("demo", seed, short):
        raise CheckpointError(
            f"demo: out must be empty or hold the same demo (seed {seed}, short {short}), got "
            f"'{folder.path}' with recipe {config.recipe}, seed {config.train.seed}, "
            f"{config.train.epochs:g} epochs; delete it, or choose another folder"
        )
