"""What users call: everything below, composed. The command line calls the same functions."""

from patchwise.api.evaluation import describe_result, evaluate, save_result
from patchwise.api.training import forecast_training, train

__all__ = ["describe_result", "evaluate", "forecast_training", "save_result", "train"]
