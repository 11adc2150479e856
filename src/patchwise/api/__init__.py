"""What users call: everything below, composed. The command line calls the same functions."""

from patchwise.api.reporting import report
from patchwise.api.training import forecast_training, train
from patchwise.api.viewing import views

__all__ = ["forecast_training", "report", "train", "views"]
