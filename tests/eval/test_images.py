"""k-NN classification of labelled images."""

from dataclasses import replace
from pathlib import Path

import pytest

from patchwise.data.labelled import open_labelled_data
from patchwise.errors import RangeError
from patchwise.eval.images import KNNImages
from tests.eval.tiny import MODEL, Sighted, save_colours
from tests.small_runs import small_vit

PROTOCOL = KNNImages("p", resize_px=36, crop_px=32)


def test_no_image_votes_for_itself(tmp_path: Path) -> None:
    result = PROTOCOL.run(Sighted(), open_labelled_data(save_colours(tmp_path, {"": 24})), MODEL)
    assert result.num_queries == 24
    assert result.num_memory == 23
    # With k 20 of 23 others, 11 of one's own class stand against 12 of the other: colour must count
    assert result.accuracy > 0.9


def test_two_parts_are_memory_and_queries(tmp_path: Path) -> None:
    data = open_labelled_data(save_colours(tmp_path, {"train": 24, "val": 8}))
    result = PROTOCOL.run(Sighted(), data, MODEL)
    assert (result.num_memory, result.num_queries) == (24, 8)
    assert result.accuracy == result.top5 == 1.0


def test_a_vits_cls_is_the_feature(tmp_path: Path) -> None:
    data = open_labelled_data(save_colours(tmp_path, {"": 24}))
    features = PROTOCOL._features(small_vit().eval(), data.fit)
    assert features.shape == (24, 32)
    assert not features[0].equal(features[1])


@pytest.mark.bad_input
def test_settings_are_checked() -> None:
    with pytest.raises(RangeError, match=r"crop_px must lie in \[1, 36\], got 40"):
        replace(PROTOCOL, crop_px=40)
