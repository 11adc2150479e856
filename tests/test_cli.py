"""The command line as a user meets it: what it prints and how it exits.

A process of its own takes seconds to begin, so only what needs one has one: `run`. The rest is
typed into this process: `typed`.
"""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from PIL import Image

import patchwise
from patchwise.cli import main
from patchwise.configs.loader import read_config
from patchwise.data.synthetic import render_scenes
from patchwise.training.checkpoint import list_checkpoints
from patchwise.training.log import read_log
from patchwise.version import __version__
from tests.eval.tiny import save_colours

TINY = {
    "backbone.dim": 16,
    "backbone.depth": 1,
    "backbone.heads": 2,
    "backbone.patch_px": 16,
    "method.views.local_count": 1,
    "method.views.local_px": 32,
    "method.prototypes": 16,
    "method.head_hidden_dim": 16,
    "method.bottleneck_dim": 8,
    "train.batch": 4,
    "train.epochs": 4,
    "train.precision": "float32",
    "train.log_every_steps": 1,
    "train.checkpoint_every_steps": 2,
    "data.workers": 0,
}


# One thread: small steps are slower with more, much so where something else is running.
ENVIRONMENT = {
    **os.environ, "COLUMNS": "200", "NO_COLOR": "1", "OMP_NUM_THREADS": "1", "TERM": "dumb",
}  # fmt: skip


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "patchwise", *map(str, arguments)]


def tiny(**changes: object) -> list[str]:
    settings = {**TINY, **changes}
    return [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, check=False, env=ENVIRONMENT
    )


