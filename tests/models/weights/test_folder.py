"""Folders of weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from patchwise.configs.backbone import ViTConfig
from patchwise.errors import WeightsError
from patchwise.models.vit import ViT
from patchwise.models.weights.folder import find_weights, read_folder
from patchwise.models.weights.load import load_backbone, read_backbone, save_backbone
from tests.models.weights.peers import GRIDS, Peer, largest_difference, transformers_peer

MakeViT = Callable[[ViTConfig], ViT]
A, B = {"a": torch.arange(3.0)}, {"b": torch.ones(2, 2)}
INDEX = "model.safetensors.index.json"


def write_shards(folder: Path, **shards: dict[str, Tensor]) -> None:
    table: dict[str, str] = {}
    for name, tensors in shards.items():
        save_file(tensors, folder / f"{name}.safetensors")
        table |= dict.fromkeys(tensors, f"{name}.safetensors")
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": table}))


def write(folder: Path, name: str) -> None:
    if name == INDEX:
        write_shards(folder, one=A, two=B)
    elif name.endswith(".bin"):
        torch.save(A | B, folder / name)
    else:
        save_file(A | B, folder / name)


@pytest.mark.parametrize(
    "name", ["backbone.safetensors", "model.safetensors", INDEX, "pytorch_model.bin"]
)
@pytest.mark.parametrize("described", [True, False])
@pytest.mark.parametrize("preprocessed", [True, False])
def test_weights_are_read_with_what_is_said_of_them(
    name: str, described: bool, preprocessed: bool, tmp_path: Path
) -> None:
    write(tmp_path, name)
    if described:
        (tmp_path / "config.json").write_text('{"model_type": "vit", "sizes": [1, 2]}')
    if preprocessed:
        (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0.5]}')
    file = read_folder(tmp_path)
    assert file.path == tmp_path / name == find_weights(tmp_path)
    assert file.contents.keys() == {"a", "b"}
    assert torch.equal(file.tensors("a test")["b"], B["b"])
    assert file.config == ({"model_type": "vit", "sizes": [1, 2]} if described else {})
    assert file.preprocessing == ({"image_mean": [0.5]} if preprocessed else {})


def test_of_several_files_the_first_is_read(tmp_path: Path) -> None:
    order = ["pytorch_model.bin", INDEX, "model.safetensors", "backbone.safetensors"]
    for name in order:
        write(tmp_path, name)
        assert find_weights(tmp_path).name == name


def test_the_folder_of_a_run_is_its_backbone(make_vit: MakeViT, tmp_path: Path) -> None:
    vit = make_vit(ViTConfig(dim=24, depth=1, heads=3, patch_px=4, image_px=8))
    save_backbone(vit, tmp_path / "backbone.safetensors")
    (tmp_path / "initial.safetensors").write_bytes(b"something else")
    images = torch.randn(1, 3, 8, 8)
    assert torch.equal(load_backbone(tmp_path)(images).cls, vit(images).cls)


@pytest.mark.parametrize("form", ["shards", "bin", "bfloat16"])
def test_a_model_may_be_saved_in_several_ways(form: str, tmp_path: Path) -> None:
    peer: Peer = transformers_peer("Dinov2WithRegisters")
    peer.save(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors: dict[str, Any] = read_folder(tmp_path).tensors("a test")
    path.unlink()
    if form == "shards":
        names = sorted(tensors)
        half = len(names) // 2
        write_shards(
            tmp_path,
            first={n: tensors[n] for n in names[:half]},
            second={n: tensors[n] for n in names[half:]},
        )
    elif form == "bin":
        torch.save(tensors, tmp_path / "pytorch_model.bin")
    else:
        save_file({n: t.bfloat16() for n, t in tensors.items()}, path)
    ours = read_backbone(tmp_path).vit
    assert {weight.dtype for weight in ours.state_dict().values()} == {torch.float32}
    worst = max(max(largest_difference(peer, ours, grid)) for grid in GRIDS[:2])
    assert worst < 0.2 if form == "bfloat16" else worst < 1e-5
    if form == "bfloat16":  # each weight is the nearest of that precision
        assert torch.equal(ours.norm.weight, tensors["layernorm.weight"].bfloat16().float())


@pytest.mark.bad_input
def test_a_folder_without_weights_says_what_is_there(tmp_path: Path) -> None:
    message = "must hold backbone.safetensors, model.safetensors, .* or pytorch_model.bin, got "
    with pytest.raises(WeightsError, match=f"the folder .* {message}an empty folder; or name"):
        read_folder(tmp_path)
    for name in ("config.json", "model.ckpt"):
        (tmp_path / name).touch()
    with pytest.raises(WeightsError, match=f"{message}'config.json', 'model.ckpt'; or name"):
        find_weights(tmp_path)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be JSON, got Expecting"),
        ("[1]", r"must be a table of options, got \[1\]"),
        ("\xff", "must be JSON, got"),
        pytest.param("[" * 100_000, "must be JSON, got", id="deep"),
    ],
)
@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_a_broken_config_is_named(name: str, text: str, message: str, tmp_path: Path) -> None:
    write(tmp_path, "model.safetensors")
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(WeightsError, match=f"/{name}' {message}"):
        read_folder(tmp_path)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"a": "../a.safetensors"}, r"must name files beside it, got '\.\./a.safetensors'"),
        ({"a": "/a.safetensors"}, "must name files beside it, got '/a.safetensors'"),
        ({"a": 3}, "must name files beside it, got '3'"),
        ({"a": ["a.safetensors"]}, "must name files beside it, got "),
        ({}, "must name files beside it, got {}"),
        (None, "must name files beside it, got None"),
        ({"a": "gone.safetensors"}, "gone.safetensors', which does not exist"),
    ],
)
def test_a_broken_index_is_named(table: object, message: str, tmp_path: Path) -> None:
    save_file(A, tmp_path.parent / "a.safetensors")
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": table}))
    with pytest.raises(WeightsError, match=message):
        read_folder(tmp_path)


@pytest.mark.bad_input
def test_a_weight_in_two_files_is_named(tmp_path: Path) -> None:
    for name in ("a.safetensors", "b.safetensors"):
        save_file(A, tmp_path / name)
    table = {"a": "a.safetensors", "b": "b.safetensors"}
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": table}))
    with pytest.raises(WeightsError, match=r"must hold every weight once, got 'a' again in 'b\."):
        read_folder(tmp_path)
