"""Our own format: nothing lost, nothing half written."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import save_file

from patchwise.configs.backbone import Interpolation, ViTConfig
from patchwise.errors import WeightsError
from patchwise.models.filtered_vit import FilteredViT
from patchwise.models.vit import ViT
from patchwise.models.weights.files import WeightsFile, read_weights_file
from patchwise.models.weights.native import is_native, read_native, write_native

MakeViT = Callable[[ViTConfig], ViT]
MakeFiltered = Callable[[ViTConfig], FilteredViT]
PLAIN = ViTConfig(dim=24, depth=2, heads=3, patch_px=4, image_px=16)
RICH = replace(PLAIN, registers=2, layer_scale=0.1, drop_path=0.3, mlp_ratio=8 / 3)
ROTARY = replace(PLAIN, positions="rotary", mlp="swiglu", qkv_bias="no_key", norm_eps=1e-5)
CONFIGS = [
    *(replace(RICH, interpolation=rule) for rule in get_args(Interpolation)),
    *(PLAIN, ROTARY, replace(ROTARY, qkv_bias="none")),
    replace(PLAIN, pixel_mean=(0.5, 0.1, 1 / 3), pixel_std=(0.25, 1.0, 0.7)),
]


def header_of(path: Path) -> dict[str, Any]:
    header: dict[str, Any] = json.loads(read_weights_file(path).metadata["patchwise"])
    return header


def with_header(file: WeightsFile, header: object) -> WeightsFile:
    text = header if isinstance(header, str) else json.dumps(header)
    return WeightsFile(file.path, file.contents, {"patchwise": text})


@pytest.fixture
def file(tmp_path: Path, make_vit: MakeViT) -> WeightsFile:
    write_native(make_vit(RICH), tmp_path / "backbone.safetensors")
    return read_weights_file(tmp_path / "backbone.safetensors")


@pytest.mark.parametrize("config", CONFIGS)
def test_what_is_read_is_what_was_written(
    config: ViTConfig, make_vit: MakeViT, tmp_path: Path
) -> None:
    vit, path = make_vit(config), tmp_path / "backbone.safetensors"
    write_native(vit, path)
    file = read_weights_file(path)
    assert is_native(file)
    back = read_native(file).backbone
    assert back.config == config
    assert list(back.state_dict()) == list(vit.state_dict())
    for name, weight in vit.state_dict().items():
        assert torch.equal(back.state_dict()[name], weight), name
    images = torch.randn(2, 3, 20, 12)
    assert torch.equal(back(images).patches, vit(images).patches)
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("config", CONFIGS)
def test_a_filtered_backbone_is_read_as_it_was_written(
    config: ViTConfig, make_filtered: MakeFiltered, tmp_path: Path
) -> None:
    backbone, path = make_filtered(config), tmp_path / "backbone.safetensors"
    write_native(backbone, path)
    header = header_of(path)
    assert (header["format_version"], header["kind"]) == (2, "filtered_vit")
    state = torch.get_rng_state()
    back = read_native(read_weights_file(path)).backbone
    assert torch.equal(torch.get_rng_state(), state)
    assert isinstance(back, FilteredViT)
    assert not back.training
    assert back.config == backbone.config
    assert list(back.state_dict()) == list(backbone.state_dict())
    images = torch.randn(2, 3, 20, 12)
    for name in ("cls", "patches"):
        assert torch.equal(getattr(back(images), name), getattr(backbone(images), name))
        assert torch.equal(getattr(back.vit(images), name), getattr(backbone.vit(images), name))
    assert os.listdir(tmp_path) == [path.name]


def test_the_same_backbone_gives_the_same_bytes(make_vit: MakeViT, tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.safetensors" for i in range(2)]
    for path in paths:
        write_native(make_vit(RICH), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_files_of_version_1_are_read(file: WeightsFile) -> None:
    header = header_of(file.path)
    header["format_version"] = 1
    added = ("positions", "mlp", "qkv_bias", "norm_eps", "pixel_mean", "pixel_std")
    old = {**header, "config": {k: v for k, v in header["config"].items() if k not in added}}
    assert read_native(with_header(file, old)).backbone.config == RICH
    with pytest.raises(WeightsError, match=r"got .*positions.* missing or unknown"):
        read_native(with_header(file, header))


def test_the_header_says_what_the_file_is(file: WeightsFile) -> None:
    header = header_of(file.path)
    assert (header["format_version"], header["kind"]) == (2, "vit")
    assert header["config"]["interpolation"] == "dino"


def test_weights_that_share_memory_are_written_whole(make_vit: MakeViT, tmp_path: Path) -> None:
    vit = make_vit(PLAIN)
    vit.norm.weight = vit.last_block.norm2.weight
    write_native(vit, tmp_path / "backbone.safetensors")
    back = read_native(read_weights_file(tmp_path / "backbone.safetensors")).backbone
    assert torch.equal(back.state_dict()["norm.weight"], vit.norm.weight)


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file(
    moment: str, make_vit: MakeViT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "backbone.safetensors"
    write_native(make_vit(PLAIN), path)
    before = path.read_bytes()

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    owner: object = os if moment == "fsync" else Path
    monkeypatch.setattr(owner, moment, fails)
    with pytest.raises(WeightsError, match=r"can be written to, got .*No space left"):
        write_native(make_vit(RICH), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_the_data_are_on_disk_before_the_name_is(
    make_vit: MakeViT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sync the file, rename it, sync the folder: any other order can lose both versions."""
    path = tmp_path / "backbone.safetensors"
    seen: list[tuple[str, bool]] = []
    sync = os.fsync

    def watched(handle: int) -> None:
        kind = "folder" if os.path.samestat(os.fstat(handle), tmp_path.stat()) else "file"
        seen.append((kind, path.exists()))
        sync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    write_native(make_vit(PLAIN), path)
    assert seen == [("file", False), ("folder", True)]


