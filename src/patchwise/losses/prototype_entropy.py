"""How undecided prototypes are between the samples they may stand for."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from patchwise.checks import check_positive, check_shape


def prototype_entropy_loss(
    prototypes: Float[Tensor, "K D h w"],
    samples: Float[Tensor, "R D h w"],
    *,
    temperature: float = 0.1,
) -> Float[Tensor, ""]:
    """Let every prototype commit to a few samples.

        p_k = softmax over r of cosine(prototype_k, sample_r) / temperature
        loss = mean over k of - sum_r p_kr * log p_kr

    Args:
        prototypes: Kernels, each read as one vector, of any length.
        samples: Pieces of feature maps. No gradient. Over processes, all of them, the same on
            each: the entropy over a process's own samples would be another loss.
        temperature: Divisor of the cosines; > 0.

    Returns:
        Scalar in nats, in [0, log R], of float32 at least, under autocast too: log(R) if all
        samples are alike, 0 with one sample, and 0 as long as there is none.

    Raises:
        ShapeError: Samples have another shape than prototypes.
        RangeError: The temperature is not positive.

    Source: CoTAP, Wen et al. 2025, arXiv:2509.09429.
    Differs: nothing known.

    >>> samples = torch.ones(5, 2, 3, 3)  # all alike
    >>> round(float(prototype_entropy_loss(torch.rand(4, 2, 3, 3), samples)), 4)  # log(5)
    1.6094
    """
    name = "prototype_entropy_loss"
    check_positive(name, temperature=temperature)
    check_shape(name, (None, None, None, None), prototypes=prototypes)
    check_shape(name, (None, *prototypes.shape[1:]), samples=samples)
    with torch.autocast(prototypes.device.type, enabled=False):
        units = _unit(prototypes)
        cosine = units @ _unit(samples.detach()).mT.to(units.dtype)  # [K, R]
        log_share = (cosine / temperature).log_softmax(dim=1)
        return -(log_share.exp() * log_share).sum(dim=1).mean()


class PrototypeEntropyLoss(nn.Module):
    """:func:`prototype_entropy_loss` with a fixed temperature."""

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        check_positive("PrototypeEntropyLoss", temperature=temperature)
        self.temperature = temperature

    def forward(
        self, prototypes: Float[Tensor, "K D h w"], samples: Float[Tensor, "R D h w"]
    ) -> Float[Tensor, ""]:
        """See :func:`prototype_entropy_loss`."""
        return prototype_entropy_loss(prototypes, samples, temperature=self.temperature)


def _unit(vectors: Tensor) -> Tensor:
    """Return each as one vector of length 1."""
    full = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    return F.normalize(full.flatten(1), dim=1)
