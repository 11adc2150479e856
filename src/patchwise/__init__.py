"""Dense self-supervised vision: from unlabelled images to a backbone with good patch features.

Names are resolved on first use, so that ``import patchwise`` costs nothing.
"""

from typing import TYPE_CHECKING, Any

from patchwise.version import __version__

if TYPE_CHECKING:
    from patchwise.api import (
        choose_checkpoint,
        compare,
        doctor,
        embed,
        evaluate,
        evaluate_many,
        forecast_training,
        neighbours,
        open_subject,
        protocols_of,
        report,
        train,
        views,
    )
    from patchwise.checkup.report import DoctorReport
    from patchwise.configs.backbone import ViTConfig
    from patchwise.configs.methods import DINOConfig, PWSelfConfig
    from patchwise.configs.run import RunConfig
    from patchwise.data.source import open_labelled, open_source
    from patchwise.data.synthetic import render_scenes
    from patchwise.errors import PatchwiseError
    from patchwise.eval.files import read_results, write_results
    from patchwise.features.store import FeatureStore, open_store
    from patchwise.losses.cotap import cotap_loss
    from patchwise.losses.matched_distillation import matched_distillation_loss
    from patchwise.methods import METHODS
    from patchwise.methods.method import Method
    from patchwise.models.backbone import Backbone, BackboneOutput
    from patchwise.models.filtered_vit import FilteredViT
    from patchwise.models.vit import ViT
    from patchwise.models.weights import load_backbone, save_backbone
    from patchwise.normalisation import normalise
    from patchwise.ops.geometry import match_nearest_patches, match_patches
    from patchwise.recipes import RECIPES
    from patchwise.training.run import TrainResult

_HOMES = {
    "Backbone": "patchwise.models.backbone",
    "BackboneOutput": "patchwise.models.backbone",
    "DINOConfig": "patchwise.configs.methods",
    "DoctorReport": "patchwise.checkup.report",
    "FilteredViT": "patchwise.models.filtered_vit",
    "FeatureStore": "patchwise.features.store",
    "METHODS": "patchwise.methods",
    "Method": "patchwise.methods.method",
    "PWSelfConfig": "patchwise.configs.methods",
    "PatchwiseError": "patchwise.errors",
    "RECIPES": "patchwise.recipes",
    "RunConfig": "patchwise.configs.run",
    "TrainResult": "patchwise.training.run",
    "ViT": "patchwise.models.vit",
    "ViTConfig": "patchwise.configs.backbone",
    "choose_checkpoint": "patchwise.api",
    "compare": "patchwise.api",
    "cotap_loss": "patchwise.losses.cotap",
    "doctor": "patchwise.api",
    "embed": "patchwise.api",
    "evaluate": "patchwise.api",
    "evaluate_many": "patchwise.api",
    "forecast_training": "patchwise.api",
    "load_backbone": "patchwise.models.weights",
    "match_nearest_patches": "patchwise.ops.geometry",
    "match_patches": "patchwise.ops.geometry",
    "matched_distillation_loss": "patchwise.losses.matched_distillation",
    "neighbours": "patchwise.api",
    "normalise": "patchwise.normalisation",
    "open_labelled": "patchwise.data.source",
    "open_source": "patchwise.data.source",
    "open_store": "patchwise.features.store",
    "open_subject": "patchwise.api",
    "protocols_of": "patchwise.api",
    "read_results": "patchwise.eval.files",
    "render_scenes": "patchwise.data.synthetic",
    "report": "patchwise.api.reporting",
    "save_backbone": "patchwise.models.weights",
    "train": "patchwise.api",
    "views": "patchwise.api.viewing",
    "write_results": "patchwise.eval.files",
}

__all__ = [
    "METHODS",
    "RECIPES",
    "Backbone",
    "BackboneOutput",
    "DINOConfig",
    "DoctorReport",
    "FeatureStore",
    "FilteredViT",
    "Method",
    "PWSelfConfig",
    "PatchwiseError",
    "RunConfig",
    "TrainResult",
    "ViT",
    "ViTConfig",
    "__version__",
    "choose_checkpoint",
    "compare",
    "cotap_loss",
    "doctor",
    "embed",
    "evaluate",
    "evaluate_many",
    "forecast_training",
    "load_backbone",
    "match_nearest_patches",
    "match_patches",
    "matched_distillation_loss",
    "neighbours",
    "normalise",
    "open_labelled",
    "open_source",
    "open_store",
    "open_subject",
    "protocols_of",
    "read_results",
    "render_scenes",
    "report",
    "save_backbone",
    "train",
    "views",
    "write_results",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'patchwise' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