def typed(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Do what `run` does in this process; an unexpected error is raised."""
    words = ["patchwise", *map(str, arguments)]
    stdout, stderr = io.StringIO(), io.StringIO()
    code: str | int | None = None
    with (
        mock.patch.object(sys, "argv", words),
        mock.patch.dict(os.environ, ENVIRONMENT),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code
    return subprocess.CompletedProcess(words, int(code or 0), stdout.getvalue(), stderr.getvalue())


def losses(folder: Path) -> list[tuple[int, float]]:
    return [(line["step"], line["loss"]) for line in read_log(folder / "log.jsonl")]


def wait_for_lines(process: subprocess.Popen[str], log: Path, count: int) -> None:
    """Wait until a child has logged ``count`` steps; fail if it ends before."""
    while not (log.exists() and log.read_text(encoding="utf-8").count("\n") >= count):
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def test_help_and_import_need_no_torch() -> None:
    code = (
        "import sys, patchwise, patchwise.cli;"
        "assert not {'torch', 'numpy', 'PIL', 'lightning_fabric'} & sys.modules.keys(), sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_help_names_every_command() -> None:
    done = typed("--help")
    assert done.returncode == 0
    commands = ("train", "doctor", "list", "demo", "report", "views")
    assert all(name in done.stdout for name in commands)


def test_version() -> None:
    assert typed("--version").stdout.startswith("patchwise ")


def test_list_shows_recipes_and_options() -> None:
    assert "pwself-cifar10" in typed("list").stdout
    assert "optim.lr_per_256" in typed("list", "options").stdout


def test_train_writes_a_whole_run_folder(tmp_path: Path) -> None:
    out = tmp_path / "run"
    val = save_colours(tmp_path / "val", {"": 24})
    done = run("train", "scenes:12", "--out", out, *tiny(), "--val", val)
    assert done.returncode == 0, done.stderr
    present = {path.name for path in out.iterdir()}
    assert present - {".lock"} == {
        "config.toml", "version.txt", "data.json", "log.jsonl", "tensorboard", "checkpoints",
        "initial.safetensors", "backbone.safetensors", "results.json",
    }  # fmt: skip
    assert "forecast:" in done.stderr
    assert done.stdout == ""
    log = read_log(out / "log.jsonl")
    assert len([line for line in log if "loss" in line]) == 12
    assert any("val/knn/dino" in line for line in log)
    scored = json.loads((out / "results.json").read_text())["evaluations"]
    assert [score["subject"] for score in scored] == ["before training", "after training"]
    assert len(list((out / "checkpoints").iterdir())) == 2
    assert read_config(out / "config.toml").train.batch == 4


def test_a_dry_run_prints_settings_and_forecast_and_writes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = typed("train", "scenes:12", "--out", out, *tiny(), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "forecast:" in done.stderr
    assert "neighbours" not in done.stderr
    assert not out.exists()
    settings = tmp_path / "settings.toml"
    settings.write_text(done.stdout)
    again = typed("train", "scenes:12", "--config", settings, "--dry-run")
    assert again.returncode == 0, again.stderr
    assert again.stdout == done.stdout


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of scenes as files, one of them empty, with names that are hard to print."""
    folder = tmp_path / "pic[red]tures"
    folder.mkdir()
    for number, pixels in enumerate(render_scenes(np.arange(4)).images):
        Image.fromarray(pixels).save(folder / f"{number} [bold]\n.png")
    (folder / os.fsdecode(b"\xff\x1b[31m.png")).touch()
    return folder


def test_doctor_says_what_is_wrong_and_how_to_train(pictures: Path) -> None:
    done = typed("doctor", pictures, "--no-forecast", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert "5 images; 4 can be used" in done.stdout
    assert "empty: 1" in done.stdout
    assert r"\xff\x1b[31m.png" in done.stdout
    assert "\x1b" not in done.stdout
    assert f"patchwise train '{pictures}' --out runs/pic-red-tures" in done.stdout
    assert "read 5 of 5 images, 1 bad" in done.stderr


def test_doctor_prints_json_and_nothing_else(pictures: Path, tmp_path: Path) -> None:
    for image in pictures.glob("*bold*"):
        Image.open(image).resize((32, 32)).save(image)
    done = typed("doctor", pictures, "--json", "--workers", "0")
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert (content["images"], content["usable"]) == (5, 4)
    assert content["bad"][0]["images"]["names"] == ["\\xff\x1b[31m.png"]
    assert content["proposal"]["forecast"]["steps"] > 0


def test_doctor_writes_a_list_that_can_be_trained_on(pictures: Path, tmp_path: Path) -> None:
    for path in pictures.glob("*bold*"):
        path.rename(pictures / f"{path.name[0]}.png")
    shutil.copy(pictures / "0.png", pictures / "copy.png")
    good = tmp_path / "good.txt"
    done = typed("doctor", pictures, "--write-list", good, "--no-forecast", "--workers", "0")
    assert done.returncode == 0, done.stderr
    trained = typed("train", good, "--out", tmp_path / "run", *tiny(**{"train.epochs": 1}))
    assert trained.returncode == 0, trained.stderr
    assert "4 images of" in trained.stderr


def test_doctor_fails_where_no_image_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    done = typed("doctor", tmp_path, "--workers", "0")
    assert done.returncode == 1
    assert "No image can be used" in done.stdout
    assert "Traceback" not in done.stderr


def test_doctor_describes_the_environment_without_data() -> None:
    done = typed("doctor", "--env", "--json")
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert content["program"]["patchwise"] == __version__
    assert set(content) == {"program", "machine", "torch", "packages", "optional"}


LONG = tiny(**{"train.epochs": 20, "train.checkpoint_every_steps": 7})  # 60 steps


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never stopped."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    done = run("train", "scenes:12", "--out", folder, *LONG)
    assert done.returncode == 0, done.stderr
    return folder


@contextlib.contextmanager
def training(out: Path, lines: int, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A run in a process of its own that has logged so many steps."""
    with subprocess.Popen(
        command("train", "scenes:12", "--out", out, *options),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        start_new_session=True,
    ) as child:
        wait_for_lines(child, out / "log.jsonl", lines)
        yield child


def test_a_stop_request_saves_and_says_how_to_go_on(tmp_path: Path, whole: Path) -> None:
    """The signal goes to all processes of the run, as from a terminal or a batch system."""
    out = tmp_path / "my run"
    options = [*LONG, "--set", "data.workers=1"]
    for number, lines in ((signal.SIGINT, 3), (signal.SIGTERM, 30)):
        with training(out, lines, *options) as child:
            os.killpg(child.pid, number)
            _, stderr = child.communicate()
        assert child.returncode == 75, (number, stderr)
        assert f"--out '{out}' --resume" in stderr
        assert not (out / "results.json").exists()
        newest = list_checkpoints(out / "checkpoints")[0]
        assert int(newest.stem.removeprefix("step-")) == losses(out)[-1][0]  # no step is lost
        options = ["--resume"]
    assert run("train", "scenes:12", "--out", out, "--resume").returncode == 0
    assert losses(out) == losses(whole)


def test_a_killed_run_goes_on_as_if_it_had_never_stopped(tmp_path: Path, whole: Path) -> None:
    """Kill -9 at several moments, in and between steps; the losses are those of one run."""
    out = tmp_path / "run"
    options = LONG
    for lines, delay_s in [(1, 0.0), (10, 0.003), (40, 0.011)]:
        with training(out, lines, *options) as child:
            time.sleep(delay_s)
            child.kill()
        options = ["--resume"]
    done = run("train", "scenes:12", "--out", out, "--resume")
    assert done.returncode == 0, done.stderr
    assert losses(out) == losses(whole)
    names = ("backbone.safetensors", "initial.safetensors", "config.toml")
    for name in names:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name


def test_report_and_views_print_where_they_wrote(tmp_path: Path) -> None:
    out = tmp_path / "run"
    patchwise.train("scenes:12", out=out, settings=TINY, quiet=True)
    done = typed("report", out)
    assert (done.returncode, done.stdout.strip()) == (0, str(out / "report.html")), done.stderr
    done = typed("report", out, "--out", tmp_path / "other.html")
    assert (tmp_path / "other.html").read_bytes() == (out / "report.html").read_bytes()
    image = next((out / "pictures").glob("views-*.png"))
    done = typed("views", image, "--out", tmp_path / "v.png", "--seed", "3", "--size", "80",
                 "--set", "method.views.local_count=1")  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, str(tmp_path / "v.png")), done.stderr


def test_the_best_checkpoint_of_a_run_is_printed(tmp_path: Path) -> None:
    out = tmp_path / "run"
    changes = {"train.epochs": 2, "train.keep_checkpoints": 9, "backbone.patch_px": 8}
    patchwise.train("scenes:12", out=out, settings={**TINY, **changes}, quiet=True)
    done = typed("eval", out, "--all-checkpoints", "--set", "images=8")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("step-00000000") == 3
    assert (out / "best.txt").read_text().strip() in done.stdout
    assert (out / "best.safetensors").exists()
    done = typed("eval", out, "--protocol", "health/run")
    assert done.returncode == 0, done.stderr
    assert "teacher_entropy" in done.stdout


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["eval", "x", "--data", "scenes"], 2, "--protocol, --suite and"),
        (["eval", "x", "--all-checkpoints", "--out", "y"], 2, "no --out, no --seeds"),
        (["eval", "nowhere", "--all-checkpoints"], 1, "nowhere"),
        (["train", "scenes:12"], 2, "--out"),
        (["train", "nowhere", "--out", "x"], 1, "nowhere"),
        (["train", "scenes:12", "--out", "x", "--recipe", "smal"], 2, "did you mean 'small'"),
        (
            ["train", "scenes:12", "--out", "x", "--set", "train.epoch=3"],
            2,
            "did you mean 'train.epochs'",
        ),
        (["train", "scenes:12", "--out", "x", "--set", "train.epochs"], 2, "key=value"),
        (["train", "scenes:12", "--out", "x", "--init", "nowhere.pth"], 1, "nowhere.pth"),
        (["train", "scenes:12", "--out", "x", "--resume"], 1, "without config.toml"),
        (["trian"], 2, "trian"),
        (["train", "scenes:12", "--dry-run", "--resume"], 2, "cannot go together"),
        (["train", "scenes:12", "--out", "/dev/null"], 1, "must be a folder"),
        (["train", "scenes:64", "--out", "x", "--val", "nowhere"], 1, "nowhere"),
        (["doctor"], 2, "either DATA or --env"),
        (["doctor", "scenes:3", "--env"], 2, "either DATA or --env"),
        (["doctor", "nowhere"], 1, "nowhere"),
        (["doctor", "scenes:3", "--write-list", "x.txt"], 1, "write_list must be left out"),
        (["doctor", "scenes:3", "--limit", "0"], 2, "--limit"),
        (["report", "nowhere"], 1, "no config.toml"),
        (["views", "nowhere.png", "--out", "x.png"], 1, "nowhere.png"),
        (["views", "nowhere.png"], 2, "--out"),
    ],
)
def test_wrong_usage_is_one_message_and_a_code(
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = typed(*arguments)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert done.stdout == ""


@pytest.mark.bad_input
def test_a_folder_with_something_in_it_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    done = run("train", "scenes:12", "--out", tmp_path, *tiny())
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "must be empty" in done.stderr
    assert "it holds no run to resume" in done.stderr
    assert "Traceback" not in done.stderr
