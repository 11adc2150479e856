"""k-NN of patches."""

from dataclasses import replace
from typing import Any, cast

import pytest

from patchwise.data.segmentation import open_segmentation
from patchwise.errors import RangeError
from patchwise.eval.baselines import RawPatches
from patchwise.eval.patches import KNNPatches
from tests.eval.tiny import Sighted, colour_data, subject_of

PROTOCOL = KNNPatches("p", size_px=32)


def test_every_patch_with_a_class_counts() -> None:
    result = PROTOCOL.run(subject_of(Sighted()), colour_data())
    assert (result.num_memory, result.num_queries) == (24 * 16, 12 * 16)


def test_the_background_is_no_category() -> None:
    data = colour_data()
    with_ground = PROTOCOL.run(subject_of(Sighted()), data)
    without = PROTOCOL.run(subject_of(Sighted()), replace(data, background=0))
    assert without.num_queries < with_ground.num_queries
    assert without.accuracy == 1.0


def test_patches_of_no_clear_class_do_not_count() -> None:
    mixed = replace(PROTOCOL, size_px=24)  # patches of 8 px over blocks of 12
    whole = mixed.run(subject_of(Sighted()), colour_data())
    clear = replace(mixed, least_share=0.99).run(subject_of(Sighted()), colour_data())
    assert 0 < clear.num_queries < whole.num_queries


def test_unlabelled_patches_do_not_count() -> None:
    result = PROTOCOL.run(subject_of(Sighted()), colour_data(unlabelled=0.45))
    assert 0 < result.num_queries < 12 * 16


def test_of_too_many_patches_some_are_drawn_by_the_seed() -> None:
    few = replace(PROTOCOL, memory=50, queries=30)
    results = [replace(few, seed=seed).run(subject_of(Sighted()), colour_data()) for seed in (0, 1)]
    assert all((r.num_memory, r.num_queries) == (50, 30) for r in results)


def test_pixels_tell_little_of_the_scenes_categories() -> None:
    data = open_segmentation("scenes")
    result = KNNPatches("p", size_px=64).run(subject_of(RawPatches(8)), data)
    assert result.num_memory == 10_156
    assert 0.25 < result.accuracy < 0.35


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["size_px", "memory", "queries", "k"])
def test_settings_are_checked(name: str) -> None:
    with pytest.raises(RangeError, match=f"{name} must be positive, got 0"):
        replace(PROTOCOL, **cast(Any, {name: 0})).run(subject_of(Sighted()), colour_data())
