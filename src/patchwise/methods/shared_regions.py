"""Which pairs of crops show the same place of an image, and where each shows it."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Bool
from torch import Tensor

from patchwise.augment.crop import Crops
from patchwise.augment.multicrop import GLOBAL_VIEWS
from patchwise.distributed import Collectives
from patchwise.losses.dense_swapped_prediction import SharedRegion, cell_weights
from patchwise.ops.foreground import foreground_cells
from patchwise.ops.overlap import overlap_boxes


@dataclass(frozen=True)
class CropPair:
    """A global crop that the teacher sees, and another crop that the student sees."""

    teacher: int  # number of the view
    student: int  # likewise
    region: SharedRegion  # its weights add up to 1 over all pairs and cells


def shared_regions(
    crops: Sequence[Crops],
    grids: Sequence[tuple[int, int]],
    foreground: Bool[Tensor, "V N H W"],
    *,
    cells: int,
    collectives: Collectives,
) -> list[CropPair]:
    """Return every global crop with every other crop, and where they overlap.

    Args:
        crops: Of each view, the global ones first.
        grids: Rows and columns of patches of each view.
        foreground: Patches of the global views that count.
        cells: Each way, of the place that two crops share.
        collectives: Those of the run: cells are counted over all processes.
    """
    places = []
    counted = []
    for source in range(GLOBAL_VIEWS):
        for other in (view for view in range(len(crops)) if view != source):
            boxes = overlap_boxes(
                crops[source].boxes, crops[other].boxes, size_a=grids[source], size_b=grids[other]
            )
            inside = foreground_cells(foreground[source], boxes[0], (cells, cells))
            places.append((source, other, boxes))
            counted.append(inside)
    weights = cell_weights(counted, collectives=collectives)
    return [
        CropPair(source, other, SharedRegion(*boxes, weight))
        for (source, other, boxes), weight in zip(places, weights, strict=True)
    ]
