"""Weights files: ours and published ones. One file for each format."""

from patchwise.models.weights.load import load_backbone, save_backbone

__all__ = ["load_backbone", "save_backbone"]
