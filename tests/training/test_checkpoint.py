"""A checkpoint is the whole truth or an error, and the newest ones are kept."""

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from patchwise.errors import CheckpointError
from patchwise.methods.method import decay_groups
from patchwise.training import checkpoint as module
from patchwise.training.checkpoint import (
    Checkpoint,
    list_checkpoints,
    load_checkpoint,
    pack_state,
    save_checkpoint,
    unpack_state,
)
from patchwise.training.optim import build_optimizer

FACTS: dict[str, Any] = {"seconds": 1.25, "bad": {"größe": 3, "list": [1, None, "x"]}}


def tensors_of_all_kinds() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(3, 4, generator=generator)
    return {
        "float32": normal,
        "float64": normal.double(),
        "float16": normal.half(),
        "bfloat16": normal.bfloat16(),
        "int64": torch.arange(-3, 3),
        "uint8": torch.arange(7, dtype=torch.uint8),
        "bool": normal > 0,
        "scalar": torch.tensor(2.5),
        "scalar bfloat16": torch.tensor(-0.0).bfloat16(),
        "empty": torch.zeros(0, 3),
        "special": torch.tensor([float("nan"), float("inf"), -0.0, 1e-45]),
        "transposed": torch.arange(6.0).reshape(2, 3).T,
        "strided": torch.arange(10)[::3],
        "parameter": nn.Parameter(torch.ones(2)),
    }


def save(folder: Path, *, step: int = 7, keep: int = 2) -> Path:
    return save_checkpoint(folder, Checkpoint(step, tensors_of_all_kinds(), FACTS), keep=keep)


def bits(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def test_what_is_saved_is_loaded_bit_by_bit(tmp_path: Path) -> None:
    loaded = load_checkpoint(save(tmp_path / "new" / "folder"))
    assert loaded.step == 7
    assert loaded.facts == FACTS
    expected = tensors_of_all_kinds()
    assert loaded.tensors.keys() == expected.keys()
    for name, tensor in loaded.tensors.items():
        assert tensor.dtype == expected[name].dtype
        assert tensor.shape == expected[name].shape
        assert bits(tensor) == bits(expected[name])


def test_a_checkpoint_without_tensors_is_one(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, Checkpoint(0, {}, {}), keep=1)
    assert load_checkpoint(path) == Checkpoint(0, {}, {})


@pytest.mark.bad_input
@pytest.mark.parametrize("part", range(4))
def test_a_changed_byte_anywhere_is_noticed(tmp_path: Path, part: int) -> None:
    path = save(tmp_path)
    content = path.read_bytes()
    draw = random.Random(part)
    for place in range(part, len(content), 4):
        changed = bytearray(content)
        changed[place] ^= 1 << draw.randrange(8)
        path.write_bytes(changed)
        with pytest.raises(CheckpointError, match=r"^load_checkpoint: .* must "):
            load_checkpoint(path)
    path.write_bytes(content)
    load_checkpoint(path)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"step":"7"', b'"step":"8"'),
        (b"1.25", b"1.26"),
        (b'"strided"', b'"strider"'),
        (b'"F64"', b'"I64"'),
    ],
)
def test_changed_facts_and_names_are_noticed(tmp_path: Path, old: bytes, new: bytes) -> None:
    path = save(tmp_path)
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert str(caught.value).startswith(f"load_checkpoint: {path} must have checksum ")
    assert str(caught.value).endswith(
        "; the file is damaged, delete it to go on from the one before"
    )


@pytest.mark.bad_input
def test_a_cut_off_file_is_noticed_wherever_it_was_cut(tmp_path: Path) -> None:
    path = save(tmp_path)
    content = path.read_bytes()
    for length in [*range(0, len(content), 11), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=r"must be a whole checkpoint, got "):
            load_checkpoint(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(CheckpointError, match=r"must be a whole checkpoint, got "):
        load_checkpoint(path)


@pytest.mark.bad_input
def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none.* must be a whole checkpoint, got No such"):
        load_checkpoint(tmp_path / "none.safetensors")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("metadata", "got"), [(None, "None"), ({}, "None"), ({"format": "2"}, "'2'")]
)
def test_another_format_is_refused(
    tmp_path: Path, metadata: dict[str, str] | None, got: str
) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(1)}, path, metadata)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert str(caught.value) == f"load_checkpoint: {path} must be of format 1, got {got}"


@pytest.mark.bad_input
def test_a_file_without_checksum_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(1)}, path, {"format": "1", "step": "0", "facts": "{}"})
    with pytest.raises(CheckpointError, match="must have checksum None, got "):
        load_checkpoint(path)


@pytest.mark.parametrize("keep", [1, 2, 5])
def test_the_newest_are_kept_and_listed_first(tmp_path: Path, keep: int) -> None:
    steps = [1, 9, 10, 99, 100, 100_000]
    (tmp_path / "notes.txt").write_text("mine")
    for done, step in enumerate(steps, start=1):
        path = save(tmp_path, step=step, keep=keep)
        listed = list_checkpoints(tmp_path)
        assert listed[0] == path
        kept = steps[max(0, done - keep) : done][::-1]
        assert [load_checkpoint(p).step for p in listed] == kept
    assert (tmp_path / "notes.txt").exists()


def test_no_checkpoint_is_listed_where_none_is(tmp_path: Path) -> None:
    assert list_checkpoints(tmp_path) == []
    assert list_checkpoints(tmp_path / "none") == []


