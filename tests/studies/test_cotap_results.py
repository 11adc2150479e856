"""What is shown of results, and how they are judged."""

import json
from pathlib import Path
from typing import Any

import pytest
from studies.cotap_jobs import TABLES, Values, jobs
from studies.cotap_results import PAGE, collect, insert, tables, verdicts

from tests.studies.test_cotap_jobs import SPEEDS, Records, measured, study


def scores(incontext: float, *, within: float = 0.5) -> Values:
    return {
        "incontext": incontext,
        "linear": incontext - 0.1,
        "knn": 0.5,
        "within instance": None,
        "within class": within,
        "between": 0.8,
    }


def finished(*, ahead: float = 0.03, within: float = 0.4) -> Values:
    """The results of a study in which CoTAP is so far ahead."""
    of, records = study(), None
    records = measured(of)
    behind: Values = {"protocols": {"incontext": "a"}, "packages": {"torch": "2"}}
    for _ in range(4):
        for job in jobs(of, records):
            if records(job) is not None:
                continue
            if job.kind == "speeds":
                records.add(job, **SPEEDS, rounds={})
            elif job.name.startswith("tuning"):
                records.add(
                    job, scores={"incontext": 0.3}, **{**behind, "protocols": {"incontext": "b"}}
                )
            elif job.name.startswith("control") or job.name == "base":
                records.add(job, weights="w", file="f", scores=scores(0.3), **behind, steps=9)
            else:
                good = scores(0.3 + ahead, within=within)
                records.add(job, weights="w", file="f", scores=good, **behind, steps=7, seconds=2.5)
    return collect(of, records)


def rows(shown: str) -> dict[str, list[str]]:
    """Return the rows of all tables by their first cell; of two, the first."""
    found: dict[str, list[str]] = {}
    for line in shown.splitlines():
        if line.startswith("| "):
            name, *cells = [cell.strip() for cell in line.strip("|").split("|")]
            found.setdefault(name, cells)
    return found


def test_results_are_complete_and_plain() -> None:
    found = finished()
    assert found["complete"]
    assert json.loads(json.dumps(found)) == json.loads(json.dumps(finished()))
    assert found["best"] == {"cotap": "rate 0.0032", "control": "rate 0.0006"}
    assert found["protocols"] == {"incontext": "a", "tuning: incontext": "b"}
    assert found["packages"] == {"torch": "2"}
    repeated = sum(change.every_seed for change in study().ablation.values())
    alone = 3 + 3 * repeated
    assert len(found["runs"]) == 1 + 6 + alone + len(study().ablation) + 2 * repeated
    assert len(found["tuning"]) == sum(len(arm.tries) for arm in study().arms.values())


def test_margins_decide() -> None:
    judged = {(seed, name): enough for seed, name, _, enough in verdicts(finished())}
    assert judged.keys() == {
        (seed, name) for seed in (0, 1, 2) for name in ("incontext", "linear", "knn", "ratio")
    }
    assert all(judged.values())
    for change in ({"ahead": 0.019}, {"within": 0.46}):
        judged = {(s, name): enough for s, name, _, enough in verdicts(finished(**change))}
        wrong = {name for (_, name), enough in judged.items() if not enough}
        assert wrong == ({"incontext", "linear"} if "ahead" in change else {"ratio"})


def test_lengths_are_those_of_what_is_taken() -> None:
    found = finished()
    found["speeds of what is taken"]["step_s"] = {"cotap": 1.0, "control": 0.5}
    found["steps"] = {"cotap": 400, "control": 840}
    first, _, second, *_ = tables(found).splitlines()
    assert "cotap 2000 ms, control 500 ms" in first
    assert first.endswith("of the tries 400 steps for CoTAP and 1640 for the control.")
    assert "cotap 1000 ms, control 500 ms" in second
    assert second.endswith("of the runs 400 steps for CoTAP and 840 for the control.")


def test_tables_show_runs_means_and_verdicts() -> None:
    shown = rows(tables(finished()))
    assert shown["cotap 1"] == [
        "0.3300",
        "0.2300",
        "0.5000",
        "",
        "0.4000",
        "0.8000",
        "0.5000",
        "7",
        "2.5",
    ]
    assert shown["control 2"][:2] == ["0.3000", "0.2000"]
    assert shown["control 2"][6:] == ["0.6250", "9", ""]
    assert shown["**cotap, mean of 3**"][0] == "0.3300"
    assert shown["seed 2"] == ["+0.0300 yes", "+0.0300 yes", "+0.0000 yes", "x0.800 yes"]
    assert shown["random neighbours"][0] == "0.3300"
    assert shown["cotap, rate 0.0032 (taken)"] == ["0.3000"]
    assert shown["control, rate 0.002"] == ["0.3000"]
    assert rows(tables(finished(ahead=0.0)))["seed 0"][0] == "+0.0000 **no**"


def test_tables_of_what_is_not_done_yet() -> None:
    of = study()
    assert tables(collect(of, Records())) == "Not run yet.\n"
    assert tables(collect(of, measured(of))) == "Not run yet.\n"
    records = measured(of)
    for job in list(jobs(of, records))[3:]:
        records.add(job, failed="not finite")
    with pytest.raises(SystemExit, match="no try of cotap came to its end"):
        collect(of, records)


def test_a_run_that_failed_is_shown_so() -> None:
    found = finished()
    found["runs"]["random neighbours"] = {"failed": "not finite"}
    del found["runs"]["cotap 1"]
    shown = rows(tables(found))
    assert shown["random neighbours"] == ["failed"]
    assert shown["cotap 1"] == ["not run"]
    assert "seed 1" not in shown
    assert "**cotap, mean of 2**" in shown


def test_scores_by_different_protocols_are_refused() -> None:
    of = study()
    records = measured(of)
    for place, job in enumerate(list(jobs(of, records))[4:]):
        records.add(job, scores={"incontext": 0.1}, protocols={"incontext": f"{place}"})
    with pytest.raises(SystemExit, match="was scored by another protocol"):
        collect(of, records)


def test_tables_go_between_their_marks() -> None:
    page = (
        "a\n<!-- x: written by studies.cotap -->\nold\n<!-- end of x -->\nb\n"
        "<!-- y: written by studies.cotap -->\nkept\n<!-- end of y -->\n"
    )
    made = insert(page, "x", "new \\1\n")
    assert made == page.replace("old\n", "new \\1\n")
    with pytest.raises(AssertionError, match="the page must have the marks of z once"):
        insert(page, "z", "new\n")


@pytest.mark.parametrize("path", sorted(TABLES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_page_is_what_the_results_say(path: Path) -> None:
    results = path.with_suffix(".json")
    found: Any = json.loads(results.read_text("utf-8")) if results.exists() else None
    shown = "Not run yet.\n" if found is None else tables(found)
    page = PAGE.read_text(encoding="utf-8")
    assert insert(page, path.stem, shown) == page
