"""What users call: everything below, composed. The command line calls the same functions."""

from patchwise.api.training import forecast_training, train

__all__ = ["forecast_training", "train"]
