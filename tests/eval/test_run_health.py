"""Health of a run: medians of its last lines, by hand."""

from dataclasses import replace
from statistics import median
from typing import Any

import pytest

from patchwise.errors import DataError, RangeError
from patchwise.eval.results import headline
from patchwise.eval.run_health import HealthRun, RunRecord
from tests.eval.tiny import MODEL, Sighted, subject_of

PROTOCOL = HealthRun("health/run")


def line(step: int) -> dict[str, Any]:
    values = {"teacher_entropy": 0.3, "prototype_use": 0.2, "loss_frac": 0.9, "agreement": 0.4}
    moved = {f"health/{name}": value + step**2 / 1e6 for name, value in values.items()}
    return {"step": step, "loss": 1.0, **moved, "health/update": 0.001}


RECORD = RunRecord("run", tuple(line(step) for step in range(10, 201, 10)), "ab")


def test_values_are_medians_of_the_last_part() -> None:
    result = PROTOCOL.run(subject_of(Sighted()), RECORD)
    assert (result.steps, result.lines) == (200, 3)  # of the steps 180, 190 and 200
    assert result.loss_frac == pytest.approx(0.9 + 190**2 / 1e6)
    assert result.values["agreement"] == result.agreement
    assert result.values.keys() == {
        "teacher_entropy", "prototype_use", "loss_frac", "agreement", "update",
    }  # fmt: skip
    assert headline(result) == ("loss of ln K", result.loss_frac)


def test_the_part_is_a_setting() -> None:
    whole = replace(PROTOCOL, last_frac=1.0).run(subject_of(Sighted()), RECORD)
    assert whole.lines == 20
    expected = median(entry["health/agreement"] for entry in RECORD.lines)
    assert whole.agreement == pytest.approx(expected)
    assert replace(PROTOCOL, last_frac=0.0).run(subject_of(Sighted()), RECORD).lines == 1


def test_other_lines_do_not_count() -> None:
    others = ({"step": 200, "val/knn": 0.5}, {"step": 205, "warning": {"cause": "x"}})
    record = replace(RECORD, lines=(*RECORD.lines, *others))
    assert (
        PROTOCOL.run(subject_of(Sighted()), record).values
        == PROTOCOL.run(subject_of(Sighted()), RECORD).values
    )


def test_the_cause_is_handed_on_and_the_run_named() -> None:
    result = PROTOCOL.run(subject_of(Sighted()), replace(RECORD, cause="collapse", message="why"))
    assert (result.cause, result.message) == ("collapse", "why")
    assert (result.fingerprint.data.name, result.fingerprint.data.sha256) == ("run", "ab")
    assert result.fingerprint.model == MODEL
    assert result.fingerprint.settings == {"last_frac": 0.1}


@pytest.mark.bad_input
def test_a_log_without_health_is_refused() -> None:
    with pytest.raises(
        DataError, match="log of 'run' must hold health values, got none in 1 lines"
    ):
        PROTOCOL.run(subject_of(Sighted()), replace(RECORD, lines=({"step": 1, "loss": 2.0},)))
    with pytest.raises(RangeError, match="last_frac must lie in"):
        replace(PROTOCOL, last_frac=1.5)
