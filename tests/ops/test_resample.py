"""Resampling matrices: what their rows say about the pixels that they read."""

import pytest
import torch

from patchwise.errors import RangeError, ShapeError
from patchwise.ops.resample import resample_boxes, resampling_matrix

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


def some_boxes(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images [3, 3, 90, 75] and a hundred boxes of each, some mirrored."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (3, 3, 90, 75), dtype=torch.uint8, generator=generator)
    ends = torch.rand(100, 3, 2, 2, generator=generator).sort(dim=2).values
    corner = (ends[:, :, 0] * torch.tensor([80, 65])).long()
    far = (ends[:, :, 1] * torch.tensor([90, 75])).long().maximum(corner + 1)
    flip = torch.rand(100, 3, generator=generator) < 0.5
    return images, torch.cat([corner, far - corner], dim=2), flip


@pytest.mark.parametrize("out_px", [7, 32, 50, 67])
def test_boxes_are_products_with_the_two_matrices(out_px: int) -> None:
    """Several images, several boxes of each, mirrored or not."""
    images, boxes, flip = some_boxes(out_px)
    made = resample_boxes(images, boxes, flip, size_px=out_px)
    assert made.shape == (100, 3, 3, out_px, out_px)
    for at in range(3):
        top, left, height, width = boxes[:, at].unbind(dim=1)
        down = resampling_matrix(top, height, in_px=90, out_px=out_px)
        across = resampling_matrix(left, width, in_px=75, out_px=out_px, flip=flip[:, at])
        expected = down[:, None] @ (images[at] / 255) @ across[:, None].mT
        torch.testing.assert_close(made[:, at], expected.clamp(0, 1), atol=1e-5, rtol=0)


def test_images_made_in_several_parts_are_those_made_alone() -> None:
    images, boxes, flip = some_boxes(0)
    made = resample_boxes(images, boxes, flip, size_px=150)
    for at in range(3):
        part = slice(at, at + 1)
        alone = resample_boxes(images[part], boxes[:, part], flip[:, part], size_px=150)
        torch.testing.assert_close(made[:, part], alone, atol=1e-6, rtol=0)


@pytest.mark.parametrize("out_px", [32, 67])
def test_products_in_bfloat16_are_as_exact_as_8_bits(out_px: int) -> None:
    """Noise is the worst case; a crop of one value stays it but for the sum of the weights."""
    images, boxes, flip = some_boxes(out_px)
    images[2] = 200
    exact = resample_boxes(images, boxes, flip, size_px=out_px)
    made = resample_boxes(images, boxes, flip, size_px=out_px, dtype=torch.bfloat16)
    assert made.dtype == torch.float32
    levels = (made - exact).abs() * 255
    assert levels[:, :2].mean() < 0.3
    assert levels.max() < 2.5
    assert levels[:, 2].max() < 1
    whole = torch.tensor([[[0, 0, 67, 67]] * 3])
    cut = resample_boxes(
        images, whole, torch.zeros(1, 3, dtype=torch.bool), size_px=67, dtype=torch.bfloat16
    )
    torch.testing.assert_close(cut[0], images[:, :, :67, :67] / 255, atol=1e-6, rtol=0)


@pytest.mark.bad_input
@pytest.mark.parametrize(("start", "length"), [(-1, 4), (37, 4), (3, 0)])
def test_a_crop_that_leaves_the_axis_is_named(start: int, length: int) -> None:
    message = rf"start and end must lie in \[0, 40\] and hold a pixel, got \[\[{start}, "
    with pytest.raises(RangeError, match=f"^resampling_matrix: {message}"):
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
