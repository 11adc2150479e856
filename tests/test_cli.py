"""The command line as a user meets it: what it prints and how it exits."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchwise.configs.loader import read_config
from patchwise.data.synthetic import render_scenes
from patchwise.training.log import read_log
from patchwise.version import __version__

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
    done = run("--help")
    assert done.returncode == 0
    commands = ("train", "doctor", "list", "demo", "report", "views")
    assert all(name in done.stdout for name in commands)


def test_version() -> None:
    assert run("--version").stdout.startswith("patchwise ")


def test_list_shows_recipes_and_options() -> None:
    assert "pwself-cifar10" in run("list").stdout
    assert "optim.lr_per_256" in run("list", "options").stdout


def test_train_writes_a_whole_run_folder(tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = run("train", "scenes:12", "--out", out, *tiny(), "--val", "scenes")
    assert done.returncode == 0, done.stderr
    present = {path.name for path in out.iterdir()}
    assert present - {".lock"} == {
        "config.toml", "version.txt", "data.json", "log.jsonl", "tensorboard", "checkpoints",
        "initial.safetensors", "backbone.safetensors", "results.json",
    }  # fmt: skip
    assert "forecast:" in done.stderr
    assert done.stdout == ""
    assert len([line for line in read_log(out / "log.jsonl") if "loss" in line]) == 12
    assert len(list((out / "checkpoints").iterdir())) == 2
    assert read_config(out / "config.toml").train.batch == 4


def test_a_dry_run_prints_settings_and_forecast_and_writes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = run("train", "scenes:12", "--out", out, *tiny(), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "forecast:" in done.stderr
    assert not out.exists()
    settings = tmp_path / "settings.toml"
    settings.write_text(done.stdout)
    again = run("train", "scenes:12", "--config", settings, "--dry-run")
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
    done = run("doctor", pictures, "--no-forecast", "--workers", "1")
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
    done = run("doctor", pictures, "--json", "--workers", "0")
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
    done = run("doctor", pictures, "--write-list", good, "--no-forecast", "--workers", "0")
    assert done.returncode == 0, done.stderr
    trained = run("train", good, "--out", tmp_path / "run", *tiny(**{"train.epochs": 1}))
    assert trained.returncode == 0, trained.stderr
    assert "4 images of" in trained.stderr


def test_doctor_fails_where_no_image_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    done = run("doctor", tmp_path, "--workers", "0")
    assert done.returncode == 1
    assert "No image can be used" in done.stdout
    assert "Traceback" not in done.stderr


def test_doctor_describes_the_environment_without_data() -> None:
    done = run("doctor", "--env", "--json")
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert content["program"]["patchwise"] == __version__
    assert set(content) == {"program", "machine", "torch", "packages", "optional"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_request_saves_and_says_how_to_go_on(tmp_path: Path, number: int) -> None:
    """The signal goes to all processes of the run, as from a terminal or a batch system."""
    out = tmp_path / "my run"
    whole = tmp_path / "whole"
    arguments = tiny(**{"train.epochs": 40, "data.workers": 1})
    assert run("train", "scenes:12", "--out", whole, *arguments).returncode == 0
    with subprocess.Popen(
        command("train", "scenes:12", "--out", out, *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        start_new_session=True,
    ) as child:
        wait_for_lines(child, out / "log.jsonl", 3)
        os.killpg(child.pid, number)
        _, stderr = child.communicate()
    assert child.returncode == 75, stderr
    assert f"--out '{out}' --resume" in stderr
    assert not (out / "results.json").exists()
    assert run("train", "scenes:12", "--out", out, "--resume").returncode == 0
    assert losses(out) == losses(whole)


def test_a_killed_run_goes_on_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    """Kill -9 at several moments, in and between steps; the losses are those of one run."""
    whole, out = tmp_path / "whole", tmp_path / "run"
    arguments = tiny(**{"train.epochs": 40, "train.checkpoint_every_steps": 7})
    assert run("train", "scenes:12", "--out", whole, *arguments).returncode == 0
    resume: list[str] = []
    for lines, delay_s in [(1, 0.0), (10, 0.003), (40, 0.011), (80, 0.002)]:
        options = resume or arguments
        with subprocess.Popen(
            command("train", "scenes:12", "--out", out, *options),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        ) as child:
            wait_for_lines(child, out / "log.jsonl", lines)
            time.sleep(delay_s)
            child.kill()
        resume = ["--resume"]
    done = run("train", "scenes:12", "--out", out, "--resume")
    assert done.returncode == 0, done.stderr
    assert losses(out) == losses(whole)
    names = ("backbone.safetensors", "initial.safetensors", "config.toml")
    for name in names:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name


def test_report_and_views_print_where_they_wrote(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert run("train", "scenes:12", "--out", out, *tiny()).returncode == 0
    done = run("report", out)
    assert (done.returncode, done.stdout.strip()) == (0, str(out / "report.html")), done.stderr
    done = run("report", out, "--out", tmp_path / "other.html")
    assert (tmp_path / "other.html").read_bytes() == (out / "report.html").read_bytes()
    image = next((out / "pictures").glob("views-*.png"))
    done = run("views", image, "--out", tmp_path / "v.png", "--seed", "3", "--size", "80",
               "--set", "method.views.local_count=1")  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, str(tmp_path / "v.png")), done.stderr


def test_the_best_checkpoint_of_a_run_is_printed(tmp_path: Path) -> None:
    out = tmp_path / "run"
    settings = tiny(**{"train.epochs": 2, "train.keep_checkpoints": 9, "backbone.patch_px": 8})
    assert run("train", "scenes:12", "--out", out, *settings).returncode == 0
    done = run("eval", out, "--all-checkpoints", "--set", "images=8")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("step-00000000") == 3
    assert (out / "best.txt").read_text().strip() in done.stdout
    assert (out / "best.safetensors").exists()
    done = run("eval", out, "--protocol", "health/run")
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
    arguments: list[str], code: int, message: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        command(*arguments), capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.bad_input
def test_a_folder_with_something_in_it_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    done = run("train", "scenes:12", "--out", tmp_path, *tiny())
    assert done.returncode == 1
    assert "must be empty" in done.stderr
    assert "it holds no run to resume" in done.stderr
