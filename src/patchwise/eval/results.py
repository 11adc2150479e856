"""What evaluation protocols return. Plain values, so that they can be saved and compared."""

from dataclasses import dataclass


@dataclass(frozen=True)
class KNNResult:
    """Scores in [0, 1]. Compare two results only if their ``protocol`` is equal."""

    protocol: str
    accuracy: float  # share of queries whose first guess is right
    balanced_accuracy: float  # mean over classes of that share
    num_queries: int
    num_memory: int
