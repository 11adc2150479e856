"""Images seen through windows."""

import numpy as np
import pytest
import torch
from torch import Tensor

from patchwise.errors import RangeError, ShapeError
from patchwise.features.look import look
from patchwise.features.windows import Windows, check_windows, look_through
from patchwise.models.backbone import BackboneOutput
from tests.eval.tiny import Sighted
from tests.small_runs import small_vit

SHAPES = [(32, 32), (64, 40), (40, 104), (24, 72), (16, 16), (48, 56)]


def pixels_of(height: int, width: int, count: int = 3) -> Tensor:
    draw = np.random.default_rng(height * width)
    return torch.from_numpy(draw.integers(0, 256, (count, 3, height, width), dtype=np.uint8))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("windows", [Windows(32, 16), Windows(32, 24), Windows(24, 8)])
def test_a_backbone_that_sees_single_patches_sees_no_windows(
    shape: tuple[int, int], windows: Windows
) -> None:
    pixels = pixels_of(*shape)
    whole, seen = look(Sighted(), pixels), look_through(windows, Sighted(), pixels, batch=4)
    assert seen.grid == whole.grid
    torch.testing.assert_close(seen.patches, whole.patches, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_patches_and_cls_are_means_over_windows(shape: tuple[int, int]) -> None:
    """Each window by itself, each patch by itself."""
    vit, pixels, windows = small_vit().eval(), pixels_of(*shape, count=2), Windows(32, 24)
    seen = look_through(windows, vit, pixels, batch=3)
    rows, columns = seen.grid
    for image in range(2):
        cls = []
        found: dict[tuple[int, int], list[Tensor]] = {}
        for top in windows.starts(shape[0]):
            for left in windows.starts(shape[1]):
                cut = pixels[image : image + 1, :, top : top + 32, left : left + 32]
                output = look(vit, cut)
                cls.append(output.cls[0])
                for n, feature in enumerate(output.patches[0]):
                    row, column = divmod(n, output.grid[1])
                    found.setdefault((top // 8 + row, left // 8 + column), []).append(feature)
        assert sorted(found) == [(r, c) for r in range(rows) for c in range(columns)]
        expected = torch.stack([torch.stack(found[place]).mean(0) for place in sorted(found)])
        torch.testing.assert_close(seen.patches[image], expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(seen.cls[image], torch.stack(cls).mean(0), rtol=1e-4, atol=1e-5)


def test_windows_cover_a_side_and_end_with_it() -> None:
    windows = Windows(32, 24)
    assert windows.starts(32) == [0]
    assert windows.starts(16) == [0]
    assert windows.starts(40) == [0, 8]
    assert windows.starts(56) == [0, 24]
    assert windows.starts(80) == [0, 24, 48]
    assert windows.starts(88) == [0, 24, 48, 56]
    for side in range(8, 200, 8):
        covered = {px for start in windows.starts(side) for px in range(start, start + 32)}
        assert set(range(side)) <= covered
        assert max(windows.starts(side)) + 32 == max(side, 32)


def test_the_backbone_sees_few_windows_at_a_time_and_none_twice() -> None:
    counts: list[int] = []

    class Counting(Sighted):
        def __call__(self, images: Tensor, *, attention: bool = False) -> BackboneOutput:
            counts.append(len(images))
            assert images.shape[-2:] == (32, 32)
            return super().__call__(images)

    look_through(Windows(32, 16), Counting(), pixels_of(64, 64), batch=4)
    assert max(counts) == 4
    assert sum(counts) == 3 * 9


def test_no_windows_and_one_window_are_the_image_itself() -> None:
    vit, pixels = small_vit().eval(), pixels_of(24, 32)
    for windows in (None, Windows(32, 16)):
        assert look_through(windows, vit, pixels, batch=1).patches.equal(look(vit, pixels).patches)


def test_words() -> None:
    assert str(Windows(448, 224)) == "in windows of 448 px, one every 224 px"


@pytest.mark.bad_input
def test_sizes_are_checked() -> None:
    with pytest.raises(RangeError, match=r"Windows: stride_px must lie in \[1, 32\], got 40"):
        Windows(32, 40)
    with pytest.raises(RangeError, match="Windows: stride_px must be positive, got 0"):
        Windows(32, 0)
    for windows in (Windows(32, 12), Windows(36, 8)):
        with pytest.raises(ShapeError, match=r"multiples of the model's patch of 8 px, got 3[26]"):
            check_windows(windows, 8)
    with pytest.raises(ShapeError, match="must be multiples"):
        look_through(Windows(32, 12), Sighted(), pixels_of(64, 64), batch=4)
