"""Suites are made of protocols that there are."""

import pytest

from patchwise.errors import ChoiceError
from patchwise.eval.presets import PROTOCOLS
from patchwise.eval.suites import SUITES, protocols_of


@pytest.mark.parametrize("suite", SUITES)
def test_every_name_is_that_of_a_published_protocol(suite: str) -> None:
    names = protocols_of(suite)
    assert names
    assert set(names) <= PROTOCOLS.keys()
    assert len(set(names)) == len(names)
    assert not any(name.endswith("-short") for name in names)


@pytest.mark.parametrize("suite", SUITES)
def test_short_forms_stand_for_those_that_have_one(suite: str) -> None:
    names = protocols_of(suite, short=True)
    assert names
    assert set(names) <= PROTOCOLS.keys()
    assert tuple(name.removesuffix("-short") for name in names) == protocols_of(suite)


def test_what_has_no_short_form_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SUITES, "mine", ("knn/long", "knn/dino"))
    assert protocols_of("mine") == ("knn/long", "knn/dino")
    assert protocols_of("mine", short=True) == ("knn/long", "knn/dino-short")


def test_what_backbones_are_measured_by() -> None:
    assert "incontext/hummingbird" in protocols_of("dense")
    assert "knn/dino" in protocols_of("global")


@pytest.mark.bad_input
def test_other_suites_are_told_the_nearest() -> None:
    with pytest.raises(ChoiceError, match="got 'dens'; did you mean 'dense'"):
        protocols_of("dens")
