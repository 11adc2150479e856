"""Weights files: ours and published ones. One file for each format."""

from patchwise.models.weights.load import (
    describe_loaded,
    load_backbone,
    read_backbone,
    save_backbone,
    split_source,
)

__all__ = [
    "describe_loaded",
    "load_backbone",
    "read_backbone",
    "save_backbone",
    "split_source",
]
