"""The report of a real run, from its folder alone."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import patchwise
from patchwise.data.synthetic import render_scenes
from patchwise.errors import CheckpointError, DataError
from patchwise.models.filtered_vit import FilteredViT
from patchwise.models.vit import ViT
from tests.small_runs import small_vit
from tests.test_cli import TINY

# A file name can hold anything but a slash and a NUL.
HOSTILE = ("<script>alert(1)<", "\"' onerror=alert(2) ", "a\nb\u202egnp.", "&lt;{{ 7 * 7 }}")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run on scenes with its pictures; copy it before changing it."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    patchwise.train("scenes:12", out=folder, settings=TINY, quiet=True)
    patchwise.report(folder).unlink()
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "pictures").iterdir()}


def test_the_report_is_one_file_with_all_figures(run: Path) -> None:
    path = patchwise.report(run)
    assert path == run / "report.html"
    page = path.read_text(encoding="utf-8")
    names = ["views", "matches", "dispersion", "pca", "nearest", "clusters", "attention"]
    for name in ["scores", "curves", *names]:
        assert f'<section id="{name}">' in page
    assert "prototype-map" not in page
    assert "px that no training uses" in page
    assert "complete, 12 steps" in page
    assert len(page) < 3_000_000


def test_pictures_are_computed_once_and_anew_for_other_weights(run: Path) -> None:
    page = patchwise.report(run).read_bytes()
    before = stamps(run)
    assert patchwise.report(run).read_bytes() == page
    assert stamps(run) == before
    shutil.copy(run / "initial.safetensors", run / "backbone.safetensors")
    assert patchwise.report(run).read_bytes() != page
    assert stamps(run) != before


@pytest.mark.parametrize("filtered", [("initial", "backbone"), ("backbone",)])
def test_a_run_of_filtered_backbones_is_shown(run: Path, filtered: tuple[str, ...]) -> None:
    for name in filtered:
        vit = patchwise.load_backbone(run / f"{name}.safetensors")
        assert isinstance(vit, ViT)
        patchwise.save_backbone(FilteredViT(vit, prototypes=3), run / f"{name}.safetensors")
    page = patchwise.report(run).read_text(encoding="utf-8")
    for name in ("dispersion", "pca", "prototypes", "prototype-map"):
        assert f'<section id="{name}">' in page
    widths = "32 channels before and 32" if len(filtered) == 2 else "16 channels before and 32"
    assert widths in page


def test_a_report_from_nothing_but_the_same_run_is_the_same(run: Path) -> None:
    page = patchwise.report(run).read_bytes()
    shutil.rmtree(run / "pictures")
    assert patchwise.report(run, out=run / "again.html").read_bytes() == page


def test_a_run_that_was_stopped_has_a_report(run: Path) -> None:
    (run / "results.json").unlink()
    (run / "log.jsonl").unlink()
    page = patchwise.report(run, out=run / "other.html").read_text(encoding="utf-8")
    assert "not complete" in page
    assert not (run / "report.html").exists()


def test_evaluations_and_warnings_are_shown(run: Path) -> None:
    mark: dict[str, Any] = {
        "preset": "knn/test", "version": 1, "settings": {"k": 3}, "seed": 0, "device": "cpu",
        "data": {"name": "d", "fit": 1, "test": 2, "sha256": "0" * 64},
        "model": {"name": "m", "sha256": None}, "packages": {}, "seconds": 1.0, "peak_bytes": 1,
    }  # fmt: skip
    result = {
        "kind": "classification", "fingerprint": mark, "accuracy": 0.875, "top5": 1.0,
        "balanced_accuracy": 0.5, "num_queries": 8, "num_memory": 9,
    }  # fmt: skip
    results = json.loads((run / "results.json").read_text())
    results["evaluations"] = [{"subject": "after training", "result": result}]
    (run / "results.json").write_text(json.dumps(results))
    with (run / "log.jsonl").open("a") as log:
        log.write(json.dumps({"step": 3, "warning": {"cause": "c", "message": "look here"}}) + "\n")
    page = patchwise.report(run).read_text(encoding="utf-8")
    assert "87.5" in page
    assert "look here" in page


def test_photographs_with_hostile_names(tmp_path: Path) -> None:
    folder = tmp_path / "photographs"
    folder.mkdir()
    scenes = render_scenes(np.arange(8), size_px=128).images
    for index, pixels in enumerate(scenes):
        name = f"{HOSTILE[index % len(HOSTILE)]}{index}.png"
        Image.fromarray(pixels[: 128 - 4 * index]).save(folder / name)
    (folder / "broken.png").write_bytes(b"no image")
    patchwise.train(folder, out=tmp_path / "run", settings=TINY, quiet=True)
    page = patchwise.report(tmp_path / "run").read_text(encoding="utf-8")
    assert "those of the run itself," in page
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;" in page
    assert "\u202e" not in page
    assert str(folder) not in page.split("</header>")[1], "names only, no folders"


def test_dino_has_no_figure_of_matched_patches(tmp_path: Path) -> None:
    settings = {**TINY, "method.matching": "none", "method.recolour_patches": False}
    patchwise.train("scenes:12", out=tmp_path / "run", settings=settings, quiet=True)
    page = patchwise.report(tmp_path / "run").read_text(encoding="utf-8")
    assert 'id="matches"' not in page
    assert 'id="views"' in page


def test_a_run_of_cotap_shows_prototypes_and_correspondences(tmp_path: Path) -> None:
    """From its own folder: views of teacher and student, neighbours, a filter at the end."""
    patchwise.save_backbone(small_vit(), tmp_path / "vit.safetensors")
    settings = {
        "method.views.local_count": 1, "method.views.local_px": 32, "method.head_hidden_dim": 16,
        "train.batch": 4, "train.epochs": 1, "train.precision": "float32",
    }  # fmt: skip
    patchwise.train(
        "scenes:12",
        out=tmp_path / "run",
        recipe="cotap-small",
        init=tmp_path / "vit.safetensors",
        settings=settings,
        quiet=True,
    )
    page = patchwise.report(tmp_path / "run").read_text(encoding="utf-8")
    for name in ("dispersion", "prototypes", "prototype-map", "correspondences"):
        assert f'<section id="{name}">' in page
    assert "as the teacher sees it" in page
    assert "32 channels before and 64 after" in page


def test_a_log_that_ends_in_half_a_line_is_read(run: Path) -> None:
    with (run / "log.jsonl").open("a") as log:
        log.write('{"step": 13, "lo')
    assert patchwise.report(run).exists()
    with (run / "log.jsonl").open("a") as log:
        log.write('\n{"step": 14}\n')
    with pytest.raises(CheckpointError, match="must be JSON"):
        patchwise.report(run)


@pytest.mark.bad_input
def test_what_is_no_run_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no config\.toml"):
        patchwise.report(tmp_path / "nowhere")
    data = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps({**data, "data": "scenes:13"}))
    with pytest.raises(CheckpointError, match="differ from them"):
        patchwise.report(run)
    (run / "data.json").write_text(json.dumps({**data, "data": "gone"}))
    with pytest.raises(DataError, match="gone"):
        patchwise.report(run)
    (run / "backbone.safetensors").unlink()
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        patchwise.report(run)


@pytest.mark.bad_input
def test_a_place_that_cannot_be_written_is_named(run: Path) -> None:
    with pytest.raises(DataError, match="out must be a file that can be written"):
        patchwise.report(run, out=run / "nowhere" / "report.html")
