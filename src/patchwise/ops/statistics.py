"""Numbers that tell healthy features and predictions from collapsed ones.

All are computed in float64 without gradient and return scalars in float64 on the input's device.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from patchwise.errors import RangeError, ShapeError

_TINY = 1e-12  # below this share of the whole, a spread is rounding


@torch.no_grad()
def effective_rank(features: Float[Tensor, "N D"], *, centred: bool = False) -> Float[Tensor, ""]:
    """Return how many dimensions the features fill: RankMe.

        exp( - sum_k p_k log p_k ),  p_k = sigma_k / sum_j sigma_j,  sigma = singular values

    Args:
        features: One row each.
        centred: Whether the mean row is subtracted first. The paper does not: features that are
            all equal have rank 1 then. Centred, rounding errors can fill all dimensions.

    Returns:
        In [1, min(N, D)]; 0 if all features are zero (centred: if all are equal).

    Raises:
        ShapeError: ``features`` are not N x D with at least one of each.

    Source: RankMe, Garrido et al. 2023, arXiv:2210.02885, equation 1.
    Differs: the paper's 1e-7 beside each p_k is left out; 0 log 0 is 0. The singular values are
        square roots of eigenvalues: those below 1e-7 of the largest are rounding and count as 0.

    >>> round(float(effective_rank(torch.eye(4))), 6)
    4.0
    >>> round(float(effective_rank(torch.ones(4, 3))), 6)
    1.0
    """
    _require("effective_rank", 2, features=features)
    rows = features.double()
    scale = rows.abs().amax()
    if centred:
        rows = rows - rows.mean(dim=0)
    gram = rows.mT @ rows if rows.shape[0] > rows.shape[1] else rows @ rows.mT
    eigenvalues = torch.linalg.eigvalsh(gram).clamp(min=0)
    # Sums of rounding errors in a product of this size.
    floor = torch.maximum(1e-14 * eigenvalues.amax(), _TINY**2 * scale**2)
    singular = torch.where(eigenvalues > floor, eigenvalues, 0).sqrt()
    total = singular.sum()
    share = singular / total.clamp(min=torch.finfo(total.dtype).tiny)
    rank: Tensor = torch.special.entr(share).sum().exp()
    return torch.where(total > 0, rank, torch.zeros_like(rank))


@torch.no_grad()
def entropy_frac(probabilities: Float[Tensor, "N K"]) -> Float[Tensor, " N"]:
    """Return the entropy of each row as a share of the largest possible, ln K.

    Args:
        probabilities: Rows that are >= 0 and sum to 1.

    Returns:
        In [0, 1]: 0 if one entry has everything, 1 if all are equal. 0 for K = 1.

    Raises:
        ShapeError: ``probabilities`` are not N x K with at least one of each.

    >>> entropy_frac(torch.tensor([[1.0, 0.0], [0.5, 0.5]])).tolist()
    [0.0, 1.0]
    """
    _require("entropy_frac", 2, probabilities=probabilities)
    entropy = torch.special.entr(probabilities.double()).sum(dim=-1)
    share: Tensor = entropy / math.log(max(2, probabilities.shape[1]))
    return share.clamp(0, 1)


@torch.no_grad()
def prototype_use(probabilities: Float[Tensor, "N K"]) -> Float[Tensor, ""]:
    """Return which share of the prototypes is used over all rows together.

        exp( entropy( mean over n of p[n] ) ) / K

    Args:
        probabilities: Rows that are >= 0 and sum to 1. N sharp rows can use no more than N.

    Returns:
        In [1 / K, 1]: 1 / K if all rows choose one and the same, 1 if all are used alike.

    Raises:
        ShapeError: ``probabilities`` are not N x K with at least one of each.

    >>> float(prototype_use(torch.tensor([[1.0, 0.0], [1.0, 0.0]])))
    0.5
    """
    _require("prototype_use", 2, probabilities=probabilities)
    mean = probabilities.double().mean(dim=0)
    share: Tensor = torch.special.entr(mean).sum().exp() / len(mean)
    return share.clamp(max=1)


@dataclass(frozen=True)
class Dispersion:
    """Mean cosine distances in [0, 2] between features; nan where there is no such pair."""

    within_instance: Float[Tensor, ""]  # two features of one instance
    within_class: Float[Tensor, ""]  # of one class, but of different instances
    between_classes: Float[Tensor, ""]

    @property
    def instance_ratio(self) -> Float[Tensor, ""]:
        """Within instance over between classes: 0 is tight, 1 is as far as other classes."""
        return self.within_instance / self.between_classes

    @property
    def class_ratio(self) -> Float[Tensor, ""]:
        """Within class over between classes: below 1 where classes can be told apart."""
        return self.within_class / self.between_classes


@torch.no_grad()
def dispersion(
    features: Float[Tensor, "N D"],
    instance: Int[Tensor, " N"],
    category: Int[Tensor, " N"],
) -> Dispersion:
    """Return how far features of one instance, of one class and of different classes are apart.

    Means over pairs of two features, 1 - cosine. The mean cosine over all pairs of a group of n
    unit vectors u is (|sum u|^2 - n) / (n (n - 1)), so no N x N matrix is made.

    Args:
        features: One row each. A row of zeros has cosine 0 with all others.
        instance: Whose feature it is; numbers need only be unique within a class.
        category: The class of each feature.

    Returns:
        Distances over pairs: every pair counts alike, so large instances count more.

    Raises:
        ShapeError: The three differ in N, or ``features`` are not N x D with at least one of each.

    >>> found = dispersion(torch.eye(2)[[0, 0, 1, 1]], torch.tensor([0, 0, 1, 2]),
    ...                    torch.tensor([0, 0, 1, 1]))
    >>> [float(d) for d in (found.within_instance, found.within_class, found.between_classes)]
    [0.0, 0.0, 1.0]
    """
    _require("dispersion", 2, features=features)
    if not features.shape[:1] == instance.shape == category.shape:
        raise ShapeError(
            f"dispersion: instance and category must have one entry for each of the "
            f"{len(features)} features, got {tuple(instance.shape)} and {tuple(category.shape)}"
        )
    unit = F.normalize(features.double(), dim=-1)
    own = unit.square().sum(dim=-1)  # 1, or 0 for a row of zeros
    pairs = torch.stack([category, instance], dim=-1)
    _, instance_of = torch.unique(pairs, dim=0, return_inverse=True)
    _, class_of = torch.unique(category, return_inverse=True)
    by_instance = _cosines(unit, own, instance_of)
    by_class = _cosines(unit, own, class_of)
    overall = _cosines(unit, own, torch.zeros_like(class_of))
    return Dispersion(
        1 - by_instance[0] / by_instance[1],
        1 - (by_class[0] - by_instance[0]) / (by_class[1] - by_instance[1]),
        1 - (overall[0] - by_class[0]) / (overall[1] - by_class[1]),
    )


@torch.no_grad()
def position_bias(patches: Float[Tensor, "B N D"]) -> Float[Tensor, ""]:
    """Return which share of the patches' variance their place in the grid alone explains.

        (S_between - (N - 1) * S_within / (N (B - 1))) / S_total,  not below 0

    S are sums of squares around the mean of a place, and of those means around the whole's mean.

    Args:
        patches: Patch n of every image lies at the same place.

    Returns:
        In [0, 1]: about 0 if the place tells nothing, for few images too; 1 if all images have
        the same features. 0 for one image, which cannot tell, and if all patches are equal.

    Raises:
        ShapeError: ``patches`` are not B x N x D with at least one of each.

    Source: epsilon squared, Kelley 1935: the share explained less what chance would explain.

    >>> float(position_bias(torch.arange(6.0).reshape(1, 3, 2).expand(4, 3, 2)))
    1.0
    """
    _require("position_bias", 3, patches=patches)
    images, places = patches.shape[:2]
    if images == 1:
        return patches.new_zeros((), dtype=torch.float64)
    values = patches.double()
    scale = values.square().sum()
    place = values.mean(dim=0, keepdim=True)
    within = (values - place).square().sum()
    between = images * (place - place.mean(dim=1, keepdim=True)).square().sum()
    total = within + between
    chance = (places - 1) * within / (places * (images - 1))
    share = ((between - chance) / total.clamp(min=torch.finfo(total.dtype).tiny)).clamp(0, 1)
    return torch.where(total > _TINY * scale, share, torch.zeros_like(share))


@torch.no_grad()
def high_norm_share(features: Float[Tensor, "N D"], *, times: float = 2.0) -> Float[Tensor, ""]:
    """Return the share of features whose norm is more than ``times`` the median norm.

    Returns:
        In [0, 0.5]; 0 if all norms are equal.

    Raises:
        ShapeError: ``features`` are not N x D with at least one of each.
        RangeError: ``times`` is less than 1.

    Source: artifact tokens, Darcet et al. 2023, arXiv:2309.16588, section 2.
    Differs: the paper cuts at a fixed norm, chosen by eye for each model.

    >>> float(high_norm_share(torch.tensor([[1.0], [1.0], [1.0], [9.0]])))
    0.25
    """
    _require("high_norm_share", 2, features=features)
    if times < 1:
        raise RangeError(f"high_norm_share: times must be at least 1, got {times}")
    norms = torch.linalg.vector_norm(features.double(), dim=-1)
    share: Tensor = (norms > times * norms.median()).double().mean()
    return share


def _cosines(unit: Tensor, own: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of cosines over all pairs within groups, and the number of such pairs."""
    groups = int(group.max()) + 1
    sums = unit.new_zeros(groups, unit.shape[1]).index_add_(0, group, unit)
    counts = torch.bincount(group, minlength=groups).double()
    return (sums.square().sum() - own.sum()) / 2, (counts * (counts - 1)).sum() / 2


def _require(caller: str, axes: int, **values: Tensor) -> None:
    """Raise `ShapeError` unless there is at least one number, along so many axes."""
    for name, tensor in values.items():
        if tensor.ndim != axes or tensor.numel() == 0:
            raise ShapeError(
                f"{caller}: {name} must have {axes} axes of at least one entry each, "
                f"got {tuple(tensor.shape)}"
            )
