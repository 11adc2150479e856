"""`patchwise neighbours` as it is typed."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

import patchwise
from patchwise.cli import app
from patchwise.errors import DataError
from tests.small_runs import small_vit


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "vit.safetensors"
    patchwise.save_backbone(small_vit(), path)
    return str(path)


def test_a_page_is_written_and_said_what_was_found(weights: str, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    command = ["neighbours", "scenes:12", "--model", weights, "--k", "4", "--size", "square:64"]
    command += ["--cache", str(tmp_path / "cache"), "--rows", "2", "--device", "cpu"]
    command += ["--workers", "0", "--batch", "5"]
    done = CliRunner().invoke(app, [*command, "--out", str(page)])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "4 neighbours of each of 12 images of 'scenes:12'"
    assert lines[-1] == str(page)
    assert page.read_text(encoding="utf-8").count("<h3>") == 3 * 2 + 1
    assert done.stderr.startswith("embedded 12 images in ")
    again = CliRunner().invoke(app, command)
    assert again.stdout.splitlines() == lines[:-1]
    assert again.stderr == "neighbours of 12 images of 'scenes:12' are there already\n"
    limited = CliRunner().invoke(app, [*command, "--duplicates", "-1"])
    assert "12 images have fewer than 4 others" in limited.stdout


@pytest.mark.bad_input
def test_what_cannot_be_is_refused(weights: str) -> None:
    done = CliRunner().invoke(app, ["neighbours", "scenes:7", "--model", weights])
    assert isinstance(done.exception, DataError)
    assert "'scenes:7' must hold at least 8 good images" in str(done.exception)
    assert CliRunner().invoke(app, ["neighbours", "scenes:7"]).exit_code == 2
    many = ["neighbours", "scenes:9", "--model", weights, "--tolerated", "-1"]
    assert CliRunner().invoke(app, many).exit_code == 2
