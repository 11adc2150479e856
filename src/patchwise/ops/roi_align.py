"""What a map of features holds in a box, read off on a grid of fixed size."""

import torch
from jaxtyping import Float
from torch import Tensor

from patchwise.checks import check_finite, check_positive, check_shape


def roi_align(
    maps: Float[Tensor, "B H W C"],
    boxes: Float[Tensor, "B 4"],
    size: tuple[int, int],
    *,
    samples: int | None = None,
) -> Float[Tensor, "B h w C"]:
    """Cut one box out of every map, as h x w cells.

    A cell is the mean of ``samples`` x ``samples`` points that lie evenly in it; the value at a
    point is bilinear between the centres of the map's pixels. Beyond the outermost centres it is
    that of the border, and 0 farther than half a pixel outside the map.

    Both steps are linear and go axis by axis: so a cell is a weighted sum of the map's pixels, and
    all cells of all boxes are one batched product.

    Args:
        maps: Channels last, as tokens are. Half precision is worked on in float32, under autocast
            too. They get gradients.
        boxes: Top, left, height and width in pixels of the map, whose first pixel spans [0, 1).
            Best on the CPU: elsewhere the number of points has to be waited for.
        size: h and w.
        samples: Points of a cell along each axis; None: as many as pixels lie in it, rounded up,
            for each box and axis on its own.

    Returns:
        On the device of the maps. A box of the map's own pixels is cut out as it is; one without
        height or width gives 0.

    Raises:
        ShapeError: There is not one box for each map.
        RangeError: ``size`` or ``samples`` is not positive, or a box is not finite.

    Source: He et al. 2017, "Mask R-CNN", arXiv:1703.06870; as torchvision's ``roi_align`` with
        ``aligned=True`` and ``sampling_ratio=samples`` (None: its default).
    Differs: one box a map; where points lie is computed in float64.

    >>> row = torch.arange(4.0).reshape(1, 1, 4, 1)
    >>> roi_align(row, torch.tensor([[0.0, 1.0, 1.0, 3.0]]), (1, 3)).flatten()
    tensor([1., 2., 3.])
    """
    name = "roi_align"
    check_shape(name, (None, None, None, None), maps=maps)
    check_shape(name, (len(maps), 4), boxes=boxes)
    check_finite(name, boxes=boxes)
    check_positive(name, size_rows=size[0], size_columns=size[1])
    if samples is not None:
        check_positive(name, samples=samples)
    _, rows, columns, channels = maps.shape
    down = _weights(boxes[:, 0::2], size[0], rows, samples)  # [B, h, H]
    across = _weights(boxes[:, 1::2], size[1], columns, samples)  # [B, w, W]
    pixels = torch.einsum("bhy,bwx->bhwyx", down, across)
    dtype = torch.promote_types(maps.dtype, torch.float32)
    pixels = pixels.reshape(-1, size[0] * size[1], rows * columns)
    pixels = pixels.to(dtype).to(maps.device, non_blocking=True)
    with torch.autocast(maps.device.type, enabled=False):
        cells = pixels @ maps.to(dtype).reshape(-1, rows * columns, channels)
    return cells.reshape(-1, *size, channels)


def _weights(
    spans: Float[Tensor, "B 2"], cells: int, length: int, samples: int | None
) -> Float[Tensor, "B cells length"]:
    """Return how much each of a map's pixels counts in each cell, along one axis.

    Args:
        spans: Start and length of each box.
        cells: That a box is cut into.
        length: Of the map.
        samples: Points of a cell; None: as many as pixels lie in it.
    """
    start, extent = (spans.double()[:, i, None, None] for i in (0, 1))  # [B, 1, 1]
    cell = torch.arange(cells, device=spans.device)[:, None]
    wanted = (extent / cells).ceil() if samples is None else torch.full_like(extent, samples)
    wanted = wanted.clamp(min=0)
    most = int(wanted.max()) if wanted.numel() else 0
    point = torch.arange(most, device=spans.device)
    share = (point + 0.5) / wanted.clamp(min=1)  # of the cell, [B, 1, points]
    # From here on whole numbers are the centres of pixels.
    at = start - 0.5 + extent / cells * (cell + share)  # [B, cells, points]
    counted = (point < wanted) & (at >= -1) & (at <= length)
    at = at.clamp(0, length - 1)[..., None]
    near = (1 - (at - torch.arange(length, device=spans.device)).abs()).clamp(min=0)
    near *= counted[..., None]
    return near.sum(dim=2) / wanted.clamp(min=1)
