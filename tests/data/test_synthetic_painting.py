"""From what was drawn at random to pixels and masks."""

import numpy as np

from patchwise.data.synthetic_layout import draw_background, draw_colours, lay_out
from patchwise.data.synthetic_painting import (
    Canvas,
    blank_canvas,
    colour_pixels,
    draw_noise,
    instances,
    kinds_of,
    paint_objects,
)

IDS = np.arange(6)


def painted() -> Canvas:
    canvas = blank_canvas(IDS, draw_background(IDS, 0), size_px=64, seed=0)
    paint_objects(lay_out(IDS, 0), canvas)
    return canvas


def test_a_blank_canvas_holds_background_only() -> None:
    canvas = blank_canvas(IDS, draw_background(IDS, 0), size_px=64, seed=0)
    assert not canvas.surface.any()
    assert (canvas.light == 1).all()
    assert canvas.texture.min() >= 0
    assert canvas.texture.max() <= 1
    assert canvas.texture.std() > 0.01


def test_surfaces_are_those_of_the_objects_that_are_present() -> None:
    surface, present = painted().surface, lay_out(IDS, 0).present
    for scene in range(len(IDS)):
        objects = set(((surface[scene] + 1) // 2).ravel().tolist()) - {0}
        assert objects <= {j + 1 for j in range(4) if present[scene, j]}
        assert len(objects) >= 2


def test_painting_leaves_the_background_alone() -> None:
    before = blank_canvas(IDS, draw_background(IDS, 0), size_px=64, seed=0)
    after = painted()
    background = after.surface == 0
    np.testing.assert_array_equal(after.texture[background], before.texture[background])
    assert (after.light[background] == 1).all()


def test_pixels_mix_the_two_colours_of_their_surface() -> None:
    canvas = painted()
    first, change = draw_colours(IDS, 0)
    silent = np.zeros((3, *canvas.surface.shape), dtype=np.float32)
    images = colour_pixels(canvas, (first, change), silent)
    scene, row, column = 2, 40, 13
    surface = canvas.surface[scene, row, column]
    expected = first[:, scene, surface] + (
        change[:, scene, surface] * canvas.texture[scene, row, column]
    )
    expected = expected * canvas.light[scene, row, column] * 255
    np.testing.assert_allclose(images[scene, row, column], np.clip(expected, 0, 255), atol=1.01)


def test_noise_has_its_amount_and_no_direction() -> None:
    amount = np.array([5, 20], dtype=np.float32)
    noise = draw_noise(np.arange(2), amount, size_px=64, seed=0)
    assert noise.shape == (3, 2, 64, 64)
    assert (np.abs(noise).max(axis=(0, 2, 3)) <= amount).all()
    assert (np.abs(noise).max(axis=(0, 2, 3)) > 0.98 * amount).all()
    assert np.abs(noise.mean(axis=(0, 2, 3)) / amount).max() < 0.03


def test_body_and_part_are_one_instance_of_one_kind() -> None:
    surface = np.array([[[0, 1, 2, 3, 8]]], dtype=np.uint8)
    instance = instances(surface)
    assert instance.tolist() == [[[0, 1, 1, 2, 4]]]
    layout = lay_out(IDS[:1], 0)
    kinds = kinds_of(layout, instance)
    assert kinds[0, 0, 0] == 0
    assert kinds[0, 0, 1:].tolist() == (layout.kind[0, [0, 0, 1, 3]] + 1).tolist()
