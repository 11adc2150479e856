"""Facts about a run and its cost."""

from patchwise.reporting.cost import Fact, costs, summary, versions
from tests.reporting.records import record


def values(facts: list[Fact]) -> dict[str, str]:
    return {fact.name: fact.value for fact in facts}


def test_a_complete_run() -> None:
    found = values(costs(record()))
    assert found["Images trained on, with repeats"] == "120"
    assert found["Time in training steps"] == "1 min 30 s"
    assert found["Speed over all"] == "1 images/s"
    assert found["Speed in the log, median and range"] == "116 (101 to 130) images/s"
    assert found["Images that could not be used"] == "2 tiny"
    assert found["Threads"] == "2"
    assert "Peak memory" not in found


def test_what_newer_runs_write_down_is_shown() -> None:
    base = record().results or {}
    found = values(costs(record(results={**base, "peak_bytes": 2**31})))
    assert found["Peak memory"] == "2.00 GiB"


def test_a_run_that_was_stopped_says_so_and_guesses_nothing() -> None:
    stopped = record(results=None)
    assert values(summary(stopped))["State"].startswith("not complete")
    found = values(costs(stopped))
    assert "Time in training steps" not in found
    assert found["Images trained on, with repeats"] == "120"


def test_versions_leave_the_machine_out() -> None:
    assert set(values(versions(record()))) == {"patchwise", "torch"}


def test_a_run_that_wrote_hardly_anything() -> None:
    assert costs(record(results=None, log=[], version=""))
