"""`patchwise embed` as a user meets it."""

import re
from pathlib import Path

import pytest

import patchwise
from tests.small_runs import small_vit
from tests.test_cli import typed


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "vit.safetensors"
    patchwise.save_backbone(small_vit(), path)
    return path


def test_a_store_is_written_described_and_opened(weights: Path, tmp_path: Path) -> None:
    options = ["--size", "own", "--window", "32", "--patches", "--device", "cpu", "--workers", "0"]
    done = typed("embed", weights, "scenes:5", "--out", tmp_path / "store", *options)
    assert done.returncode == 0, done.stderr
    words = "CLS and patches of 5 images of 'scenes:5' by vit.safetensors, own size"
    assert done.stdout.startswith(f"{tmp_path / 'store'}: {words}")
    assert "in windows of 32 px, one every 16 px" in done.stdout
    assert re.fullmatch(r"embedded 5 images in \S+, \S+ images/s\n", done.stderr)
    store = patchwise.open_store(tmp_path / "store")
    assert store.complete
    assert store.image(4).patches is not None


def test_a_wrong_store_is_one_line(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    done = typed("embed", weights, "scenes:5", "--out", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: embed: out must be a store, or empty, got '")
    assert done.stderr.count("\n") == 1
    assert typed("embed", weights, "scenes:5", "--out", tmp_path, "--part", "val").returncode == 2
