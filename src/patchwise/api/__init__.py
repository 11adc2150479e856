"""What users call: everything below, composed. The command line calls the same functions."""

from patchwise.api.choosing import choose_checkpoint, describe_choice
from patchwise.api.doctoring import doctor
from patchwise.api.embedding import describe_store, embed
from patchwise.api.evaluation import describe_result, evaluate, open_labels, save_result
from patchwise.api.reporting import report
from patchwise.api.training import forecast_training, train
from patchwise.api.viewing import views

__all__ = [
    "choose_checkpoint",
    "describe_choice",
    "describe_result",
    "describe_store",
    "doctor",
    "embed",
    "evaluate",
    "forecast_training",
    "open_labels",
    "report",
    "save_result",
    "train",
    "views",
]
