"""What is said of the program and the machine, and that nothing broken can break it."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from patchwise import environment as module
from patchwise.environment import (
    OPTIONAL,
    REQUIRED,
    describe_environment,
    free_memory,
    inspect_environment,
    usable_cores,
    usable_memory,
)
from patchwise.version import __version__

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages that child processes find first; they are said to have version 9."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(module, "_version", lambda name: "9")
    return tmp_path


def names(requirements: list[str]) -> list[str]:
    return sorted(re.split(r"[<>=\[]", text)[0] for text in requirements)


def test_the_packages_are_those_of_the_project() -> None:
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    assert names(project["dependencies"]) == sorted(REQUIRED)
    optional = project["optional-dependencies"]
    assert names(optional["timm"] + optional["hub"]) == sorted(OPTIONAL)


def test_the_whole_environment_is_text_and_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_try_import", lambda name: f"{name} was tried")
    found = inspect_environment()
    assert found.program["patchwise"] == __version__
    assert found.torch["build"].startswith(torch.__version__)
    assert found.packages["numpy"][0].isdigit()
    assert found.optional["timm"] == "timm was tried"
    parsed = json.loads(found.to_json())
    assert parsed["machine"] == found.machine
    facts = [fact for group in parsed.values() for fact in group.items()]
    assert all(value for _, value in facts)
    assert all(f"  {name}: {value}" in found.to_text().splitlines() for name, value in facts)


def test_a_report_names_nothing_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_try_import", str)
    text = inspect_environment().to_text()
    assert str(Path(__file__).parents[1]) not in text
    assert sys.prefix not in text


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("", "9, imports"),
        (
            "raise RuntimeError('operator nms\\n does not exist')",
            "9, import fails:  does not exist",
        ),
        ("import nowhere", "9, import fails: ModuleNotFoundError: No module named 'nowhere'"),
        ("import os; os.kill(os.getpid(), 9)", "9, import fails: killed by signal 9"),
        ("import sys; sys.exit(3)", "9, import fails: exit 3"),
        ("import time; time.sleep(60)", "9, import fails: "),
        ("print(input())", "9, import fails: EOFError: EOF when reading a line"),
    ],
)
def test_a_broken_package_is_only_said_to_be(
    code: str, said: str, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "sleep" in code:
        monkeypatch.setattr(module, "_IMPORT_S", 0.5)
    (packages / "odd_package.py").write_text(code)
    assert module._try_import("odd_package").startswith(said)


def test_a_package_that_is_not_there_is_not_tried() -> None:
    assert module._try_import("no-such-package") == "not installed"


def test_limits_of_control_groups_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    total = usable_memory()
    assert 2**28 < total < 2**50
    for limit in (2**30, 0):
        monkeypatch.setattr(module, "_memory_limit", lambda limit=limit: limit)
        everything = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        assert usable_memory() == (limit or everything)
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


def test_the_environment_is_described_a_fact_a_line() -> None:
    lines = describe_environment("cpu").splitlines()
    facts = dict(line.split(": ", 1) for line in lines)
    assert facts["patchwise"] == __version__
    assert facts["torch"] == torch.__version__
    assert facts["threads"] == str(torch.get_num_threads())
    assert set(facts) >= {"commit", "python", "platform", "device", "numpy", "lightning-fabric"}
    assert all(facts.values())


def test_on_a_gpu_its_name_is_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    assert "device: Some GPU\n" in describe_environment("cuda")


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_is_that_of_the_source_and_not_of_a_tree_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Installed into a folder inside somebody's repository, there is no commit to name."""

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    source = tmp_path / "package" / "environment.py"
    source.parent.mkdir()
    source.write_text("")
    (tmp_path / "own.txt").write_text("")
    monkeypatch.setattr(module, "__file__", str(source))
    assert "commit: unknown\n" in describe_environment("cpu")
    git("init")
    git("add", "own.txt")
    git("commit", "-m", "somebody's")
    assert "commit: unknown\n" in describe_environment("cpu")
    git("add", "package")
    git("commit", "-m", "ours")
    commit = git("rev-parse", "HEAD")
    assert f"commit: {commit}\n" in describe_environment("cpu")
    source.write_text("changed")
    assert f"commit: {commit}-dirty\n" in describe_environment("cpu")
    monkeypatch.setenv("PATH", "")
    assert "commit: unknown\n" in describe_environment("cpu")


def test_free_memory_is_less_than_there_is() -> None:
    assert 0 < free_memory(torch.device("cpu")) < usable_memory()


def test_a_limit_of_the_group_bounds_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_memory_limit", lambda: 1000)
    facts = {"MemAvailable:": 4, "anon": 300, "shmem": 50}
    monkeypatch.setattr(module, "_fact", lambda file, name: facts[name])
    assert free_memory(torch.device("cpu")) == 650
    facts["anon"] = 2000
    assert free_memory(torch.device("cpu")) == 0
    monkeypatch.setattr(module, "_memory_limit", lambda: 0)
    assert free_memory(torch.device("cpu")) == 4096


def test_facts_of_the_system_are_read_by_name(tmp_path: Path) -> None:
    file = tmp_path / "facts"
    file.write_text("MemTotal:  8 kB\n\nMemAvailable:   5 kB\nanon 3\nanon_thp 7\n")
    assert module._fact(file, "MemAvailable:") == 5
    assert module._fact(file, "anon") == 3
    assert module._fact(file, "shmem") == 0
    assert module._fact(tmp_path / "none", "anon") == 0
