"""The smallest of CoTAP's runs, as a user begins them."""

from pathlib import Path
from typing import Any

import patchwise

SETTINGS: dict[str, Any] = {
    "method.views.base_px": 64,
    "method.views.global_px": 32,
    "method.views.local_px": 16,
    "method.views.local_count": 1,
    "method.neighbours.k": 2,
    "method.neighbours.size": "square:32",
    "method.filter_prototypes": 3,
    "method.bank_samples": 12,
    "method.patch_prototypes": 8,
    "method.image_prototypes": 8,
    "method.head_hidden_dim": 16,
    "method.bottleneck_dim": 8,
    "method.queued_patches": 100,
    "method.queued_images": 20,
    "method.region_cells": 2,
    "method.ranking_cells": [2, 4],
    "method.strangers": 2,
    "train.batch": 4,
    "train.epochs": 2.0,
    "train.precision": "float32",
    "train.log_every_steps": 1,
    "train.checkpoint_every_steps": 2,
    "train.keep_checkpoints": 9,
    "data.workers": 0,
}


def train(data: str, out: Path, init: Path | None, **options: Any) -> patchwise.TrainResult:
    settings = {**SETTINGS, **options.pop("settings", {})}
    options = {"recipe": "cotap-small", "quiet": True, **options}
    return patchwise.train(data, out=out, init=init, settings=settings, **options)
