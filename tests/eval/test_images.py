"""k-NN classification of labelled images."""

from dataclasses import replace
from pathlib import Path

import pytest

from patchwise.data.labelled import open_labelled_data
from patchwise.errors import RangeError
from patchwise.eval.images import KNNImages
from tests.eval.tiny import Sighted, save_colours, subject_of

PROTOCOL = KNNImages("p", resize_px=36, crop_px=32)


def test_no_image_votes_for_itself(tmp_path: Path) -> None:
    result = PROTOCOL.run(
        subject_of(Sighted()), open_labelled_data(save_colours(tmp_path, {"": 24}))
    )
    assert result.num_queries == 24
    assert result.num_memory == 23
    # With k 20 of 23 others, 11 of one's own class stand against 12 of the other: colour must count
    assert result.accuracy > 0.9


def test_two_parts_are_memory_and_queries(tmp_path: Path) -> None:
    data = open_labelled_data(save_colours(tmp_path, {"train": 24, "val": 8}))
    result = PROTOCOL.run(subject_of(Sighted()), data)
    assert (result.num_memory, result.num_queries) == (24, 8)
    assert result.accuracy == result.top5 == 1.0


@pytest.mark.bad_input
def test_settings_are_checked() -> None:
    with pytest.raises(RangeError, match=r"crop_px must lie in \[1, 36\], got 40"):
        replace(PROTOCOL, crop_px=40)
