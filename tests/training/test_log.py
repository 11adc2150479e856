"""The log holds every line once, whatever happened in between."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from patchwise.training.log import RunLog, read_log


def write(folder: Path, steps: range, *, start: int = 0, sign: int = 1) -> None:
    with RunLog(folder, step=start) as log:
        for step in steps:
            log.write(step, {"loss": sign * step / 2})


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Read what TensorBoard would show."""
    from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]  # noqa: PLC0415
        EventAccumulator,
    )

    shown = EventAccumulator(str(folder / "tensorboard"))
    shown.Reload()
    return {
        name: [(event.step, event.value) for event in shown.Scalars(name)]
        for name in shown.Tags()["scalars"]
    }


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    lines: list[Mapping[str, Any]] = [
        {"loss": 0.1, "count": 3, "note": "größe\u2028\n", "flag": True},
        {"val/knn": 0.25, "none": None},
    ]
    with RunLog(tmp_path) as log:
        for step, values in enumerate(lines):
            log.write(step, values)
    expected = [{"step": step, **values} for step, values in enumerate(lines)]
    assert read_log(tmp_path / "log.jsonl") == expected


def test_a_line_can_be_read_as_soon_as_it_is_written(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        log.write(1, {"loss": 1.0})
        assert read_log(tmp_path / "log.jsonl") == [{"step": 1, "loss": 1.0}]


def test_numbers_go_to_tensorboard_and_texts_do_not(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        log.write(0, {"val/knn": 0.5})
        log.write(1, {"loss": 0.25, "count": 3, "note": "text", "none": None})
        log.write(2, {"loss": 0.125})
    assert events(tmp_path) == {
        "val/knn": [(0, 0.5)],
        "loss": [(1, 0.25), (2, 0.125)],
        "count": [(1, 3.0)],
    }


@pytest.mark.parametrize("resumed_at", [0, 3, 5])
def test_a_resumed_log_reads_like_one_that_never_stopped(tmp_path: Path, resumed_at: int) -> None:
    """What the first writer wrote after the resumption's step is forgotten."""
    write(tmp_path, range(6), sign=-1)
    # TensorBoard orders files by the second in their names: make the first writer's an older one.
    (older,) = (tmp_path / "tensorboard").iterdir()
    older.rename(older.with_name(older.name.replace("tfevents.", "tfevents.0", 1)))
    write(tmp_path, range(resumed_at + 1, 9), start=resumed_at)
    expected = [(step, (-1 if step <= resumed_at else 1) * step / 2) for step in range(9)]
    lines = read_log(tmp_path / "log.jsonl")
    assert [(line["step"], line["loss"]) for line in lines] == expected
    assert events(tmp_path)["loss"] == expected


@pytest.mark.parametrize("tail", ['{"step": 4, "lo', '{"step": 4', "{", "\0\0\0", '{"loss": 1}'])
def test_a_cut_off_last_line_is_forgotten(tmp_path: Path, tail: str) -> None:
    write(tmp_path, range(1, 4))
    path = tmp_path / "log.jsonl"
    path.write_text(path.read_text() + tail)
    write(tmp_path, range(4, 6), start=10)
    assert [line["step"] for line in read_log(path)] == [1, 2, 3, 4, 5]


def test_whole_lines_are_kept_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    text = '{"step": 1,   "loss": 1e-3}\n{"step": 2, "loss": NaN}\n'
    path.write_text(text)
    with RunLog(tmp_path, step=2):
        assert path.read_text() == text


def test_the_log_is_closed_when_the_run_fails(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    with pytest.raises(RuntimeError, match="out of memory"), log:
        raise RuntimeError("out of memory")
    with pytest.raises(ValueError, match="closed"):
        log.write(1, {})


@pytest.mark.bad_input
def test_values_that_json_cannot_hold_are_an_error(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        with pytest.raises(TypeError):
            log.write(1, {"loss": object()})
        log.write(2, {"loss": 1})
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2]
