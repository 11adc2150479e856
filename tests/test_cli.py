"""The command line as a user meets it: what it prints and how it exits."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from patchwise.configs.loader import read_config
from patchwise.training.log import read_log

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
    assert all(name in done.stdout for name in ("train", "list", "demo", "report", "views"))


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


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
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
