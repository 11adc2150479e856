"""A run whose neighbours are found anew on the way: when, by what, and after a stop."""

import shutil
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from patchwise.api.nearby import find_nearby, read_nearby, refresher, write_nearby
from patchwise.data.reader import NearestIds
from patchwise.data.source import open_source
from patchwise.models.backbone import Backbone
from patchwise.training import run as module
from patchwise.training.checkpoint import list_checkpoints
from patchwise.training.folder import RunFolder
from patchwise.training.log import read_log
from patchwise.training.plan import Plan, make_plan, open_stream
from patchwise.training.run import TrainResult, execute
from tests.small_runs import COTAP_CONFIG, VIT, run_config, small_vit

STEPS, EVERY = 6, 2


def say_nothing(_: str) -> None:
    pass


def plan_of(folder: RunFolder | None = None) -> Plan:
    """12 images, 4 a step, 6 steps; new neighbours after every second one."""
    config = run_config(
        checkpoint_every_steps=1, keep_checkpoints=9, val_every_epochs=EVERY / 3, log_every_steps=1
    )
    method = replace(COTAP_CONFIG, refresh_neighbours_epochs=EVERY / 3)
    config = replace(config, backbone=VIT, method=method)
    made_up = np.roll(np.arange(12), -1)[:, None]
    plan = make_plan(
        config, open_source("scenes:12"), small_vit(), {"scenes": made_up, "objects": made_up}
    )
    return plan if folder is None else replace(plan, neighbours=read_nearby(plan, folder))


@dataclass
class Run:
    """A run, and what it asked for."""

    folder: RunFolder
    asked: list[tuple[int, bool]] = field(default_factory=list)  # step, whether by a backbone
    read: dict[int, Mapping[str, NearestIds]] = field(default_factory=dict)  # from a step on
    on_refresh: Callable[[], None] | None = None
    validate: Callable[[Backbone], dict[str, float]] | None = None

    def go(self, monkeypatch: pytest.MonkeyPatch) -> TrainResult:
        plan = plan_of(self.folder)
        find = refresher(plan, self.folder, say_nothing)

        def refresh(step: int, backbone: Backbone | None) -> Mapping[str, NearestIds]:
            self.asked.append((step, backbone is not None))
            if self.on_refresh is not None:
                self.on_refresh()
            return find(step, backbone)

        def opened(now: Plan, *args: object, start_step: int, **more: object) -> object:
            self.read[start_step] = now.neighbours
            return open_stream(now, *args, start_step=start_step, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(module, "open_stream", opened)
        return execute(
            plan,
            self.folder,
            validate=self.validate,
            refresh=refresh,
            console=Console(quiet=True),
        )

    @property
    def losses(self) -> list[float]:
        return [line["loss"] for line in read_log(self.folder.log) if "loss" in line]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that was not stopped."""
    made, plan = Run(begin(tmp_path_factory.mktemp("runs") / "whole")), plan_of()
    assert (plan.total_steps, plan.refresh_steps) == (STEPS, EVERY)
    with pytest.MonkeyPatch.context() as patch:
        assert made.go(patch).complete
    return made


def begin(path: Path) -> RunFolder:
    plan, folder = plan_of(), RunFolder(path)
    folder.create(plan.config, {"data": "scenes:12"}, plan.initial)
    write_nearby(find_nearby(plan, by=None, cache=None, say=say_nothing), plan, folder)
    return folder


def stopped_after(step: int, whole: Run, path: Path) -> Run:
    """Return a copy of the run as if it had been killed right after a checkpoint."""
    shutil.copytree(whole.folder.path, path)
    folder = RunFolder(path)
    folder.results.unlink()
    for checkpoint in list_checkpoints(folder.checkpoints)[: STEPS - step]:
        checkpoint.unlink()
    for later in range(step, STEPS + 1):
        for name in ("scenes", "objects"):
            folder.neighbours(name, later).unlink(missing_ok=True)
    return Run(folder)


def assert_same(run: Run, whole: Run) -> None:
    assert run.losses == whole.losses
    assert run.folder.backbone.read_bytes() == whole.folder.backbone.read_bytes()
    newest = [list_checkpoints(each.folder.checkpoints)[0].read_bytes() for each in (run, whole)]
    assert len(newest[0]) == len(newest[1])
    for step in (0, 2, 4):
        for name in ("scenes", "objects"):
            files = [each.folder.neighbours(name, step).read_bytes() for each in (run, whole)]
            assert files[0] == files[1]


def test_neighbours_change_at_their_steps_and_are_kept(whole: Run) -> None:
    assert whole.asked == [(2, True), (4, True)]  # not at the end
    assert sorted(whole.read) == [0, 2, 4]
    for step, used in whole.read.items():
        kept = read_nearby(plan_of(), whole.folder, step=step)
        for name in ("scenes", "objects"):
            np.testing.assert_array_equal(used[name], kept[name])
    names = {path.name for path in whole.folder.path.glob("neighbours-scenes-*")}
    assert names == {f"neighbours-scenes-{step:09}.safetensors" for step in (0, 2, 4)}
    files = [whole.folder.neighbours("scenes", step).read_bytes() for step in (0, 2, 4)]
    assert len(set(files)) == 3  # the student has changed


@pytest.mark.parametrize(
    ("step", "asked"),
    [
        (1, [(2, True), (4, True)]),
        (2, [(2, True), (4, True)]),  # killed before the search
        (3, [(2, False), (4, True)]),
        (5, [(4, False)]),
    ],
)
def test_a_run_that_goes_on_is_the_run_that_never_stopped(
    step: int,
    asked: list[tuple[int, bool]],
    whole: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = stopped_after(step, whole, tmp_path / "run")
    assert run.go(monkeypatch).complete
    assert run.asked == asked
    assert min(run.read) == step
    assert_same(run, whole)


def test_one_that_was_killed_before_it_wrote_its_results_searches_no_more(
    whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stopped_after(STEPS, whole, tmp_path / "run")
    assert run.go(monkeypatch).complete
    assert run.asked == []
    assert_same(run, whole)


def test_a_stop_in_the_midst_of_a_search_ends_after_it(
    whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(begin(tmp_path / "run"))
    run.on_refresh = lambda: signal.raise_signal(signal.SIGTERM)
    result = run.go(monkeypatch)
    assert (result.complete, result.steps, run.asked) == (False, 2, [(2, True)])
    run.on_refresh = None
    assert run.go(monkeypatch).complete
    assert run.asked == [(2, True), (2, True), (4, True)]
    assert_same(run, whole)


def test_a_stop_in_the_step_before_a_search_does_without_it(
    whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def stop_at_once(_: Backbone) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 2:  # the first is before the run, this after its second step
            signal.raise_signal(signal.SIGTERM)
        return {}

    run = Run(begin(tmp_path / "run"), validate=stop_at_once)
    result = run.go(monkeypatch)
    assert (result.complete, result.steps, run.asked) == (False, 2, [])
    run.validate = None
    assert run.go(monkeypatch).complete
    assert run.asked == [(2, True), (4, True)]
    assert_same(run, whole)
