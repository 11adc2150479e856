"""The demo: that it runs, resumes and tells the truth. That it learns is shown in studies/."""

import json
from pathlib import Path

import pytest

from patchwise import demo as demo_module
from patchwise.demo import demo
from patchwise.errors import CheckpointError
from patchwise.training.log import read_log


@pytest.fixture
def two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        demo_module,
        "SHORT",
        {"train.epochs": 2 / 625, "optim.warmup_epochs": 0.001, "data.workers": 0},
    )


@pytest.mark.usefixtures("two_steps")
def test_it_scores_pixels_and_features_before_and_after(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = demo(tmp_path / "demo", short=True)
    assert result.train.steps == 2
    assert list(result.scores) == ["raw pixels", "random ViT", "trained ViT"]
    printed = capsys.readouterr().out
    for name, score in result.scores.items():
        assert name in printed
        assert f"{score.accuracy:.3f}" in printed
    assert len({score.protocol for score in result.scores.values()}) == 1

    saved = json.loads((tmp_path / "demo" / "results.json").read_text())
    assert saved["scores"]["raw pixels"]["accuracy"] == result.scores["raw pixels"].accuracy
    first = read_log(tmp_path / "demo" / "log.jsonl")[0]
    assert first["val/knn_patches"] == result.scores["random ViT"].accuracy

    again = demo(tmp_path / "demo", short=True)  # a second call trains nothing
    assert again.scores == result.scores
    assert again.train == result.train


@pytest.mark.bad_input
@pytest.mark.usefixtures("two_steps")
def test_another_demos_scores_are_not_shown(tmp_path: Path) -> None:
    demo(tmp_path / "demo", short=True)
    with pytest.raises(CheckpointError, match=r"hold the same demo \(seed 1, short True\)"):
        demo(tmp_path / "demo", seed=1, short=True)
    with pytest.raises(CheckpointError, match=r"\(seed 0, short False\)"):
        demo(tmp_path / "demo")
