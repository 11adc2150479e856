"""`patchwise eval` and `patchwise compare` as they are typed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from patchwise.cli import app
from patchwise.commands.scoring import STOPPED
from patchwise.errors import ChoiceError, ConfigError
from patchwise.eval.files import read_results
from patchwise.eval.suites import SUITES
from patchwise.models.weights import save_backbone
from tests.eval.tiny import save_colours, save_pixels
from tests.small_runs import small_filtered, small_vit
from tests.test_cli import ENVIRONMENT, command

CODE = """
from torch.nn.functional import avg_pool2d

def tokens(images):
    return avg_pool2d(images, 8).flatten(2).mT
"""
STOPPING = """
import os, signal
from pathlib import Path
from torch.nn.functional import avg_pool2d

def tokens(images):
    if Path("r.json").exists():
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored if so by who called us
        os.kill(os.getpid(), signal.SIGINT)
    return avg_pool2d(images, 8).flatten(2).mT
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model, code and labelled images."""
    save_backbone(small_vit(), tmp_path / "vit.safetensors")
    (tmp_path / "code.py").write_text(CODE)
    save_colours(tmp_path / "colours", {"train": 24, "val": 8})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def typed(*arguments: str, fails: bool = False) -> Result:
    done = CliRunner().invoke(app, arguments)
    assert (done.exit_code != 0) == fails, (done.output, done.exception)
    return done


KNN = ("--protocol", "knn/dino-short", "--data", "colours", "--device", "cpu")


def test_one_protocol_is_printed_in_full_and_written(home: Path) -> None:
    done = typed("eval", "vit.safetensors", *KNN, "--out", "r.json", "--set", "k=5")
    assert "knn/dino-short (changed: k)" in done.stdout
    assert "crop_px" in done.stdout
    assert done.stderr.startswith("knn/dino-short (changed: k): accuracy")
    (result,) = read_results(home / "r.json")
    assert result.fingerprint.settings["k"] == 5
    again = typed("eval", "vit.safetensors", *KNN, "--out", "r.json", "--set", "k=5")
    assert "(from r.json)" in again.stderr
    assert again.stdout == done.stdout


def test_a_filtered_backbone_is_scored_beside_its_plain_vit(home: Path) -> None:
    backbone = small_filtered()
    save_backbone(backbone, home / "filtered.safetensors")
    save_backbone(backbone.vit, home / "plain.safetensors")
    for name in ("filtered", "plain"):
        typed("eval", f"{name}.safetensors", *KNN, "--out", f"{name}.json")
    scored = [read_results(home / f"{name}.json")[0].fingerprint for name in ("filtered", "plain")]
    assert scored[0].model.name == "filtered.safetensors"
    assert scored[0].model.sha256 != scored[1].model.sha256
    linear = ("--protocol", "linear/dino-short", "--data", "colours", "--device", "cpu")
    done = typed("eval", "filtered.safetensors", *linear, fails=True)
    assert (
        "last_blocks(images, count=...) for features of 4 blocks, got FilteredViT; use --set bl"
        in (str(done.exception))
    )


def test_code_is_a_model(home: Path) -> None:
    done = typed("eval", "code.py:tokens", *KNN, "--name", "pixels", "--out", "r.json",
                 "--memory", "1GiB", "--batch", "3", "--features", "stores")  # fmt: skip
    assert "pixels" in done.stdout
    assert read_results(home / "r.json")[0].fingerprint.model.name == "pixels"


def test_a_suite_is_one_table_and_one_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = ("incontext/hummingbird", "overcluster/leopart", "overcluster/leopart-classes")
    monkeypatch.setitem(SUITES, "dense", suite)
    save_pixels(home / "pixels")
    done = typed("eval", "code.py:tokens", "--suite", "dense", "--short", "--data", "pixels",
                 "--set", "seed=1", "--out", "r.json", fails=True)  # fmt: skip
    assert done.exit_code == 1
    assert "overcluster/leopart-short is left out: " in done.stderr
    assert "got 192 points for 500 clusters" in done.stderr
    names = [result.fingerprint.preset for result in read_results(home / "r.json")]
    assert names == ["incontext/hummingbird-short", "overcluster/leopart-classes-short"]
    assert all(name in done.stdout for name in names)
    assert json.loads((home / "r.json").read_text())["kind"] == "results"
    monkeypatch.setitem(SUITES, "dense", suite[::2])
    again = typed("eval", "code.py:tokens", "--suite", "dense", "--short", "--data", "pixels",
                  "--set", "seed=1", "--out", "r.json")  # fmt: skip
    assert again.stdout == done.stdout
    assert again.stderr.count("(from r.json)") == 2


def test_seeds_are_shown_by_mean_and_deviation(home: Path) -> None:
    done = typed("eval", "vit.safetensors", *KNN, "--seeds", "2", "--out", "r.json")
    assert "± 0.0000 (2 seeds)" in done.stdout
    assert len(read_results(home / "r.json")) == 2


def test_a_difference_is_explained(home: Path) -> None:
    typed("eval", "vit.safetensors", *KNN, "--out", "a.json")
    typed("eval", "code.py:tokens", *KNN, "--out", "b.json")
    done = typed("compare", "a.json", "b.json")
    assert done.stdout.startswith("Same protocol and data: the difference is the model's.")
    content = json.loads(typed("compare", "a.json", "b.json", "--json").stdout)
    assert content["comparisons"][0]["comparable"] is True


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "colours"], "one of --protocol, --suite and"),
        ([*KNN, "--suite", "dense"], "one of --protocol, --suite and"),
        ([*KNN, "--short"], "--short goes with --suite"),
        ([*KNN, "--seeds", "0"], "--seeds"),
        ([*KNN, "--batch", "0"], "--batch"),
    ],
)
def test_wrong_usage_is_told(home: Path, arguments: list[str], message: str) -> None:
    done = typed("eval", "vit.safetensors", *arguments, fails=True)
    assert done.exit_code == 2
    assert message in done.stderr


@pytest.mark.bad_input
def test_wrong_names_are_told(home: Path) -> None:
    done = typed("eval", "vit.safetensors", "--suite", "dens", "--data", "x", fails=True)
    assert isinstance(done.exception, ChoiceError)
    done = typed("eval", "vit.safetensors", "--protocol", "knn/dino", fails=True)
    assert "data must name images for knn/dino, got None" in str(done.exception)
    done = typed("eval", "vit.safetensors", *KNN, "--memory", "3", fails=True)
    assert isinstance(done.exception, ConfigError)


def test_a_stop_keeps_what_is_done(home: Path) -> None:
    """The model itself asks for the stop, in its second protocol."""
    (home / "stopping.py").write_text(STOPPING)
    save_pixels(home / "pixels")
    arguments = ["eval", "stopping.py:tokens", "--suite", "dense", "--short", "--data", "pixels"]
    done = subprocess.run(
        command(*arguments, "--out", "r.json"), capture_output=True, text=True, check=False,
        env=ENVIRONMENT, cwd=home,
    )  # fmt: skip
    assert done.returncode == STOPPED, done.stderr
    assert "stopped; what is done is in r.json" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(read_results(home / "r.json")) == 1
