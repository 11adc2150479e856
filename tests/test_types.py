"""Batches of images can be moved and split without losing anything."""

import dataclasses

import pytest
import torch

from patchwise.errors import ShapeError
from patchwise.types import ImageBatch


@pytest.fixture
def batch() -> ImageBatch:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (6, 3, 5, 7), generator=generator, dtype=torch.uint8)
    return ImageBatch(pixels, torch.tensor([[5, 7]] * 6), torch.tensor([9, 3, 4, 4, 0, 1]), 2)


def test_its_length_is_the_number_of_images(batch: ImageBatch) -> None:
    assert len(batch) == 6


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
def test_parts_put_together_are_the_whole(batch: ImageBatch, parts: int) -> None:
    pieces = batch.split(parts)
    assert [len(piece) for piece in pieces] == [6 // parts] * parts
    assert all(piece.epoch == batch.epoch for piece in pieces)
    for name in ("pixels", "sizes", "ids"):
        joined = torch.cat([getattr(piece, name) for piece in pieces])
        torch.testing.assert_close(joined, getattr(batch, name), rtol=0, atol=0)


def test_batches_of_images_of_other_sizes_are_joined() -> None:
    small, wide = (
        ImageBatch(
            torch.full((2, 3, *size), 7, dtype=torch.uint8),
            torch.tensor([size, size]),
            torch.tensor(ids),
            4,
        )
        for size, ids in (((5, 4), [3, 1]), ((2, 6), [3, 8]))
    )
    both = small.followed_by(wide)
    assert both.pixels.shape == (4, 3, 5, 6)
    assert both.ids.tolist() == [3, 1, 3, 8]
    assert both.epoch == 4
    for row, (height, width) in enumerate(both.sizes.tolist()):
        shown = torch.zeros(5, 6, dtype=torch.bool)
        shown[:height, :width] = True
        assert torch.equal(both.pixels[row] == 7, shown.expand(3, -1, -1))
        assert (both.pixels[row][:, ~shown] == 0).all()


def test_only_pixels_are_moved(batch: ImageBatch) -> None:
    moved = batch.to(torch.device("meta"))
    assert moved.pixels.device.type == "meta"
    assert moved.pixels.shape == batch.pixels.shape
    assert moved.sizes is batch.sizes
    assert moved.ids is batch.ids
    assert moved.epoch == batch.epoch
    assert batch.pixels.device.type == "cpu"


def test_a_batch_cannot_be_changed(batch: ImageBatch) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        batch.epoch = 3  # type: ignore[misc]


@pytest.mark.bad_input
def test_a_batch_that_cannot_be_shared_out_is_named() -> None:
    batch = ImageBatch(
        torch.zeros(3, 3, 4, 4, dtype=torch.uint8), torch.full((3, 2), 4), torch.arange(3), 0
    )
    with pytest.raises(ShapeError, match="got 2 for 3 images"):
        batch.split(2)
