"""Draws are named by what they are for and by nothing else."""

import numpy as np

from patchwise.augment.draw import DrawKey, Purpose, as_float, between, factors

IDS = np.array([4, 7, 9])


def test_an_image_draws_the_same_in_any_batch() -> None:
    among = DrawKey(1, 2, IDS, 3).uniform(5, Purpose.CROP)
    alone = DrawKey(1, 2, np.array([7]), 3).uniform(5, Purpose.CROP)
    assert (among[1] == alone[0]).all()
    assert among.shape == (3, 5)
    beside = DrawKey(1, 2, IDS, 3, IDS + 5).uniform(5, Purpose.CROP)
    assert (beside[1] == DrawKey(1, 2, IDS[1:2], 3, IDS[1:2] + 5).uniform(5, Purpose.CROP)).all()
    assert len(DrawKey(1, 2, IDS, 3)) == 3


def test_every_part_of_the_key_matters() -> None:
    base = DrawKey(1, 2, IDS, 3).uniform(4, Purpose.CROP)
    others = [
        DrawKey(0, 2, IDS, 3).uniform(4, Purpose.CROP),
        DrawKey(1, 0, IDS, 3).uniform(4, Purpose.CROP),
        DrawKey(1, 2, IDS + 1, 3).uniform(4, Purpose.CROP),
        DrawKey(1, 2, IDS, 0).uniform(4, Purpose.CROP),
        DrawKey(1, 2, IDS, 3).uniform(4, Purpose.PHOTOMETRIC),
        DrawKey(1, 2, IDS, 3).uniform(4, Purpose.PATCH_PHOTOMETRIC),
        DrawKey(1, 2, IDS, 3, IDS).uniform(4, Purpose.CROP),
        DrawKey(1, 2, IDS, 3, IDS + 1).uniform(4, Purpose.CROP),
        DrawKey(1, 2, IDS, 3, IDS[::-1].copy()).uniform(4, Purpose.CROP)[[0, 2]],
    ]
    for other in others:
        assert not np.isin(other, base).any()
    apart = [number for other in [base, *others] for number in other.ravel().tolist()]
    assert len(set(apart)) == len(apart)


def test_numbers_are_spread_over_the_limits() -> None:
    uniform = np.array([0.0, 0.5, 1.0])
    assert between((-2.0, 4.0), uniform).tolist() == [-2.0, 1.0, 4.0]
    assert factors(0.25, uniform).tolist() == [0.75, 1.0, 1.25]
    assert factors(3.0, uniform).tolist() == [0.0, 2.0, 4.0]
    assert as_float(uniform).tolist() == [0.0, 0.5, 1.0]
