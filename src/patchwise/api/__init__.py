"""What users call: everything below, composed. The command line calls the same functions."""

from patchwise.api.choosing import choose_checkpoint, describe_choice
from patchwise.api.comparing import compare, comparisons_as_json
from patchwise.api.data import open_labels
from patchwise.api.doctoring import doctor
from patchwise.api.embedding import describe_store, embed
from patchwise.api.evaluation import evaluate, evaluate_many
from patchwise.api.models import open_subject
from patchwise.api.pairing import describe_neighbours, neighbours
from patchwise.api.reporting import report
from patchwise.api.showing import describe_comparisons, describe_results
from patchwise.api.training import forecast_training, train
from patchwise.api.viewing import views
from patchwise.eval.suites import protocols_of

__all__ = [
    "choose_checkpoint",
    "compare",
    "comparisons_as_json",
    "describe_choice",
    "describe_comparisons",
    "describe_neighbours",
    "describe_results",
    "describe_store",
    "doctor",
    "embed",
    "evaluate",
    "evaluate_many",
    "forecast_training",
    "neighbours",
    "open_labels",
    "open_subject",
    "protocols_of",
    "report",
    "train",
    "views",
]
