"""What users call: everything below, composed. The command line calls the same functions."""

from patchwise.api.doctoring import doctor
from patchwise.api.training import forecast_training, train

__all__ = ["doctor", "forecast_training", "train"]
