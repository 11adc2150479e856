"""The demo: that it runs, resumes and tells the truth. That it learns is shown in studies/."""

import contextlib
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from patchwise import demo as demo_module
from patchwise.api.validation import read_evaluations, write_evaluations
from patchwise.data import segmentation
from patchwise.demo import DemoResult, demo
from patchwise.errors import CheckpointError
from patchwise.eval import short
from patchwise.eval.incontext import InContext
from patchwise.eval.results import ClassificationResult, headline
from patchwise.training.folder import RunFolder
from patchwise.training.log import read_log

TWO_STEPS = {
    "train.batch": 8,
    "train.epochs": 2 / 2500,
    "optim.warmup_epochs": 0.0,
    "optim.lr_per_256": 1.0,
    "backbone.depth": 1,
    "data.workers": 0,
}


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """A demo of two large steps, scored on a few of the scenes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_module, "SHORT", TWO_STEPS)
        patch.setattr(short, "_STEPS", 3)
        patch.setattr(segmentation, "_FIT_SCENES", 120)
        patch.setattr(segmentation, "_TEST_SCENES", 40)
        yield


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[DemoResult, str]:
    """A whole demo, and what it printed; copy its folder before changing it."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        result = demo(tmp_path_factory.mktemp("shown") / "demo", short=True)
    return result, printed.getvalue()


def test_it_scores_pixels_and_features_before_and_after(shown: tuple[DemoResult, str]) -> None:
    result, printed = shown
    out = Path(result.train.out)
    assert result.train.steps == 2
    subjects = list(dict.fromkeys(evaluation.subject for evaluation in result.evaluations))
    assert subjects == ["raw RGB patches", "random ViT", "before training", "after training"]
    assert len(result.evaluations) == 4 * 3
    assert len({headline(evaluation.result)[1] for evaluation in result.evaluations}) == 4 * 3
    for evaluation in result.evaluations:
        assert evaluation.subject in printed
        assert f"{headline(evaluation.result)[1]:.3f}" in printed
    assert len({evaluation.result.fingerprint.protocol for evaluation in result.evaluations}) == 3

    first = read_log(out / "log.jsonl")[0]
    before = result.evaluations[2 * 3].result
    assert isinstance(before, ClassificationResult)
    assert first["val/knn/patches"] == before.accuracy
    assert read_evaluations(RunFolder(out)) == result.evaluations

    assert result.report == out / "report.html"
    assert str(result.report) in printed.replace("\n", "")
    page = result.report.read_text(encoding="utf-8")
    assert "raw RGB patches" in page

    again = demo(out, short=True)  # a second call trains and scores nothing
    assert again == result


def test_a_demo_that_was_stopped_while_it_scored_goes_on(
    shown: tuple[DemoResult, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = shown[0].evaluations
    folder = RunFolder(Path(shutil.copytree(shown[0].train.out, tmp_path / "demo")))
    write_evaluations(folder, [whole[0], *whole[6:8]])
    runs: list[object] = []
    start = InContext.run

    def counted(self: InContext, *arguments: Any) -> Any:
        runs.append(arguments)
        return start(self, *arguments)

    monkeypatch.setattr(InContext, "run", counted)

    def stop(_: RunFolder) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(demo_module, "score", stop)
        stopped = demo(tmp_path / "demo", short=True)
    assert not stopped.train.complete
    assert stopped.report is None
    runs.clear()
    write_evaluations(folder, [whole[0], *whole[6:8]])
    again = demo(tmp_path / "demo", short=True).evaluations
    assert len(runs) == 3  # raw, random and after; the one before training was there
    assert [headline(e.result) for e in again] == [headline(e.result) for e in whole]
    assert [e.subject for e in again] == [e.subject for e in whole]


@pytest.mark.bad_input
def test_another_demos_scores_are_not_shown(shown: tuple[DemoResult, str]) -> None:
    out = shown[0].train.out
    with pytest.raises(CheckpointError, match=r"hold the same demo \(seed 1, short True\)"):
        demo(out, seed=1, short=True)
    with pytest.raises(CheckpointError, match=r"\(seed 0, short False\)"):
        demo(out)
