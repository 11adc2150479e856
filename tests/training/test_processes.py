"""Two processes train as one does with the same global batch."""

import sys
from typing import Any

import pytest
import torch

from tests.training.parallel import (
    CASES,
    STEPS,
    Found,
    SomeBroken,
    meet_broken_images,
    run_members,
    train,
)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("both")
    run_members(2, [sys.executable, "-m", "tests.training.parallel", str(folder)])
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in (0, 1)]


@pytest.mark.parametrize("case", CASES)
def test_they_train_as_one_does(case: str, both: list[dict[str, Any]]) -> None:
    alone, first, second = train(case), *(Found(**found[case]) for found in both)
    assert [a + b for a, b in zip(first.ids, second.ids, strict=True)] == alone.ids
    for own, whole in zip(first.values, alone.values, strict=True):
        assert own.keys() == whole.keys()
        same = {name for name in whole if not name.startswith("health/")}
        same |= {"health/teacher_distance", "health/update", "health/loss_frac"} & whole.keys()
        for name in same:
            assert own[name] == pytest.approx(whole[name], rel=1e-9), name
    torch.testing.assert_close(first.state, alone.state, rtol=1e-9, atol=1e-9)
    assert all(tensor.dtype != torch.float32 for tensor in alone.state.values())


@pytest.mark.parametrize("case", CASES)
def test_they_have_the_same_weights_and_log_the_same(case: str, both: list[dict[str, Any]]) -> None:
    first, second = (Found(**found[case]) for found in both)
    torch.testing.assert_close(first.state, second.state, rtol=0, atol=0)
    assert first.values == second.values
    assert first.draws == second.draws
    assert len(first.values) == STEPS
    assert "health/agreement" in first.values[1]


def test_what_they_say_arrives(both: list[dict[str, Any]]) -> None:
    first, second = both[0]["talk"], both[1]["talk"]
    assert (first["who"], second["who"]) == ((0, 2, 2, True), (1, 2, 2, False))
    for found in (first, second):
        assert found["exchange"] == [
            {"rank": 0, "long": "", "nan": None},
            {"rank": 1, "long": "x" * 1000, "nan": None},
        ]
        assert found["any"] == [True, False, True]
        assert found["mean"] == {"a": 0.5, "b": 0.1}
        assert found["first"] == 10


@pytest.mark.bad_input
def test_an_error_of_one_is_an_error_of_all(both: list[dict[str, Any]]) -> None:
    first, second = both[0]["talk"], both[1]["talk"]
    assert second["require"] == ("DataError", "of 1")
    assert first["require"][0] == "DataError"
    assert "of 1" in first["require"][1]
    assert second["require other"] == ("OSError", "disk")
    assert first["require other"] == (
        "TrainingError",
        "train: process 1 must go on, got OSError: disk",
    )
    assert first["fail"] == ("DataError", "test: the first must not fail, got 0")
    assert second["fail"][0] == "DataError"


def test_the_first_finds_neighbours_for_both(both: list[dict[str, Any]]) -> None:
    first, second = both[0]["anew"], both[1]["anew"]
    assert sum("finding" in line for line in first["said"]) == 2  # of two image sets
    assert second["said"] == []
    for name, ids in first["found"].items():
        for other in (first["again"], second["found"], second["again"]):
            assert (other[name] == ids).all()


def test_bad_images_of_both_are_counted_by_both(both: list[dict[str, Any]]) -> None:
    alone = meet_broken_images(4)
    for found in both:
        assert found["broken"][4]["numbers"] == alone["numbers"]
        assert alone["numbers"][-1] == len(SomeBroken.broken)
        assert sorted(found["broken"][4]["said"]) == sorted(alone["said"])
        assert found["broken"][4]["error"] is None
    states = [found["broken"][4]["state"]["found"] for found in both]
    assert sorted(bad["index"] for bad in states[0]) == list(SomeBroken.broken)
    assert all(bad in states[1] for bad in states[0])


@pytest.mark.bad_input
@pytest.mark.parametrize("tolerated", [3, 2])
def test_too_many_bad_images_stop_both_at_one_step(
    tolerated: int, both: list[dict[str, Any]]
) -> None:
    alone = meet_broken_images(tolerated)
    for found in both:
        mine = found["broken"][tolerated]
        assert mine["numbers"] == alone["numbers"]
        assert f"at most {tolerated} bad images" in mine["error"]
