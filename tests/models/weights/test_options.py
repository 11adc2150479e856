"""Options of a config.json."""

from pathlib import Path

import pytest

from patchwise.errors import WeightsError
from patchwise.models.weights.options import Options


def options(**values: object) -> Options:
    return Options(Path("m/model.safetensors"), values)


def test_what_is_there_is_returned() -> None:
    found = options(n=3, none=0, x=0.5, whole=2, yes=True, side=14, sides=[8, 8])
    assert found.count("n") == found.count("n", 7) == 3
    assert found.count("none", 7) == 0
    assert (found.number("x", 1), found.number("whole", 1)) == (0.5, 2.0)
    assert found.flag("yes", False)
    assert (found.side("side"), found.side("sides")) == (14, 8)
    found.require("n", 3, "three")


def test_colours_are_three_numbers_or_one_for_all() -> None:
    found = options(three=[0.5, 0, 1], one=0.25, whole=1)
    assert found.rgb("three") == found.rgb("three", (0.1, 0.1, 0.1)) == (0.5, 0.0, 1.0)
    assert found.rgb("one", positive=True) == (0.25, 0.25, 0.25)
    assert found.rgb("gone", (0.1, 0.2, 0.3), positive=True) == (0.1, 0.2, 0.3)
    assert [type(channel) for channel in found.rgb("whole")] == [float] * 3


def test_what_is_not_there_is_the_default() -> None:
    assert options().count("n", 7) == 7
    assert options().number("x", 1e-6) == 1e-6
    assert options().flag("no", False) is False
    options().require("n", 3, "three")
    options().require("n", 3, "three", default=3)


@pytest.mark.bad_input
@pytest.mark.parametrize("value", [-1, 2.0, "2", None, True, [2]])
def test_other_counts_are_refused(value: object) -> None:
    message = r"option n in config.json of 'm/model.safetensors' must be a whole number, got "
    with pytest.raises(WeightsError, match=message):
        options(n=value).count("n")


@pytest.mark.bad_input
@pytest.mark.parametrize("value", [0, -1, [8, 4], [8], [8, 8, 8], [], [[8], [8]], None, "8", True])
def test_other_sides_are_refused(value: object) -> None:
    with pytest.raises(WeightsError, match=r"option s in .* must be the side of a square, got "):
        options(s=value).side("s")


@pytest.mark.bad_input
@pytest.mark.parametrize("value", [0, -1.5, "1", None, True, float("nan"), float("inf")])
def test_other_numbers_are_refused(value: object) -> None:
    with pytest.raises(WeightsError, match=r"option x in .* must be a positive number, got "):
        options(x=value).number("x", 1)


@pytest.mark.bad_input
@pytest.mark.parametrize("value", [0, 1, "true", None])
def test_other_flags_are_refused(value: object) -> None:
    with pytest.raises(WeightsError, match=r"option y in .* must be true or false, got "):
        options(y=value).flag("y", True)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "value", [[0.5], [0.5] * 4, [], [0.5, 0.5, 1.1], 123.7, -1, None, "0.5", True, [[0.5]] * 3]
)
def test_other_colours_are_refused(value: object) -> None:
    for positive, bracket in ((False, r"\["), (True, r"\(")):
        message = rf"option c in .* must be three numbers in {bracket}0, 1\], got "
        with pytest.raises(WeightsError, match=message):
            options(c=value).rgb("c", positive=positive)


@pytest.mark.bad_input
def test_zero_may_be_refused_among_colours() -> None:
    for value in (0, [0.5, 0.0, 0.5]):
        options(c=value).rgb("c")
        with pytest.raises(WeightsError, match=r"must be three numbers in \(0, 1\], got"):
            options(c=value).rgb("c", positive=True)


@pytest.mark.bad_input
def test_the_file_is_named_whose_option_it_is() -> None:
    found = Options(Path("m/model.safetensors"), {}, "other.json")
    with pytest.raises(WeightsError, match=r"option n in other\.json of 'm/model\.safetensors' "):
        found.count("n")


@pytest.mark.bad_input
def test_what_is_missing_is_said() -> None:
    with pytest.raises(WeightsError, match=r"option c in .*, got no such option$"):
        options().rgb("c")
    with pytest.raises(WeightsError, match=r"option n in .*, got no such option$"):
        options().count("n")
    with pytest.raises(WeightsError, match=r"option s in .*, got no such option$"):
        options().side("s")


@pytest.mark.bad_input
def test_another_value_than_required_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"option n in .* must be 'a' \(the first\), got 'b'$"):
        options(n="b").require("n", "a", "the first")
    with pytest.raises(WeightsError, match=r"must be 'a' \(the first\), got 'b'$"):
        options().require("n", "a", "the first", default="b")
