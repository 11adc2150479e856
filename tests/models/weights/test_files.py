"""Files of all kinds of damage."""

import argparse
import collections
import os
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from patchwise.errors import WeightsError
from patchwise.models.weights.files import WeightsFile, first_names, read_weights_file

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.randn(500).to(torch.bfloat16)}


class RunsCode:
    """What a harmful pickle does: call something while it is read."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("it_ran",)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_tensors_are_read_as_they_were_written(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(TENSORS, path, {"from": "here"})
    else:
        torch.save(collections.OrderedDict(TENSORS), path)
    file = read_weights_file(path)
    tensors = file.tensors("a test")
    assert list(tensors) == ["a", "b"]
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)
    assert dict(file.metadata) == ({"from": "here"} if suffix == ".safetensors" else {})


def test_tensors_outlive_their_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(TENSORS, path)
    tensors = read_weights_file(path).tensors("a test")
    path.write_bytes(b"\0" * path.stat().st_size)
    assert torch.equal(tensors["a"], TENSORS["a"])


def test_ten_names_are_listed() -> None:
    names = [f"n{i}" for i in range(12)]
    assert first_names(names[:1]) == "'n0'"
    assert first_names(names[:10]).endswith(", 'n9'")
    assert first_names(names).endswith(", 'n9' and 2 more")


@pytest.mark.bad_input
def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"must be a weights file, got '.*no\.pth', which does"):
        read_weights_file(tmp_path / "no.pth")


@pytest.mark.bad_input
def test_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"must be a weights file, got the folder '.*'; name the"
    ):
        read_weights_file(tmp_path)


@pytest.mark.bad_input
def test_another_suffix_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").touch()
    with pytest.raises(WeightsError, match=r"must end in .safetensors, .pth or .pt, got '.*bin'"):
        read_weights_file(tmp_path / "weights.bin")


@pytest.mark.bad_input
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_truncated_file_is_named(suffix: str, part: float, legacy: bool, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(TENSORS, path)
    else:
        torch.save(TENSORS, path, _use_new_zipfile_serialization=not legacy)
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    with pytest.raises(WeightsError, match=r"weights\..* must be a complete .*copy or download"):
        read_weights_file(path)


@pytest.mark.bad_input
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("data", [b"<!DOCTYPE html>" * 40, b"\xff" * 600, b"\0" * 600])
def test_a_file_of_something_else_is_named(suffix: str, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="must be a complete"):
        read_weights_file(path)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("contents", "name"),
    [
        ({"a": RunsCode()}, r"(posix|nt)\.mkdir"),
        ({"args": argparse.Namespace(lr=1), **TENSORS}, "argparse.Namespace"),
        (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
    ],
)
def test_a_pickle_that_would_run_code_is_refused(
    contents: object, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(contents, "weights.pth")
    with pytest.raises(WeightsError, match=rf"got a pickle that would run code \(({name})\)"):
        read_weights_file(Path("weights.pth"))
    assert not Path("it_ran").exists()


@pytest.mark.bad_input
def test_a_reason_is_one_short_sentence(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "weights.pth")
    data = (tmp_path / "weights.pth").read_bytes()
    (tmp_path / "weights.pth").write_bytes(data[:700])
    with pytest.raises(WeightsError) as caught:
        read_weights_file(tmp_path / "weights.pth")
    assert re.search(r"got RuntimeError PytorchStreamReader[^.\n]*; copy", str(caught.value))


@pytest.mark.bad_input
def test_a_lone_tensor_is_refused(tmp_path: Path) -> None:
    torch.save(torch.zeros(2), tmp_path / "weights.pt")
    with pytest.raises(WeightsError, match="must hold a dict of tensors, got Tensor"):
        read_weights_file(tmp_path / "weights.pt")


@pytest.mark.bad_input
def test_other_things_than_named_tensors_are_named() -> None:
    contents: dict[object, object] = {"epoch": 3, "student": TENSORS, 7: TENSORS["a"]}
    file = WeightsFile(Path("x.pth"), contents | {"a": TENSORS["a"]})
    message = r"\(read as a test\), got other things under 'epoch', 'student', '7'; save the back"
    with pytest.raises(WeightsError, match=message):
        file.tensors("a test")
