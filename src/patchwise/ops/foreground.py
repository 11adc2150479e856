"""Which patches stand out to a model: the smallest set that holds most of its attention."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from patchwise.checks import check_positive, check_shape, check_within
from patchwise.errors import RangeError
from patchwise.ops.colour import gaussian_blur

_WINDOW, _SIGMA = 7, 0.6  # of the blur, in patches


@torch.no_grad()
def foreground_mask(
    attention: Float[Tensor, "B heads N"], grid: tuple[int, int], *, mass_frac: float = 0.6
) -> Bool[Tensor, "B N"]:
    """Return the patches that CLS looks at: the foreground, approximately.

    1. The mean over heads, blurred by a Gaussian (7 x 7 patches, sigma 0.6, reflected).
    2. The fewest patches that together hold at least ``mass_frac`` of it.

    Args:
        attention: Of CLS to the patches, not negative; it need not sum to 1.
        grid: Rows and columns of patches.
        mass_frac: Share of the attention, in (0, 1].

    Returns:
        At least one patch of every image. Of patches with equal attention the first come first.

    Raises:
        ShapeError: The grid does not have N patches.
        RangeError: ``mass_frac`` is out of range, or attention is negative or not finite.

    Source: DINO, Caron et al. 2021, arXiv:2104.14294, as CoTAP, arXiv:2509.09429, uses it.

    >>> foreground_mask(torch.tensor([[[0.0, 0.0, 0.0, 9.0]]]), (1, 4)).tolist()
    [[False, False, False, True]]
    """
    rows, columns = grid
    check_shape("foreground_mask", (None, None, rows * columns), attention=attention)
    check_positive("foreground_mask", mass_frac=mass_frac)
    check_within("foreground_mask", 0.0, 1.0, mass_frac=mass_frac)
    wrong = int((~(attention.isfinite() & (attention >= 0))).sum())
    if wrong:
        raise RangeError(
            f"foreground_mask: attention must be finite and not negative, got {wrong} of "
            f"{attention.numel()} weights that are not"
        )
    maps = attention.double().mean(dim=1).reshape(-1, 1, rows, columns)
    sigma = torch.full((len(maps),), _SIGMA, device=maps.device)
    mass = gaussian_blur(maps, sigma, kernel_px=(_WINDOW, _WINDOW)).flatten(1)
    order = mass.argsort(dim=1, descending=True, stable=True)
    ranked = mass.gather(1, order)
    before = ranked.cumsum(dim=1) - ranked  # held by the patches that come first
    kept = before < mass_frac * ranked.sum(dim=1, keepdim=True)
    kept[:, 0] = True
    return torch.zeros_like(kept).scatter(1, order, kept)