def test_a_new_checkpoint_outlives_damaged_ones_of_later_steps(tmp_path: Path) -> None:
    """The run went on from step 1 because those of steps 3 and 4 were damaged."""
    for step in (1, 3, 4):
        save(tmp_path, step=step, keep=4)
    for path in list_checkpoints(tmp_path)[:2]:
        path.write_bytes(b"damaged")
    assert save(tmp_path, step=2, keep=2).exists()
    assert [load_checkpoint(path).step for path in list_checkpoints(tmp_path)] == [2, 1]


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, Checkpoint(3, {"a": torch.zeros(1)}, {}), keep=2)
    path = save_checkpoint(tmp_path, Checkpoint(3, {"a": torch.ones(1)}, {}), keep=2)
    assert list_checkpoints(tmp_path) == [path]
    assert load_checkpoint(path).tensors["a"] == 1


def half_then(error: BaseException) -> Callable[..., None]:
    def write(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        raise error

    return write


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()]
)
def test_nothing_half_written_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    first = save(tmp_path, step=1, keep=1)
    monkeypatch.setattr(module, "save_file", half_then(error))
    with pytest.raises((CheckpointError, KeyboardInterrupt)) as caught:
        save(tmp_path, step=2, keep=1)
    assert os.listdir(tmp_path) == [first.name]
    load_checkpoint(first)
    if isinstance(caught.value, CheckpointError):
        assert str(caught.value) == (
            f"save_checkpoint: {tmp_path / 'step-000000002.safetensors'} must be writable, got "
            f"{error}; free some space, then go on from the last checkpoint with --resume"
        )


@pytest.mark.bad_input
def test_a_place_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"^save_checkpoint: .* must be writable, got "):
        save(tmp_path / "file")


class Model(nn.Module):
    """Parameters of several kinds and buffers."""

    def __init__(self, dim: int = 3) -> None:
        super().__init__()
        self.layer = nn.Linear(dim, 4)
        self.norm = nn.BatchNorm1d(4)
        self.late = nn.Parameter(torch.randn(4))  # gets no gradient in the first steps


def train_step(model: Model, optimizer: torch.optim.Optimizer, step: int) -> None:
    torch.manual_seed(step)
    optimizer.zero_grad()
    out = model.norm(model.layer(torch.randn(8, 3)))
    if step >= 4:
        out = out * model.late
    (out - torch.randn(8, 4)).square().mean().backward()
    for group in optimizer.param_groups:
        group["lr"] = 0.01
    optimizer.step()


def make_training(seed: int, dim: int = 3) -> tuple[Model, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = Model(dim)
    return model, build_optimizer(decay_groups(model, "model"))


@pytest.mark.parametrize("saved_at", [0, 1, 3, 5])
def test_training_goes_on_as_if_it_had_never_stopped(tmp_path: Path, saved_at: int) -> None:
    model, optimizer = make_training(seed=0)
    for step in range(saved_at):
        train_step(model, optimizer, step)
    packed = Checkpoint(saved_at, pack_state(model, optimizer), {})
    path = save_checkpoint(tmp_path, packed, keep=1)
    other, other_optimizer = make_training(seed=1)
    unpack_state(load_checkpoint(path).tensors, other, other_optimizer)
    for step in range(saved_at, saved_at + 4):
        train_step(model, optimizer, step)
        train_step(other, other_optimizer, step)
        mine, theirs = (pack_state(m, o) for m, o in [(model, optimizer), (other, other_optimizer)])
        assert mine.keys() == theirs.keys()
        assert all(bits(mine[name]) == bits(theirs[name]) for name in mine)


def test_the_state_of_parameters_that_never_moved_is_left_out() -> None:
    model, optimizer = make_training(seed=0)
    train_step(model, optimizer, 0)
    names = {name for name in pack_state(model, optimizer) if name.startswith("optimizer/")}
    moved = ["layer.weight", "layer.bias", "norm.weight", "norm.bias"]
    parts = ["step", "exp_avg", "exp_avg_sq"]
    assert names == {f"optimizer/model.{name}/{part}" for name in moved for part in parts}


def test_names_that_begin_alike_are_kept_apart() -> None:
    first, second = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    holder = nn.Module()
    optimizer = torch.optim.AdamW([{"params": [first, second], "names": ["a", "a.b"]}])
    first.grad, second.grad = torch.ones(2), torch.ones(3)
    optimizer.step()
    packed = pack_state(holder, optimizer)
    optimizer.state.clear()
    unpack_state(packed, holder, optimizer)
    assert optimizer.state[first]["exp_avg"].shape == (2,)
    assert optimizer.state[second]["exp_avg"].shape == (3,)
    assert set(optimizer.state[first]) == {"step", "exp_avg", "exp_avg_sq"}


@pytest.mark.bad_input
def test_another_architecture_is_refused() -> None:
    model, optimizer = make_training(seed=0, dim=5)
    with pytest.raises(CheckpointError) as caught:
        unpack_state(pack_state(*make_training(seed=0)), model, optimizer)
    message = str(caught.value)
    assert message.startswith("unpack_state: the checkpoint must fit the method, got ")
    assert "layer.weight" in message
    with pytest.raises(CheckpointError, match=r"must fit the method, got [\s\S]*Missing"):
        unpack_state({}, model, optimizer)
