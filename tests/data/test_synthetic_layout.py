"""What is drawn at random about a scene, before anything is painted."""

import dataclasses

import numpy as np

from patchwise.data.synthetic_layout import (
    LARGEST_RADIUS,
    MAX_OBJECTS,
    draw_background,
    draw_colours,
    lay_out,
)
from patchwise.data.synthetic_objects import KINDS

IDS = np.arange(2000)
LUMINANCE = np.array([0.3, 0.59, 0.11])


def test_a_scene_has_two_to_four_objects_of_known_kinds() -> None:
    layout = lay_out(IDS, 0)
    assert set(layout.present.sum(axis=1).tolist()) == {2, 3, 4}
    assert layout.kind.min() == 0
    assert layout.kind.max() == len(KINDS) - 1
    assert layout.kind.shape == (len(IDS), MAX_OBJECTS)


def test_every_number_is_float32_so_that_no_platform_rounds_otherwise() -> None:
    layout, background = lay_out(IDS, 0), draw_background(IDS, 0)
    for drawn in (layout, background):
        for field in dataclasses.fields(drawn):
            values = getattr(drawn, field.name)
            assert values.dtype in (np.float32, np.bool_, np.int64), field.name
    assert all(colours.dtype == np.float32 for colours in draw_colours(IDS, 0))


def test_tilts_are_rotations_of_less_than_twenty_degrees() -> None:
    layout = lay_out(IDS, 0)
    np.testing.assert_allclose(layout.cosine**2 + layout.sine**2, 1, atol=1e-6)
    assert np.abs(np.degrees(np.arctan2(layout.sine, layout.cosine))).max() < 20


def test_objects_lie_near_four_corners_and_within_the_scene() -> None:
    layout = lay_out(IDS, 0)
    quadrant = 2 * (layout.y > 0.5) + (layout.x > 0.5)
    assert all(len(set(row)) == MAX_OBJECTS for row in quadrant.tolist())
    assert (layout.radius <= LARGEST_RADIUS).all()
    assert layout.x.min() > 0
    assert layout.x.max() < 1


def test_like_goes_with_like_but_not_always() -> None:
    kinds = lay_out(IDS, 0).kind
    same = (kinds[:, 0] == kinds[:, 1]).mean()
    assert 0.3 < same < 0.7  # alone by chance it would be 0.1


def test_the_two_colours_of_a_surface_differ_in_brightness() -> None:
    first, change = draw_colours(IDS, 0)
    assert first.shape == change.shape == (3, len(IDS), 1 + 2 * MAX_OBJECTS)
    assert first.min() >= 0
    assert (first + change).max() <= 1
    body = np.einsum("c,cbs->bs", LUMINANCE, change)[:, 1::2]
    assert (np.abs(body) > 0.1).mean() > 0.99


def test_draws_depend_on_the_id_and_the_seed_alone() -> None:
    some = np.array([7, 1999, 3])
    for draw in (lay_out, draw_background):
        whole, part, other = draw(IDS, 0), draw(some, 0), draw(some, 1)
        for field in dataclasses.fields(part):
            np.testing.assert_array_equal(
                getattr(part, field.name), getattr(whole, field.name)[some]
            )
        assert any(
            not np.array_equal(getattr(part, f.name), getattr(other, f.name))
            for f in dataclasses.fields(part)
        )
