"""`patchwise neighbours` as a user meets it."""

from pathlib import Path

import pytest

import patchwise
from tests.small_runs import small_vit
from tests.test_cli import run


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "vit.safetensors"
    patchwise.save_backbone(small_vit(), path)
    return path


def test_a_page_is_written_and_said_what_was_found(weights: Path, tmp_path: Path) -> None:
    page, cache = tmp_path / "page.html", tmp_path / "cache"
    options = ["--model", weights, "--k", "4", "--size", "square:64", "--workers", "0"]
    options += ["--cache", cache, "--rows", "2", "--device", "cpu"]
    done = run("neighbours", "scenes:12", *options, "--out", page)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "4 neighbours of each of 12 images of 'scenes:12'"
    assert lines[-1] == str(page)
    assert '<section id="hubs">' in page.read_text(encoding="utf-8")
    assert done.stderr.startswith("embedded 12 images in ")
    again = run("neighbours", "scenes:12", *options)
    assert again.stdout.splitlines() == lines[:-1]
    assert again.stderr == "neighbours of 12 images of 'scenes:12' are there already\n"
    limited = run("neighbours", "scenes:12", *options, "--duplicates", "-1")
    assert "12 images have fewer than 4 others" in limited.stdout


def test_too_few_images_are_one_line(weights: Path) -> None:
    done = run("neighbours", "scenes:7", "--model", weights)
    assert done.returncode == 1
    assert done.stderr.startswith("error: neighbours: 'scenes:7' must hold at least 8 good images")
    assert done.stderr.count("\n") == 1
    assert run("neighbours", "scenes:7").returncode == 2
