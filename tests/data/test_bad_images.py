"""Counting images that cannot be used."""

import json

import pytest

from patchwise.data.bad_images import BadImage, BadImages
from patchwise.data.images import ImageReason
from patchwise.errors import DataError, RangeError


def bad(index: int, reason: ImageReason = "empty") -> BadImage:
    return BadImage(index, f"file {index}.png", reason, f"message {index}")


def test_distinct_images_are_counted() -> None:
    found = BadImages("photos", tolerated=3)
    assert found.add([]) == []
    assert found.add([bad(4), bad(2, "tiny")]) == [bad(4), bad(2, "tiny")]
    assert found.add([bad(4), bad(9, "tiny")]) == [bad(9, "tiny")]
    assert found.add([bad(4), bad(9, "tiny")]) == []
    assert len(found) == 3
    assert found.counts == {"tiny": 2, "empty": 1}
    assert list(found.counts) == ["tiny", "empty"]


@pytest.mark.bad_input
def test_one_too_many_is_an_error_that_says_what_to_do() -> None:
    found = BadImages("photos", tolerated=2)
    found.add([bad(7), bad(2, "truncated")])
    with pytest.raises(DataError) as caught:
        found.add([bad(5, "truncated")])
    assert str(caught.value) == (
        "BadImages: 'photos' must hold at most 2 bad images, got 3 so far (2 truncated, 1 empty); "
        "remove them or raise data.tolerated_bad_images:\n"
        "  truncated: 'file 2.png'\n  truncated: 'file 5.png'\n  empty: 'file 7.png'"
    )


@pytest.mark.bad_input
def test_none_may_be_tolerated() -> None:
    with pytest.raises(DataError, match="at most 0 bad images, got 1 so far"):
        BadImages("photos", tolerated=0).add([bad(0)])


@pytest.mark.bad_input
def test_the_error_names_the_first_twenty() -> None:
    with pytest.raises(DataError) as caught:
        BadImages("photos", tolerated=10).add([bad(index) for index in reversed(range(50))])
    lines = str(caught.value).splitlines()[1:]
    assert lines == [f"  empty: 'file {i}.png'" for i in range(20)] + ["  and 30 more"]


def test_the_state_goes_through_json_and_counts_on() -> None:
    found = BadImages("photos", tolerated=2)
    found.add([bad(1), bad(2, "enormous")])
    resumed = BadImages("photos", tolerated=2)
    resumed.add([bad(77)])
    resumed.restore(json.loads(json.dumps(found.state())))
    assert resumed.state() == found.state()
    assert resumed.add([bad(1)]) == []
    with pytest.raises(DataError, match="got 3 so far"):
        resumed.add([bad(3)])


@pytest.mark.bad_input
def test_the_number_tolerated_must_not_be_negative() -> None:
    with pytest.raises(RangeError, match=r"BadImages: tolerated must lie in \[0, inf\], got -1"):
        BadImages("photos", tolerated=-1)
