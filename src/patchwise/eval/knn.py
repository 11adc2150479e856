"""Weighted k-nearest-neighbour classification of frozen features; nothing is trained."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from patchwise.checks import check_positive
from patchwise.errors import RangeError, ShapeError
from patchwise.eval.classification import classification_result
from patchwise.eval.results import ClassificationResult, Fingerprint
from patchwise.ops.nearest import Nearest, without_own


class Neighbours(NamedTuple):
    """The most similar features of the memory, the most similar one first."""

    cosine: Float[Tensor, "Q k"]
    labels: Int[Tensor, "Q k"]


@dataclass(frozen=True)
class KNN:
    """Each query takes the class that its k most similar features vote for.

    1. Scale all features to unit length.
    2. For each query, the k features of the memory of highest cosine.
    3. Each votes for its class with weight exp((cosine - highest cosine) / temperature).

    Source: Wu et al. 2018, arXiv:1805.01978; settings of DINO, arXiv:2104.14294.
    Differs: subtracting the query's highest cosine scales all its votes alike; without it, small
        temperatures overflow.
    """

    k: int = 20
    temperature: float = 0.07

    def __post_init__(self) -> None:
        check_positive("KNN", k=self.k, temperature=self.temperature)

    @torch.inference_mode()
    def classify(
        self,
        query: Float[Tensor, "Q D"],
        memory: Float[Tensor, "M D"],
        labels: Int[Tensor, " M"],
        *,
        leave_one_out: bool = False,
    ) -> Float[Tensor, "Q K"]:
        """Return the votes for each class 0 to the largest label.

        Args:
            query: Features to classify.
            memory: Labelled features.
            labels: Class of each feature of the memory, from 0.
            leave_one_out: Whether query i is memory i, which then does not vote for it.

        Raises:
            ShapeError: Features differ in length, or there is not one label a feature.
            RangeError: The memory holds no more than k features.

        >>> memory, labels = torch.tensor([[1.0, 0], [1, 0], [0, 1]]), torch.tensor([0, 0, 1])
        >>> query = torch.tensor([[5.0, 0], [0, 5]])
        >>> KNN(k=2, temperature=1.0).classify(query, memory, labels)  # 0.3679 = exp(-1)
        tensor([[2.0000, 0.0000],
                [0.3679, 1.0000]])
        """
        found = nearest(query, memory, labels, k=self.k, leave_one_out=leave_one_out)
        return self.vote(found, classes=int(labels.max()) + 1)

    def vote(self, found: Neighbours, *, classes: int) -> Float[Tensor, "Q K"]:
        """Return the votes of the first k of the neighbours that `nearest` found."""
        cosine, labels = found.cosine[:, : self.k], found.labels[:, : self.k]
        weight = ((cosine - cosine[:, :1]) / self.temperature).exp()
        return weight.new_zeros(len(cosine), classes).scatter_add_(1, labels, weight)


@torch.inference_mode()
def nearest(
    query: Float[Tensor, "Q D"],
    memory: Float[Tensor, "M D"],
    labels: Int[Tensor, " M"],
    *,
    k: int,
    leave_one_out: bool = False,
) -> Neighbours:
    """Return cosine and class of the k features of the memory nearest to each query.

    Arguments and errors are those of `KNN.classify`.
    """
    _check(query, memory, labels, k)
    unit_query, unit_memory = F.normalize(query, dim=-1), F.normalize(memory, dim=-1)
    found = Nearest(unit_query, k + leave_one_out)
    found.offer(unit_memory, torch.arange(len(memory), device=memory.device))
    cosine, index = found.values, found.index
    if leave_one_out:
        own = torch.arange(len(index), device=index.device)
        cosine, index = without_own(cosine, index, own)
    return Neighbours(cosine, labels[index])


def _check(query: Tensor, memory: Tensor, labels: Tensor, k: int) -> None:
    if query.ndim != 2 or memory.ndim != 2 or query.shape[1] != memory.shape[1]:
        raise ShapeError(
            f"KNN.classify: query and memory must be features of one length, "
            f"got {tuple(query.shape)} and {tuple(memory.shape)}"
        )
    if labels.shape != memory.shape[:1]:
        raise ShapeError(
            f"KNN.classify: labels must have shape {tuple(memory.shape[:1])}, "
            f"got {tuple(labels.shape)}"
        )
    if len(memory) <= k:
        raise RangeError(
            f"KNN.classify: memory must hold more than k={k} features, got {len(memory)}"
        )


def knn_result(
    votes: Float[Tensor, "Q K"],
    truth: Int[Tensor, " Q"],
    *,
    memory: int,
    fingerprint: Fingerprint,
    image: Int[Tensor, " Q"] | None = None,
) -> ClassificationResult:
    """Compare the votes of `KNN.classify` with the true classes, see `classification_result`.

    A class without a vote is no guess.
    """
    scores = votes.masked_fill(votes <= 0, -torch.inf)
    return classification_result(scores, truth, memory=memory, fingerprint=fingerprint, image=image)