@pytest.mark.bad_input
def test_every_missing_or_renamed_weight_is_named(file: WeightsFile) -> None:
    names = list(ViT(RICH).state_dict())
    assert len(names) == 2 * 14 + 7
    for name in names:
        rest = {other: tensor for other, tensor in file.contents.items() if other != name}
        with pytest.raises(WeightsError, match=f"a patchwise backbone.*missing '{name}'$"):
            read_native(WeightsFile(file.path, rest, file.metadata))
        renamed = {**rest, f"{name}_": file.contents[name]}
        with pytest.raises(WeightsError, match=f"missing '{name}'; left over '{name}_'$"):
            read_native(WeightsFile(file.path, renamed, file.metadata))


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["format_version", "kind", "config"])
def test_a_missing_field_is_named(name: str, file: WeightsFile) -> None:
    header = header_of(file.path)
    del header[name]
    with pytest.raises(WeightsError, match=f"must have the field '{name}', got"):
        read_native(with_header(file, header))


@pytest.mark.bad_input
def test_a_missing_or_unknown_option_is_named(file: WeightsFile) -> None:
    for name in header_of(file.path)["config"]:
        header = header_of(file.path)
        header["config"][f"{name}_"] = header["config"].pop(name)
        with pytest.raises(WeightsError, match=f"got '{name}', '{name}_' missing or unknown"):
            read_native(with_header(file, header))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 3}, "a format version of at most 2, got 3; use the patchwise version"),
        ({"format_version": "1"}, "a format version of at most 2, got '1'"),
        ({"kind": "swin"}, "must be of kind 'vit' or 'filtered_vit', got 'swin'"),
        ({"config": [1]}, r"must be a table of options, got \[1\]"),
    ],
)
def test_a_header_of_another_kind_is_refused(
    change: dict[str, object], message: str, file: WeightsFile
) -> None:
    with pytest.raises(WeightsError, match=message):
        read_native(with_header(file, header_of(file.path) | change))


