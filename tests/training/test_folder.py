"""A run's folder: made once, never over something else, and read back as it was written."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from patchwise.configs.backbone import ViTConfig
from patchwise.configs.methods import PWSelfConfig
from patchwise.configs.run import DataConfig, OptimConfig, RunConfig, TrainConfig
from patchwise.errors import CheckpointError, ConfigError
from patchwise.training import folder as module
from patchwise.training.folder import RunFolder
from tests.small_runs import small_vit

CONFIG = RunConfig(
    recipe="small",
    data=DataConfig(),
    backbone=ViTConfig(),
    method=PWSelfConfig(),
    optim=OptimConfig(),
    train=TrainConfig(precision="float32"),
)
DATA = {"images": 3, "data": "größe", "fingerprint": "ab", "val": None}
INITIAL = small_vit()


def test_what_is_created_is_read_back(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "a" / "run")
    folder.create(CONFIG, DATA, INITIAL)
    assert folder.read() == (CONFIG, DATA)
    assert sorted(os.listdir(folder.path)) == [
        "config.toml", "data.json", "initial.safetensors", "version.txt",
    ]  # fmt: skip


def test_an_empty_folder_that_is_there_may_be_used(tmp_path: Path) -> None:
    RunFolder(tmp_path).create(CONFIG, DATA, INITIAL)
    assert RunFolder(tmp_path).read() == (CONFIG, DATA)


def test_everything_lies_in_the_folder_under_its_own_name(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    names = ["config", "version", "data", "log", "checkpoints", "initial", "backbone", "results"]
    paths = [getattr(folder, name) for name in names]
    assert len(set(paths)) == len(names)
    assert all(path.parent == tmp_path for path in paths)


def test_another_environment_is_noticed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(CONFIG, DATA, INITIAL)
    assert folder.changed_environment("cpu") == []
    text = folder.version.read_text()
    folder.version.write_text(text.replace(f"torch: {torch.__version__}", "torch: 1.0"))
    assert folder.changed_environment("cpu") == [f"torch: 1.0, now {torch.__version__}"]


def test_the_settings_come_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with settings is taken for a whole run, so nothing may be missing then."""
    written: list[str] = []
    monkeypatch.setattr(module, "write_text", lambda path, text: written.append(path.name))
    monkeypatch.setattr(module, "save_backbone", lambda _, path: written.append(path.name))
    RunFolder(tmp_path).create(CONFIG, DATA, INITIAL)
    assert written == ["version.txt", "data.json", "initial.safetensors", "config.toml"]


@pytest.mark.bad_input
def test_a_folder_with_files_is_refused(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text("mine")
    with pytest.raises(CheckpointError) as caught:
        RunFolder(tmp_path).create(CONFIG, DATA, INITIAL)
    assert str(caught.value) == (
        f"train: out must be empty, got '{tmp_path}' with 2 files; it holds no run to resume: "
        f"choose another folder, or empty it"
    )
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


@pytest.mark.bad_input
def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError) as caught:
        RunFolder(tmp_path / "file").require_empty()
    assert str(caught.value) == (
        f"train: out must be a folder, got '{tmp_path / 'file'}', which is none"
    )


@pytest.mark.bad_input
def test_a_place_where_no_folder_can_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"^train: out must be a folder that can be written"):
        RunFolder(tmp_path / "file" / "run").create(CONFIG, DATA, INITIAL)


@pytest.mark.bad_input
def test_a_folder_without_a_run_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        RunFolder(tmp_path).read()
    assert str(caught.value) == (
        f"train: out must be the folder of a run to resume, got '{tmp_path}' without config.toml; "
        f"leave out --resume to start a new run"
    )


@pytest.mark.bad_input
def test_damaged_settings_are_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.create(dataclasses.replace(CONFIG, recipe="other"), DATA, INITIAL)
    folder.config.write_text(folder.config.read_text().replace("batch = 64", "batch = 'x'"))
    with pytest.raises(ConfigError, match=r"key 'train.batch' must be valid"):
        folder.read()


@pytest.mark.bad_input
def test_a_folder_with_a_run_says_how_to_go_on(tmp_path: Path) -> None:
    RunFolder(tmp_path).create(CONFIG, DATA, INITIAL)
    with pytest.raises(CheckpointError, match="pass --resume to continue that run"):
        RunFolder(tmp_path).create(CONFIG, DATA, INITIAL)


@pytest.mark.bad_input
@pytest.mark.parametrize("content", [None, "{", "[]", '{"data": "x"}'])
def test_a_damaged_description_of_the_data_is_refused(tmp_path: Path, content: str | None) -> None:
    folder = RunFolder(tmp_path)
    folder.create(CONFIG, DATA, INITIAL)
    folder.data.unlink()
    if content is not None:
        folder.data.write_text(content)
    with pytest.raises(CheckpointError, match=r"data\.json must"):
        folder.read()


@pytest.mark.bad_input
def test_two_processes_cannot_have_one_run(tmp_path: Path) -> None:
    with RunFolder(tmp_path).locked():
        code = (
            "import sys; from pathlib import Path;"
            "from patchwise.training.folder import RunFolder;"
            "RunFolder(Path(sys.argv[1])).locked().__enter__()"
        )
        other = subprocess.run(
            [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False
        )
    assert "must be used by one process at a time" in other.stderr
    with RunFolder(tmp_path).locked():
        pass
