"""Features of images that are larger than what a model should see at once."""

import itertools
from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

from patchwise.checks import check_positive, check_within
from patchwise.errors import ShapeError
from patchwise.features.look import look
from patchwise.models.backbone import Backbone, BackboneOutput


@dataclass(frozen=True)
class Windows:
    """Overlapping squares that cover an image; a side that is shorter is seen whole."""

    window_px: int
    stride_px: int  # from one to the next; the last one ends where the image does

    def __post_init__(self) -> None:
        check_positive("Windows", window_px=self.window_px, stride_px=self.stride_px)
        check_within("Windows", 1, self.window_px, stride_px=self.stride_px)

    def __str__(self) -> str:
        return f"in windows of {self.window_px} px, one every {self.stride_px} px"

    def starts(self, side_px: int) -> list[int]:
        """Return where the windows of a side begin."""
        last = max(0, side_px - self.window_px)
        return [*range(0, last, self.stride_px), last]


def check_windows(windows: Windows, patch_px: int) -> None:
    """Raise `ShapeError` unless window and stride are made of whole patches."""
    if windows.window_px % patch_px or windows.stride_px % patch_px:
        raise ShapeError(
            f"Windows: window and stride must be multiples of the model's patch of {patch_px} px, "
            f"got {windows.window_px} and {windows.stride_px}"
        )


def look_through(
    windows: Windows | None, backbone: Backbone, pixels: UInt8[Tensor, "B 3 H W"], *, batch: int
) -> BackboneOutput:
    """Return a backbone's features of images in [0, 255], as `look` does, but seen in windows.

    A patch has the mean of its features in all windows that show it; CLS is the mean of those of
    the windows. What fits into one window has the features that `look` gives.

    Args:
        windows: Made of whole patches; None: images are seen whole.
        backbone: Whose features.
        pixels: Images whose sides are multiples of the patch.
        batch: Windows that the backbone sees at a time.
    """
    if windows is None:
        return look(backbone, pixels)
    check_windows(windows, backbone.patch_px)
    count, height, width = len(pixels), *pixels.shape[-2:]
    places = list(itertools.product(windows.starts(height), windows.starts(width)))
    if len(places) == 1:
        return look(backbone, pixels)
    high, wide = min(height, windows.window_px), min(width, windows.window_px)
    rows, columns = height // backbone.patch_px, width // backbone.patch_px
    patches = torch.zeros(count, rows, columns, backbone.dim, device=backbone.device)
    cls = torch.zeros(count, backbone.dim, device=backbone.device)
    seen = torch.zeros(rows, columns, 1, device=backbone.device)
    cuts = [(image, *place) for image in range(count) for place in places]
    for first in range(0, len(cuts), batch):
        chosen = cuts[first : first + batch]
        shown = torch.stack(
            [pixels[image, :, y : y + high, x : x + wide] for image, y, x in chosen]
        )
        output = look(backbone, shown)
        maps = output.patches.reshape(len(chosen), *output.grid, backbone.dim)
        for (image, *corner), window, of_window in zip(chosen, maps, output.cls, strict=True):
            top, left = (start // backbone.patch_px for start in corner)
            there = slice(top, top + output.grid[0]), slice(left, left + output.grid[1])
            patches[image, *there] += window
            seen[there] += image == 0
            cls[image] += of_window / len(places)
    return BackboneOutput(cls, (patches / seen).flatten(1, 2), (rows, columns))