@pytest.mark.bad_input
def test_a_filtered_file_that_does_not_fit_is_refused(
    make_filtered: MakeFiltered, tmp_path: Path
) -> None:
    write_native(make_filtered(RICH), tmp_path / "backbone.safetensors")
    file = read_weights_file(tmp_path / "backbone.safetensors")
    header = header_of(file.path)
    for change, message in [
        ({"vit": 3, "prototypes": 5}, "config of .* must be a table of options, got 3"),
        ({"prototypes": 5}, "options vit, prototypes, got 'vit' missing or unknown"),
        ({**header["config"], "heads": 2}, "got 'heads' missing or unknown"),
        ({**header["config"], "prototypes": 0}, "prototypes must be a whole number of at least 1"),
        ({**header["config"], "prototypes": 4}, r"'filter.prototypes \(5, 24, 3, 3\) for \(4, 24"),
        ({**header["config"], "vit": {"dim": 24}}, "missing or unknown"),
        ([1], r"must be a table of options, got \[1\]"),
    ]:
        with pytest.raises(WeightsError, match=message):
            read_native(with_header(file, {**header, "config": change}))
    with pytest.raises(WeightsError, match=r"got 'depth', .* missing or unknown"):
        read_native(with_header(file, {**header, "kind": "vit"}))
    for name in ("filter.prototypes", "filter.norm_out_cls.bias", "vit.norm.weight"):
        rest = {other: tensor for other, tensor in file.contents.items() if other != name}
        with pytest.raises(WeightsError, match=f"missing '{name}'$"):
            read_native(WeightsFile(file.path, rest, file.metadata))


@pytest.mark.bad_input
@pytest.mark.parametrize("text", ["", "{", "[1]", "3", pytest.param("[" * 100_000, id="deep")])
def test_a_header_that_is_no_table_is_refused(text: str, file: WeightsFile) -> None:
    with pytest.raises(WeightsError, match=r"metadata of .* must (be JSON|have the field)"):
        read_native(with_header(file, text))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("dim", 25, "must be valid, got .*; ViTConfig: dim must be a multiple of heads"),
        ("depth", 2.0, "must be valid, got .*; ViTConfig: depth must be a whole number"),
        ("mlp_ratio", "4", "must be valid, got .*mlp_ratio"),
        ("interpolation", "nearest", "must be valid, got .*; ViTConfig: interpolation must be"),
        ("dim", 48, r"shapes of its ViT .*'cls_token \(1, 1, 24\) for \(1, 1, 48\)'"),
        ("image_px", 20, r"'pos_embed \(1, 17, 24\) for \(1, 26, 24\)'"),
        ("patch_px", 2, r"'patch_embed.proj.weight \(24, 3, 4, 4\) for \(24, 3, 2, 2\)'"),
        ("depth", 3, r"missing 'blocks.2.norm1.weight', "),
        ("depth", 1, r"left over 'blocks.1"),
        ("registers", 0, "left over 'register_tokens'"),
        ("layer_scale", 0.0, r"left over 'blocks.0.ls1.gamma', "),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(
    option: str, value: object, message: str, file: WeightsFile
) -> None:
    header = header_of(file.path)
    header["config"][option] = value
    with pytest.raises(WeightsError, match=message):
        read_native(with_header(file, header))


@pytest.mark.bad_input
def test_weights_that_are_not_finite_are_not_written(make_vit: MakeViT, tmp_path: Path) -> None:
    vit = make_vit(PLAIN)
    with torch.no_grad():
        vit.norm.bias[3] = float("nan")
    with pytest.raises(WeightsError, match=r"save_backbone: .* got NaN or infinity in 'norm.bias'"):
        write_native(vit, tmp_path / "backbone.safetensors")
    assert not os.listdir(tmp_path)


@pytest.mark.bad_input
def test_a_place_that_is_not_there_is_named(make_vit: MakeViT, tmp_path: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"must be a place that can be written to, got .*No such"
    ):
        write_native(make_vit(PLAIN), tmp_path / "none" / "backbone.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(
        WeightsError, match=r"must be a place that can be written to, got .*irector"
    ):
        write_native(make_vit(PLAIN), tmp_path / "folder.safetensors")
    assert os.listdir(tmp_path) == ["folder.safetensors"]


@pytest.mark.bad_input
def test_another_suffix_is_refused(make_vit: MakeViT, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"must end in .safetensors, got '.*backbone.pth'"):
        write_native(make_vit(PLAIN), tmp_path / "backbone.pth")


def test_other_metadata_make_no_native_file(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors", {"format": "pt"})
    assert not is_native(read_weights_file(tmp_path / "a.safetensors"))
