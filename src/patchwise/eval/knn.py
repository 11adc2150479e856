"""Weighted k-nearest-neighbour classification of frozen features; nothing is trained."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from patchwise.checks import check_positive
from patchwise.errors import RangeError, ShapeError
from patchwise.eval.bootstrap import bootstrap, share, shares_of_images
from patchwise.eval.results import ClassificationResult, Fingerprint
from patchwise.ops.nearest import Nearest


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
        self._check(query, memory, labels)
        classes = int(labels.max()) + 1
        unit_query, unit_memory = F.normalize(query, dim=-1), F.normalize(memory, dim=-1)
        nearest = Nearest(unit_query, self.k + leave_one_out)
        nearest.offer(unit_memory, torch.arange(len(memory), device=memory.device))
        cosine, index = nearest.values, nearest.index
        if leave_one_out:
            cosine, index = _without_itself(cosine, index)
        weight = ((cosine - cosine[:, :1]) / self.temperature).exp()
        votes = unit_query.new_zeros(len(query), classes)
        return votes.scatter_add_(1, labels[index], weight)

    def _check(self, query: Tensor, memory: Tensor, labels: Tensor) -> None:
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
        if len(memory) <= self.k:
            raise RangeError(
                f"KNN.classify: memory must hold more than k={self.k} features, got {len(memory)}"
            )


def _without_itself(
    cosine: Float[Tensor, "Q J"], index: Int[Tensor, "Q J"]
) -> tuple[Float[Tensor, "Q k"], Int[Tensor, "Q k"]]:
    """Drop query i from its own neighbours; the last one where others are just as near."""
    own = index == torch.arange(len(index), device=index.device)[:, None]
    own[:, -1] |= ~own.any(dim=1)
    shape = (len(index), index.shape[1] - 1)
    return cosine[~own].reshape(shape), index[~own].reshape(shape)


def knn_result(
    votes: Float[Tensor, "Q K"],
    truth: Int[Tensor, " Q"],
    *,
    memory: int,
    fingerprint: Fingerprint,
    image: Int[Tensor, " Q"] | None = None,
) -> ClassificationResult:
    """Compare the votes of `KNN.classify` with the true classes.

    Args:
        votes: For each query and class.
        truth: True class of each query; classes without a vote count as wrong.
        memory: Number of features in the memory.
        fingerprint: What stands behind the votes.
        image: From which image each query is, from 0; None: each is one.
    """
    guesses = votes.topk(min(5, votes.shape[1]), dim=-1)
    hits = (guesses.indices == truth[:, None]) & (guesses.values > 0)  # [Q, 5]
    right = hits[:, 0]
    image = torch.arange(len(truth)) if image is None else image
    counts = shares_of_images(right, image, images=int(image.max()) + 1)
    per_class = [right[truth == c].double().mean() for c in torch.unique(truth)]
    return ClassificationResult(
        fingerprint=fingerprint,
        accuracy=float(right.double().mean()),
        top5=float(hits.any(dim=1).double().mean()),
        balanced_accuracy=float(torch.stack(per_class).mean()),
        num_queries=len(truth),
        num_memory=memory,
        interval=bootstrap(counts, share, seed=fingerprint.seed),
    )
