"""What the parts of the library hand to each other: plain values that can be moved and split."""

from dataclasses import dataclass

import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torch.nn import functional as F

from patchwise.errors import ShapeError


@dataclass(frozen=True)
class ImageBatch:
    """Images of their own sizes, padded at the bottom and right to the largest of the batch.

    Letters: B images, H W the largest height and width of the batch.
    """

    pixels: UInt8[Tensor, "B 3 H W"]  # padding is 0
    sizes: Int[Tensor, "B 2"]  # height, width of each image, in pixels
    ids: Int[Tensor, " B"]  # index of each image in its source
    epoch: int  # of its source; part of the key of every random draw

    def __len__(self) -> int:
        return len(self.pixels)

    def to(self, device: torch.device) -> "ImageBatch":
        """Return the batch with its pixels on ``device``; sizes and ids stay on the CPU."""
        pixels = self.pixels.to(device, non_blocking=True)
        return ImageBatch(pixels, self.sizes, self.ids, self.epoch)

    def followed_by(self, other: "ImageBatch") -> "ImageBatch":
        """Return the images of both batches, which are of one epoch, as one."""
        height, width = (max(a, b) for a, b in zip(self._padded, other._padded, strict=True))
        pixels = [
            F.pad(batch.pixels, (0, width - batch._padded[1], 0, height - batch._padded[0]))
            for batch in (self, other)
        ]
        return ImageBatch(
            torch.cat(pixels),
            torch.cat([self.sizes, other.sizes]),
            torch.cat([self.ids, other.ids]),
            self.epoch,
        )

    @property
    def _padded(self) -> tuple[int, int]:
        height, width = self.pixels.shape[2:]
        return height, width

    def split(self, parts: int) -> list["ImageBatch"]:
        """Return the batch as ``parts`` batches of equal length, in order.

        Raises:
            ShapeError: The images cannot be shared out equally.
        """
        if len(self) % parts:
            raise ShapeError(
                f"ImageBatch.split: parts must divide the number of images, "
                f"got {parts} for {len(self)} images"
            )
        length = len(self) // parts
        slices = [slice(i * length, (i + 1) * length) for i in range(parts)]
        return [ImageBatch(self.pixels[s], self.sizes[s], self.ids[s], self.epoch) for s in slices]
