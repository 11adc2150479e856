"""Which curves come out of which log."""

import math
from dataclasses import replace

from patchwise.reporting.curves import Log, make_charts, missing_curves, warnings
from tests.reporting.records import HOSTILE, log_lines
from tests.small_runs import COTAP_CONFIG, distillation, run_config


def titles(log: Log) -> list[str]:
    return [chart.title for chart in make_charts(log, run_config())]


def test_everything_that_is_logged_is_drawn_validation_first() -> None:
    found = titles(log_lines())
    assert found[:3] == ["Validation", "Loss", "Learning rate"]
    assert {"Entropy of the answers", "Prototypes in use", "Position bias", "new one"} <= set(found)
    assert missing_curves(log_lines(), run_config()) == []


def test_an_older_log_without_health_is_no_trouble() -> None:
    log = log_lines(health=False)
    assert "Position bias" not in titles(log)
    assert "Position bias" in missing_curves(log, run_config())
    assert "Loss" not in missing_curves(log, run_config())


def test_an_empty_log_has_no_charts() -> None:
    assert make_charts([], run_config()) == []
    assert "Loss" in missing_curves([], run_config())


def test_the_loss_is_beside_that_of_saying_nothing() -> None:
    config = run_config()
    loss = next(c for c in make_charts(log_lines(), config) if c.title == "Loss")
    assert loss.levels == ((math.log(distillation(config).prototypes), "ln K = ln 24"),)


def test_points_are_those_of_the_log_without_what_is_not_finite() -> None:
    log: Log = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": float("nan")}, {"step": 3, "loss": 1}]
    (chart,) = make_charts(log, run_config())
    assert list(chart.lines[0].points) == [(1, 2.0), (3, 1.0)]


def test_warnings_are_told_and_marked() -> None:
    log = log_lines(warnings=True)
    (found,) = warnings(log)
    assert (found.step, found.cause, found.message) == (20, "collapse", HOSTILE[0])
    assert all(chart.moments == (20,) for chart in make_charts(log, run_config())
               if chart.title != "Validation")  # fmt: skip
    assert warnings([{"step": 3, "warning": "text"}])[0].message == "text"


def test_cotap_has_curves_of_its_own_and_lacks_none_of_the_others() -> None:
    config = replace(run_config(), method=COTAP_CONFIG)
    names = ("ranking_accuracy", "assignment_entropy", "image_agreement", "mask_area", "filter_use")
    line = {"step": 1, "loss": 9.0, "dense": 4.0, "ranking": 0.4, "patch_queue_age": 3.0}
    log: Log = [{**line, **{f"health/{name}": 0.5 for name in names}}]
    charts = {chart.title: chart for chart in make_charts(log, config)}
    assert [line.name for line in charts["Parts of the loss"].lines] == ["dense", "ranking"]
    assert charts["Loss"].levels == ()
    assert {"Ranking accuracy", "Foreground", "Prototypes in use"} <= charts.keys()
    missing = missing_curves(log, config)
    assert "Age of the queues" in missing
    assert "Lead of one prototype" not in missing
    assert "Foreground" not in missing


def test_the_loss_of_cotap_is_told_as_a_sum_of_parts() -> None:
    config = replace(run_config(), method=COTAP_CONFIG)
    log: Log = [{"step": 1, "loss": 9.0, "dense": 4.0, "health/agreement": 0.1}]
    charts = make_charts(log, config)
    first = charts[0]
    assert (first.title, first.y_label) == ("Loss", "weighted sum of the parts")
    assert "ln K" not in first.meaning
    assert not first.levels
    assert len({chart.name for chart in charts}) == len(charts)
    assert [chart.title for chart in charts].count("Agreement of student and teacher") == 1
