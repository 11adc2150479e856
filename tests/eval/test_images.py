"""k-NN classification of labelled images."""

from dataclasses import replace
from pathlib import Path

import pytest

from patchwise.data.labelled import open_labelled_data
from patchwise.errors import RangeError
from patchwise.eval.images import KNNImages
from tests.eval.test_knn_cotap import Blurred
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


def test_other_k_stand_beside_the_score(tmp_path: Path) -> None:
    """Each is what its own run scores; those beyond the images are left out."""
    data = open_labelled_data(save_colours(tmp_path, {"train": 24, "val": 8}))
    subject = subject_of(Blurred())
    result = replace(PROTOCOL, k=5, other_k=(1, 23, 24, 200)).run(subject, data)
    runs = {k: replace(PROTOCOL, k=k, other_k=()).run(subject, data) for k in (1, 5, 23)}
    assert result.others == {f"k={k}": runs[k].accuracy for k in (1, 23)}
    assert runs[5].others == {}
    assert replace(result, others={}, fingerprint=runs[5].fingerprint) == runs[5]


@pytest.mark.bad_input
def test_there_must_be_images_enough_for_k(tmp_path: Path) -> None:
    data = open_labelled_data(save_colours(tmp_path, {"train": 20, "val": 8}))
    with pytest.raises(RangeError, match="memory must hold more than k=20 features, got 20"):
        PROTOCOL.run(subject_of(Sighted()), data)


@pytest.mark.bad_input
def test_settings_are_checked() -> None:
    with pytest.raises(RangeError, match=r"crop_px must lie in \[1, 36\], got 40"):
        replace(PROTOCOL, crop_px=40)
    with pytest.raises(RangeError, match=r"other_k\[1\] must be positive, got 0"):
        replace(PROTOCOL, other_k=(3, 0))
