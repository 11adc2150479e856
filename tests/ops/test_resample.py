"""Resampling matrices: what their rows say about the pixels that they read."""

import pytest
import torch

from patchwise.errors import RangeError, ShapeError
from patchwise.ops.resample import Bands, resample_boxes, resampling_bands

CASES = [
    (0, 40, 40),
    (0, 40, 13),
    (5, 20, 20),
    (7, 9, 30),
    (0, 1, 8),
    (39, 1, 3),
    (3, 37, 1),
    (2, 31, 70),
]
IN_PX = 40


def dense(bands: Bands, in_px: int, out_px: int) -> torch.Tensor:
    """The matrix [B, out_px, in_px] of which the bands hold what is not 0."""
    number, blocks = bands.first.shape
    matrix = torch.zeros(number, blocks, bands.block_px, in_px)
    for image in range(number):
        for block in range(blocks):
            first = int(bands.first[image, block])
            assert 0 <= first <= in_px - bands.window_px
            matrix[image, block, :, first : first + bands.window_px] = bands.weights[image, block]
    return matrix.flatten(1, 2)[:, :out_px]


def resampling_matrix(
    start: torch.Tensor,
    length: torch.Tensor,
    *,
    in_px: int,
    out_px: int,
    flip: torch.Tensor | None = None,
) -> torch.Tensor:
    bands = resampling_bands(start, length, in_px=in_px, out_px=out_px, flip=flip)
    return dense(bands, in_px, out_px)


def one(start: int, length: int, out_px: int, *, flip: bool | None = None) -> torch.Tensor:
    flips = None if flip is None else torch.tensor([flip])
    matrix = resampling_matrix(
        torch.tensor([start]), torch.tensor([length]), in_px=IN_PX, out_px=out_px, flip=flips
    )
    return matrix[0]


def reference(start: int, length: int, out_px: int) -> list[list[float]]:
    """PIL's coefficients, one at a time: it crops first, so pixels count from the crop's edge."""

    def kernel(x: float) -> float:
        x = abs(x)
        if x < 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0

    rows = []
    scale = length / out_px
    stretch = max(scale, 1.0)
    for output in range(out_px):
        centre = (output + 0.5) * scale
        low = max(int(centre - 2 * stretch + 0.5), 0)
        high = min(int(centre + 2 * stretch + 0.5), length)
        weights = {x: kernel((x - centre + 0.5) / stretch) for x in range(low, high)}
        total = sum(weights.values())
        rows.append([weights.get(x - start, 0.0) / total for x in range(IN_PX)])
    return rows


@pytest.mark.parametrize(("start", "length", "out_px"), CASES)
def test_equals_the_plain_loops(start: int, length: int, out_px: int) -> None:
    expected = torch.tensor(reference(start, length, out_px))
    torch.testing.assert_close(one(start, length, out_px), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("start", "length", "out_px"), CASES)
def test_rows_are_means_over_the_crop_alone(start: int, length: int, out_px: int) -> None:
    matrix = one(start, length, out_px)
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(out_px))
    assert not matrix[:, :start].any()
    assert not matrix[:, start + length :].any()


@pytest.mark.parametrize(("start", "length", "out_px"), CASES)
def test_a_flip_reverses_the_rows(start: int, length: int, out_px: int) -> None:
    flipped = one(start, length, out_px, flip=True)
    torch.testing.assert_close(flipped, one(start, length, out_px).flip(0), atol=1e-6, rtol=0)
    assert torch.equal(one(start, length, out_px, flip=False), one(start, length, out_px))


def test_a_crop_of_the_output_size_is_cut_out_as_it_is() -> None:
    assert torch.equal(one(5, 20, 20), torch.eye(IN_PX)[5:25])


def test_shrinking_averages_over_more_pixels() -> None:
    """A fourth of the size: each output reads about 4 * 4 pixels; stripes of 1 pixel blur out."""
    matrix = one(0, 40, 10)
    assert (matrix[4].abs() > 1e-4).sum() >= 12
    stripes = (torch.arange(IN_PX) % 2).float()
    torch.testing.assert_close((matrix @ stripes)[2:-2], torch.full((6,), 0.5), atol=0.02, rtol=0)


def test_each_image_has_its_own_crop() -> None:
    start, length = torch.tensor([0, 4, 30]), torch.tensor([40, 17, 3])
    flip = torch.tensor([False, True, False])
    together = resampling_matrix(start, length, in_px=IN_PX, out_px=9, flip=flip)
    for image in range(3):
        alone = one(int(start[image]), int(length[image]), 9, flip=bool(flip[image]))
        torch.testing.assert_close(together[image], alone, atol=1e-6, rtol=0)


def test_far_pixels_are_as_exact_as_near_ones() -> None:
    """In a row of 100,000 pixels, float32 positions would be off by a hundredth of a pixel."""
    far = resampling_matrix(torch.tensor([99_900]), torch.tensor([77]), in_px=100_000, out_px=100)
    near = resampling_matrix(torch.tensor([0]), torch.tensor([77]), in_px=100, out_px=100)
    torch.testing.assert_close(far[0, :, 99_900:], near[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("out_px", [7, 32, 50, 67])
def test_boxes_are_products_with_the_two_matrices(out_px: int) -> None:
    """Several images, several boxes of each, mirrored or not, of whole blocks or not."""
    generator = torch.Generator().manual_seed(out_px)
    images = torch.randint(0, 256, (3, 3, 90, 75), dtype=torch.uint8, generator=generator)
    owner = torch.arange(300) % 3
    ends = torch.rand(300, 2, 2, generator=generator).sort(dim=1).values
    corner = (ends[:, 0] * torch.tensor([80, 65])).long()
    far = (ends[:, 1] * torch.tensor([90, 75])).long().maximum(corner + 1)
    boxes = torch.cat([corner, far - corner], dim=1)
    flip = torch.rand(300, generator=generator) < 0.5
    made = resample_boxes(images, owner, boxes, flip, size_px=out_px)
    assert made.shape == (300, 3, out_px, out_px)
    top, left, height, width = boxes.unbind(dim=1)
    down = resampling_matrix(top, height, in_px=90, out_px=out_px)
    across = resampling_matrix(left, width, in_px=75, out_px=out_px, flip=flip)
    for at in range(300):
        expected = down[at] @ (images[owner[at]] / 255) @ across[at].T
        torch.testing.assert_close(made[at], expected.clamp(0, 1), atol=1e-5, rtol=0)


@pytest.mark.bad_input
@pytest.mark.parametrize(("start", "length"), [(-1, 4), (37, 4), (3, 0)])
def test_a_crop_that_leaves_the_axis_is_named(start: int, length: int) -> None:
    message = rf"start and end must lie in \[0, 40\] and hold a pixel, got \[\[{start}, "
    with pytest.raises(RangeError, match=f"^resampling_bands: {message}"):
        one(start, length, 5)


@pytest.mark.bad_input
def test_other_wrong_arguments_are_named() -> None:
    starts = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ShapeError, match=r"length must have shape \(2\), got \(3,\)"):
        resampling_matrix(starts, torch.ones(3, dtype=torch.int64), in_px=4, out_px=2)
    with pytest.raises(ShapeError, match=r"flip must have shape \(2\), got \(1,\)"):
        resampling_matrix(starts, starts + 1, in_px=4, out_px=2, flip=torch.tensor([True]))
    with pytest.raises(RangeError, match="out_px must be positive, got 0"):
        resampling_matrix(starts, starts + 1, in_px=4, out_px=0)
