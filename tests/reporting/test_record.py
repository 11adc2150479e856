"""What is known of a run."""

from tests.reporting.records import log_lines, record


def test_facts_are_the_lines_of_the_version() -> None:
    assert record().facts["torch"] == "2.13.0"
    assert record(version="").facts == {}


def test_steps_are_those_of_the_results_or_of_the_log() -> None:
    assert record().steps == 30
    assert record(results=None, log=log_lines()[:10]).steps == 9
    assert record(results=None, log=[]).steps == 0
