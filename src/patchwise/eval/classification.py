"""From scores of classes to a result."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchwise.eval.bootstrap import bootstrap, share, shares_of_images
from patchwise.eval.results import ClassificationResult, Fingerprint


def classification_result(
    scores: Float[Tensor, "Q K"],
    truth: Int[Tensor, " Q"],
    *,
    memory: int,
    fingerprint: Fingerprint,
    image: Int[Tensor, " Q"] | None = None,
) -> ClassificationResult:
    """Compare scores with the true classes.

    Args:
        scores: For each query and class, the highest first guess; -inf: no guess at all.
        truth: True class of each query; classes without a score count as wrong.
        memory: Number of labelled features or images that were learnt from.
        fingerprint: What stands behind the scores.
        image: From which image each query is, from 0; None: each is one.
    """
    guesses = scores.topk(min(5, scores.shape[1]), dim=-1)
    hits = (guesses.indices == truth[:, None]) & (guesses.values > -torch.inf)  # [Q, 5]
    right = hits[:, 0]
    image = torch.arange(len(truth)) if image is None else image
    counts = shares_of_images(right, image, images=int(image.max()) + 1)
    per_class = [right[truth == c].double().mean() for c in torch.unique(truth)]
    return ClassificationResult(
        fingerprint=fingerprint,
        accuracy=accuracy(scores, truth),
        top5=float(hits.any(dim=1).double().mean()),
        balanced_accuracy=float(torch.stack(per_class).mean()),
        num_queries=len(truth),
        num_memory=memory,
        interval=bootstrap(counts, share, seed=fingerprint.seed),
    )


def accuracy(scores: Float[Tensor, "Q K"], truth: Int[Tensor, " Q"]) -> float:
    """Return the share of queries whose first guess is right; see `classification_result`."""
    highest = scores.topk(1, dim=-1)
    right = (highest.indices == truth[:, None]) & (highest.values > -torch.inf)
    return float(right.double().mean())
