"""Files of all kinds of damage."""

import argparse
import collections
import datetime
import os
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
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


@pytest.mark.parametrize("suffix", [".pth", ".pth.tar", ".pt", ".ckpt", ".bin", ".safetensors"])
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


@pytest.mark.parametrize("legacy", [False, True])
def test_training_checkpoints_are_read_without_what_they_name(
    legacy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights.ckpt"
    with monkeypatch.context() as patch:
        callback = class_named("callbacks.model_checkpoint", "ModelCheckpoint", patch)
        settings = class_named("utilities.parsing", "AttributeDict", patch)
        contents = checkpoint(callback, settings)
        torch.save(contents, path, _use_new_zipfile_serialization=not legacy)
    read = read_weights_file(path).contents
    assert list(read) == list(contents)
    weights = read["state_dict"]
    assert isinstance(weights, dict)
    assert torch.equal(weights["a"], TENSORS["a"])
    assert read["hyper_parameters"] == {"gpus": 2}
    assert not isinstance(read["args"], argparse.Namespace)
    assert not hasattr(read["args"], "lr")


def checkpoint(callback: type, settings: type) -> dict[str, object]:
    return {
        "args": argparse.Namespace(lr=1, inner=argparse.Namespace(scale=(0.4, 1.0))),
        "optimizer": {"lr": np.float64(0.1), "steps": np.int64(3), "betas": np.arange(3.0)},
        "callbacks": {callback: {"best": torch.ones(2)}},
        "hyper_parameters": settings(gpus=2),
        "state_dict": TENSORS,
        "names": {"a", "b"},
    }


def class_named(module: str, name: str, patch: pytest.MonkeyPatch) -> type:
    """Return a dict that is pickled as a class of Lightning, which is not there."""
    home = f"pytorch_lightning.{module}"
    made = type(name, (dict,), {"__module__": home, "__qualname__": name})
    parts = home.split(".")
    for count in range(1, len(parts) + 1):
        patch.setitem(sys.modules, ".".join(parts[:count]), ModuleType(".".join(parts[:count])))
    setattr(sys.modules[home], name, made)
    return made


def test_only_what_is_asked_for_is_read(tmp_path: Path) -> None:
    """A checkpoint is mostly optimizer: its tensors are windows on the file."""
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.ones(5000), "b": torch.ones(5000)}, path)
    tensors = read_weights_file(path).tensors("a test")
    data = path.read_bytes()
    start = data.index(torch.ones(5000).numpy().tobytes())
    with path.open("r+b") as file:
        file.seek(start)
        file.write(torch.full((5000,), 7.0).numpy().tobytes())
    assert 7 in {float(tensor[0]) for tensor in tensors.values()}


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
@pytest.mark.parametrize(
    ("path", "hinted"),
    [
        ("owner/name-of.model", True),
        ("owner/weights.pth", False),
        ("runs/a/b", False),
        ("/owner/name", False),
        ("name", False),
    ],
)
def test_what_may_be_a_model_of_the_hub_is_told_how_to_say_so(path: str, hinted: bool) -> None:
    with pytest.raises(WeightsError, match="which does not exist") as caught:
        read_weights_file(Path(path))
    assert str(caught.value).endswith(f"is named hub:{path}") == hinted


@pytest.mark.bad_input
def test_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"must be a weights file, got the folder '.*'; name the"
    ):
        read_weights_file(tmp_path)


@pytest.mark.bad_input
def test_another_suffix_is_refused(tmp_path: Path) -> None:
    for name in ("weights.npz", "weights.tar", "pth"):
        (tmp_path / name).touch()
        message = rf"must end in .safetensors or .pth, .pth.tar, .pt, .ckpt, .bin, got '.*{name}'"
        with pytest.raises(WeightsError, match=message):
            read_weights_file(tmp_path / name)


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
        ({"args": argparse.Namespace(lr=RunsCode()), **TENSORS}, r"(posix|nt)\.mkdir"),
        ({"day": datetime.date(2020, 1, 1), **TENSORS}, r"datetime\.date"),
        ({"path": Path("x"), **TENSORS}, r"pathlib\S*"),
        (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
    ],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_would_run_code_is_refused(
    contents: object, name: str, legacy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(contents, "weights.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(WeightsError, match=rf"got a pickle that would run code \(({name})\)"):
        read_weights_file(Path("weights.pth"))
    assert not Path("it_ran").exists()


def test_nothing_stays_allowed(tmp_path: Path) -> None:
    before = set(torch.serialization.get_safe_globals())
    torch.save(TENSORS, tmp_path / "weights.pth")
    read_weights_file(tmp_path / "weights.pth")
    (tmp_path / "broken.pth").write_bytes(b"PK")
    with pytest.raises(WeightsError):
        read_weights_file(tmp_path / "broken.pth")
    assert set(torch.serialization.get_safe_globals()) == before


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


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "tensor",
    [
        torch.ones(2).to_sparse(),
        torch.ones(2, device="meta"),
    ],
)
def test_tensors_that_are_not_dense_are_named(tensor: torch.Tensor) -> None:
    """All of these can be in a file that is read as tensors only."""
    file = WeightsFile(Path("x.pth"), {"a": TENSORS["a"], "b": tensor})
    with pytest.raises(WeightsError, match=r"dense tensors only .*, got other things under 'b'; "):
        file.tensors("a test")
