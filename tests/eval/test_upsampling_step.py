"""Gradients in parts: those of the whole batch, whatever the memory."""

import functools
import shutil
from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from patchwise.errors import DataError
from patchwise.eval import kept_maps
from patchwise.eval import upsampling_step as module
from patchwise.eval.heads import UpsamplingHead
from patchwise.eval.upsampling_step import add_gradients
from patchwise.features.vectors import Vectors

DRAW = torch.Generator().manual_seed(0)
FEATURES = torch.randn(5, 3, 2, 6, generator=DRAW, dtype=torch.float64)  # [B, h, w, D]
WANTED = torch.randn(5, 4, 24, 16, generator=DRAW, dtype=torch.float64)


def head(widths: tuple[int, ...] = (8, 4, 6), dropout: float = 0.3) -> UpsamplingHead:
    torch.manual_seed(0)
    made = UpsamplingHead(6, 4, widths=widths, dropout=dropout, seed=3).double().train()
    for norm in made.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias)
    return made


def far(scores: Tensor, first: int) -> None:
    """A loss that is no sum over places, and other for each image."""
    wanted = WANTED[first : first + len(scores)]
    size = (scores.shape[2], scores.shape[3])
    distance = scores - F.interpolate(wanted, size=size).to(scores.dtype)
    distance.flatten(1).norm(dim=1).sum().backward()


def whole(made: UpsamplingHead, features: Tensor = FEATURES) -> None:
    far(made(features), 0)


def parted(made: UpsamplingHead, features: Tensor = FEATURES, *, memory_bytes: int) -> None:
    add_gradients(made, features, far, memory_bytes=memory_bytes)


def assert_same(found: UpsamplingHead, expected: UpsamplingHead) -> None:
    torch.testing.assert_close(found.state_dict(), expected.state_dict())
    for name, weight in found.named_parameters():
        torch.testing.assert_close(weight.grad, expected.get_parameter(name).grad, msg=name)


@pytest.mark.parametrize("held", [1, 3000, 10**9])
@pytest.mark.parametrize("memory_bytes", [0, 2**40])
@pytest.mark.parametrize("widths", [(8, 4, 6), (6, 4), (3,)])
def test_gradients_are_those_of_the_whole_batch(
    held: int, memory_bytes: int, widths: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One image at a time, one or two or all by the size of the maps, and all."""
    monkeypatch.setattr(module, "_HELD", held)
    found, expected = head(widths), head(widths)
    for _ in range(2):  # gradients are added, and dropout goes on drawing
        parted(found, memory_bytes=memory_bytes)
        whole(expected)
    assert_same(found, expected)


def test_few_images_are_computed_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the output of each block, enlarged: of 24 * 8, 96 * 4 and 384 * 2 numbers an image."""
    monkeypatch.setattr(module, "_HELD", 768)
    made, shown = head((8, 4, 2)), defaultdict[str, list[int]](list)

    def note(name: str, _: nn.Module, given: tuple[Tensor], __: Tensor) -> None:
        shown[name].append(len(given[0]))

    for name, layer in made.named_modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(functools.partial(note, name))
    parted(made, memory_bytes=2**40)
    assert shown["blocks.0.narrow"] == [4, 1] * 2
    assert shown["blocks.1.widen"] == [2, 2, 1] * 2
    assert shown["blocks.1.out"] == [2, 2, 1] * 2
    assert shown["blocks.2.out"] == [1] * 5  # once: the scores follow at once
    assert shown["linear"] == [1] * 5


def test_no_gradient_depends_on_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HELD", 100)
    on_disk = list[Vectors]()

    def noting(count: int, dim: int, *, memory_bytes: int, dtype: torch.dtype) -> Vectors:
        on_disk.append(Vectors(count, dim, memory_bytes=memory_bytes, dtype=dtype))
        return on_disk[-1]

    monkeypatch.setattr(kept_maps, "Vectors", noting)
    working_bytes = 12 * (24 * 4 * 4) * 6 * 4  # twelve enlarged maps of one image in the last block
    counts, gradients = [], []
    for more in (0, 2000, 20_000, 2**20):
        on_disk.clear()
        one = head().float()
        parted(one, FEATURES.float(), memory_bytes=working_bytes + more)
        counts.append(len(on_disk))
        gradients.append([_gradient(weight) for weight in one.parameters()])
    assert counts[0] == 12  # of each block: its input, two normalisations', and a gradient
    assert counts[0] > counts[1] > counts[2] > counts[3] == 0
    for found in gradients[1:]:
        assert all(map(torch.equal, found, gradients[0]))


def test_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    rooms = list[kept_maps.Room]()

    def noting(memory_bytes: int) -> kept_maps.Room:
        rooms.append(kept_maps.Room(memory_bytes))
        return rooms[0]

    monkeypatch.setattr(module, "Room", noting)
    parted(head(), memory_bytes=2**40)
    assert rooms[0].left_bytes == 2**40 - 12 * 2**23 * 8  # twelve maps of a part in float64


def _gradient(weight: Tensor) -> Tensor:
    assert weight.grad is not None
    return weight.grad


@pytest.mark.bad_input
def test_a_full_disk_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(DataError, match=r"must have 0.0 GiB free, got 0.0 in .*; set TMPDIR"):
        parted(head(), memory_bytes=0)
