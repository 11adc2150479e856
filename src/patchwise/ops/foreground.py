"""Which patches stand out to a model: the smallest set that holds most of its attention."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from patchwise.checks import check_positive, check_shape, check_within
from patchwise.errors import RangeError
from patchwise.ops.colour import gaussian_blur
from patchwise.ops.roi_align import roi_align

_WINDOW, _SIGMA = 7, 0.6  # of the blur, in patches
_ROUNDING = 1e-5  # background in a cell that has none


@torch.no_grad()
def foreground_mask(
    attention: Float[Tensor, "B heads N"], grid: tuple[int, int], *, mass_frac: float = 0.6
) -> Bool[Tensor, "B N"]:
    """Return the patches that CLS looks at: the foreground, approximately.

    1. The mean over heads, blurred by a Gaussian (7 x 7 patches, sigma 0.6, reflected).
    2. The fewest patches that together hold at least ``mass_frac`` of it.

    Args:
        attention: Of CLS to the patches, not negative, of any precision; it need not sum to 1.
        grid: Rows and columns of patches.
        mass_frac: Share of the attention, in (0, 1].

    Returns:
        At least one patch of every image, which is the first one if nothing has attention. Of
        patches with equal attention the first come first, up to the rounding of the blur.

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


@torch.no_grad()
def foreground_cells(
    foreground: Bool[Tensor, "B H W"], boxes: Float[Tensor, "B 4"], size: tuple[int, int]
) -> Bool[Tensor, "B h w"]:
    """Return the cells of a box in every map that read from foreground patches only.

    Args:
        foreground: The patches that are.
        boxes: As in `patchwise.ops.roi_align.roi_align`, which the cells are those of; inside the
            map.
        size: h and w.

    Returns:
        No cell of a box without height or width.

    Raises:
        ShapeError: There is not one box for each map.

    >>> mask = torch.tensor([[[True, False], [True, True]]])
    >>> foreground_cells(mask, torch.tensor([[0.0, 0.0, 2.0, 2.0]]), (2, 1)).flatten()
    tensor([False,  True])
    """
    check_shape("foreground_cells", (None, None, None), foreground=foreground)
    check_shape("foreground_cells", (len(foreground), 4), boxes=boxes)
    background = roi_align((~foreground).float()[..., None], boxes, size)[..., 0]
    exists = (boxes[:, 2:] > 0).all(dim=1).to(foreground.device, non_blocking=True)
    return (background < _ROUNDING) & exists[:, None, None]
