"""The ten kinds: outlines, parts and textures in an object's own frame."""

import numpy as np
import pytest

from patchwise.data.synthetic_objects import KINDS, Kind, TextureFrame, wave

SIDE = 96
AT = (np.arange(SIDE, dtype=np.float32) + np.float32(0.5)) / np.float32(SIDE / 2.6) - np.float32(
    1.3
)
U, V = np.broadcast_to(AT, (1, SIDE, SIDE)), np.broadcast_to(AT[:, None], (1, SIDE, SIDE))


def frame(phase: float = 0.0, periods: float = 2.0) -> TextureFrame:
    radius = np.sqrt(U * U + V * V)
    turn = np.arctan2(V, U).astype(np.float32)
    factor, shift = np.float32(periods), np.float32(phase)
    return TextureFrame(U * factor + shift, V * factor + shift, radius * factor + shift, turn)


def test_the_names_are_ten_and_differ() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS) == 10


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_an_object_fills_its_frame_and_stays_near_it(kind: Kind) -> None:
    body, part = kind.body(U, V), kind.part(U, V)
    assert body.mean() > 0.15
    assert 0.003 < (part & ~body).mean() + (part & body).mean() < 0.3
    reach = np.maximum(np.abs(U), np.abs(V))[body | part].max()
    assert 0.8 < reach <= 1.31


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_texture_goes_from_one_colour_to_the_other(kind: Kind) -> None:
    texture = kind.texture(frame())
    assert texture.dtype == np.float32
    assert texture.min() == 0
    assert texture.max() == 1
    assert 0.1 < texture.mean() < 0.9


def test_no_two_outlines_and_no_two_textures_are_alike() -> None:
    bodies = [kind.body(U, V) for kind in KINDS]
    textures = [kind.texture(frame()) for kind in KINDS]
    for i in range(len(KINDS)):
        for j in range(i):
            assert np.abs(textures[i] - textures[j]).mean() > 0.05, (i, j)
            whole = (bodies[i] | bodies[j]) | (KINDS[i].part(U, V) | KINDS[j].part(U, V))
            both = (bodies[i] & bodies[j]) & (KINDS[i].part(U, V) == KINDS[j].part(U, V))
            assert both.sum() < 0.97 * whole.sum(), (i, j)


def test_a_wave_is_one_at_whole_numbers_and_zero_between() -> None:
    at = np.array([-1, -0.75, 0, 0.25, 0.5, 1, 7.5], dtype=np.float32)
    np.testing.assert_array_equal(wave(at), [1, 0.5, 1, 0.5, 0, 1, 0])
