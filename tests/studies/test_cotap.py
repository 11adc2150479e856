"""The driver: what is done stays done, what is stopped goes on, what fails is said."""

import json
import time
from pathlib import Path

import pytest
from studies.cotap import Workers, drive, take_base
from studies.cotap_jobs import Job, Record, Study
from studies.cotap_worker import BASE, record_path

from studies import cotap
from tests.studies.test_cotap_jobs import study

# Does a job as the worker does: notes that it began, waits, writes a record; or breaks.
FAKE = """
import json, pathlib, sys, time
out, file = map(pathlib.Path, sys.argv[1:3])
job = json.loads(file.read_text())
with (out / "began.txt").open("a") as log:
    log.write(job["name"] + "\\n")
time.sleep(job["values"]["seconds"])
if job["values"].get("breaks"):
    raise SystemExit("broken")
(out / "records" / (file.stem + ".json")).write_text(json.dumps({"did": job["name"]}))
"""


class FakeWorkers(Workers):
    command = ("-c", FAKE)


def job(name: str, seconds: float = 0.0, *, breaks: bool = False) -> Job:
    return Job(name, "score", {"seconds": seconds, "breaks": breaks})


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """The jobs of the study; the last one can only be named once the others are done."""
    named: list[Job] = []

    def jobs(of: Study, record: Record) -> list[Job]:
        first = named[:-1]
        return named if all(record(one) for one in first) else first

    monkeypatch.setattr(cotap, "jobs", jobs)
    monkeypatch.setattr(cotap, "collect", lambda *_: {"runs": {}})
    return named


def soon() -> float:
    return time.monotonic() + 1000


def began(out: Path) -> list[str]:
    return (out / "began.txt").read_text().split()


def test_all_jobs_are_done_and_none_twice(tmp_path: Path, wanted: list[Job]) -> None:
    wanted += [job("a"), job("b"), job("c")]
    assert drive(study(), FakeWorkers(tmp_path), at_once=2, until=soon())
    assert sorted(began(tmp_path)[:2]) == ["a", "b"]
    assert began(tmp_path)[2:] == ["c"]
    assert drive(study(), FakeWorkers(tmp_path), at_once=2, until=soon())
    assert len(began(tmp_path)) == 3
    assert json.loads(record_path(tmp_path, wanted[2]).read_text()) == {"did": "c"}


def test_time_is_kept_and_the_next_call_goes_on(
    tmp_path: Path, wanted: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cotap, "_LAST_START_S", 0.0)
    wanted += [job("a", 60.0), job("b")]
    workers = FakeWorkers(tmp_path)
    start = time.monotonic()
    assert not drive(study(), workers, at_once=1, until=start + 2)
    assert len(workers) == 0
    assert time.monotonic() - start < 50
    assert not record_path(tmp_path, wanted[0]).exists()
    wanted[0] = job("a", 0.1)
    assert drive(study(), FakeWorkers(tmp_path), at_once=1, until=soon())
    assert began(tmp_path) == ["a", "a", "b"]


def test_nothing_is_started_at_the_last_moment(tmp_path: Path, wanted: list[Job]) -> None:
    wanted += [job("a"), job("b")]
    assert not drive(study(), FakeWorkers(tmp_path), at_once=1, until=time.monotonic() + 1)
    assert not (tmp_path / "began.txt").exists()


def test_what_fails_is_said_and_the_others_go_on(
    tmp_path: Path, wanted: list[Job], capsys: pytest.CaptureFixture[str]
) -> None:
    wanted += [job("a", breaks=True), job("b"), job("c")]
    assert not drive(study(), FakeWorkers(tmp_path), at_once=1, until=soon())
    assert began(tmp_path) == ["a", "b"]
    log = f"{tmp_path}/logs/{wanted[0].key}.txt"
    assert f"a failed: see {log}" in capsys.readouterr().out
    assert "broken" in Path(log).read_text()


def test_other_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"1")
    (tmp_path / "two").write_bytes(b"2")
    for _ in range(2):
        take_base(tmp_path / "one", tmp_path)
    assert (tmp_path / BASE).read_bytes() == b"1"
    with pytest.raises(SystemExit, match="was begun with other weights"):
        take_base(tmp_path / "two", tmp_path)
