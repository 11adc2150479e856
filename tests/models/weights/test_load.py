"""One function for every file."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from patchwise.configs.backbone import ViTConfig
from patchwise.errors import ChoiceError, ConfigError, WeightsError
from patchwise.models.filtered_vit import FilteredViT
from patchwise.models.vit import ViT
from patchwise.models.weights import (
    describe_loaded,
    load_backbone,
    read_backbone,
    save_backbone,
    split_source,
)

MakeViT = Callable[[ViTConfig], ViT]
TINY = ViTConfig(dim=192, depth=2, heads=3, patch_px=4, image_px=16)


@pytest.mark.parametrize(
    "name", ["backbone.safetensors", "dino.pth", "dino.pt", "timm.safetensors"]
)
@pytest.mark.parametrize("as_text", [True, False])
def test_every_file_gives_the_same_backbone(
    name: str, as_text: bool, make_vit: MakeViT, tmp_path: Path
) -> None:
    vit, path = make_vit(TINY), tmp_path / name
    if name == "backbone.safetensors":
        save_backbone(vit, str(path) if as_text else path)
    elif path.suffix == ".safetensors":
        save_file(vit.state_dict(), path)
    else:
        torch.save(vit.state_dict(), path)
    loaded = load_backbone(str(path) if as_text else path)
    assert loaded.config == TINY
    assert not loaded.training
    images = torch.randn(2, 3, 8, 20)
    assert torch.equal(loaded(images).patches, vit(images).patches)


def test_only_our_own_file_keeps_what_shapes_do_not_tell(make_vit: MakeViT, tmp_path: Path) -> None:
    config = replace(TINY, dim=96, heads=6, interpolation="size", drop_path=0.1)
    save_backbone(make_vit(config), tmp_path / "backbone.safetensors")
    assert load_backbone(tmp_path / "backbone.safetensors").config == config


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_a_backbone_outlives_its_file(name: str, make_vit: MakeViT, tmp_path: Path) -> None:
    vit, path = make_vit(TINY), tmp_path / name
    if path.suffix == ".pth":
        torch.save(vit.state_dict(), path)
    else:
        save_file(vit.state_dict(), path)
    loaded = load_backbone(path)
    path.write_bytes(b"\0" * path.stat().st_size)
    for key, weight in vit.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], weight)


def test_a_text_may_name_the_layout(make_vit: MakeViT, tmp_path: Path) -> None:
    torch.save(make_vit(TINY).state_dict(), tmp_path / "weights.pth")
    plain = f"{tmp_path / 'weights.pth'}"
    assert read_backbone(plain).vit.config.interpolation == "dino"
    for path, layout in ((f"timm:{plain}", None), (plain, "timm"), (f"timm:{plain}", "timm")):
        assert read_backbone(path, layout=layout).vit.config.interpolation == "size-antialias"


def test_layouts_and_paths_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert split_source("timm:a/b.pth") == ("timm", Path("a/b.pth"))
    assert split_source("dino:~/b:c.pth") == ("dino", tmp_path / "b:c.pth")
    assert split_source("~/a.pth") == (None, tmp_path / "a.pth")
    for path in ("a.pth", "other:a.pth", ":a.pth", "C:\\a.pth", "./timm:a.pth"):
        assert split_source(path) == (None, Path(path))
    assert split_source(Path("timm:a.pth")) == (None, Path("timm:a.pth"))
    (tmp_path / "mae:a.pth").touch()
    assert split_source("mae:a.pth") == (None, Path("mae:a.pth"))


def test_how_weights_of_others_were_read_is_said(make_vit: MakeViT, tmp_path: Path) -> None:
    vit = make_vit(TINY)
    save_backbone(vit, tmp_path / "ours.safetensors")
    assert describe_loaded(read_backbone(tmp_path / "ours.safetensors")) is None
    torch.save(vit.state_dict(), tmp_path / "plain.pth")
    plain = describe_loaded(read_backbone(tmp_path / "plain.pth"))
    assert plain == "weights read as a bare dict of ViT weights"
    torch.save({**vit.state_dict(), "mask_token": torch.ones(1, 192)}, tmp_path / "more.pth")
    more = describe_loaded(read_backbone(tmp_path / "more.pth"))
    assert more == "weights read as DINOv2's backbone; left out 'mask_token'"


def test_how_images_are_normalised_is_said_unless_as_imagenets(
    make_vit: MakeViT, tmp_path: Path
) -> None:
    weights = make_vit(TINY).state_dict()
    save_file(weights, tmp_path / "model.safetensors")
    config: dict[str, object] = {"architecture": "vit_tiny_patch16_224"}
    for mean, said in ((0.485, ""), (0.5, "; images normalised by (0.5, 0.456, 0.406) and ")):
        config["pretrained_cfg"] = {"mean": [mean, 0.456, 0.406]}
        (tmp_path / "config.json").write_text(json.dumps(config))
        note = describe_loaded(read_backbone(tmp_path))
        assert note is not None
        assert note.startswith(f"weights read as timm's weights{said}")
        assert ("normalised" in note) == bool(said)


def test_a_folder_and_a_model_of_the_hub_are_read_as_files_are(
    make_vit: MakeViT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vit = make_vit(TINY)
    save_file(vit.state_dict(), tmp_path / "model.safetensors")
    asked: list[str] = []

    def download(name: str) -> Path:
        asked.append(name)
        return tmp_path

    monkeypatch.setattr("patchwise.models.weights.load.download", download)
    for source in (str(tmp_path), "hub:a/b"):
        assert load_backbone(source).config == TINY
        by_name = load_backbone(f"timm:{source}").config
        assert by_name == replace(TINY, interpolation="size-antialias")
    assert load_backbone(tmp_path).config == TINY
    assert asked == ["hub:a/b", "hub:a/b"]


@pytest.mark.bad_input
def test_two_layouts_are_refused() -> None:
    message = "must be left out where the path names one, got layout 'mae' and path 'timm:a.pth'"
    with pytest.raises(ConfigError, match=message):
        load_backbone("timm:a.pth", layout="mae")


@pytest.mark.bad_input
def test_an_unknown_layout_is_named() -> None:
    with pytest.raises(ChoiceError, match=r"layout must be one of cotap, .*, got 'tim'"):
        load_backbone("a.pth", layout="tim")


@pytest.mark.bad_input
def test_another_format_under_a_named_layout_is_refused(make_vit: MakeViT, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(make_vit(TINY).state_dict(), path)
    for layout in ("patchwise", "dinov3", "mae", "mocov3", "leopart", "mugs", "ibot"):
        with pytest.raises(WeightsError, match=r"load_backbone: .*weights\.pth' must "):
            load_backbone(path, layout=layout)


def test_a_filtered_backbone_and_the_plain_one_within_are_both_saved(
    make_filtered: Callable[[ViTConfig], FilteredViT], tmp_path: Path
) -> None:
    backbone = make_filtered(replace(TINY, dim=24))
    save_backbone(backbone, tmp_path / "filtered.safetensors")
    save_backbone(backbone.vit, tmp_path / "plain.safetensors")
    filtered, plain = (load_backbone(tmp_path / f"{n}.safetensors") for n in ("filtered", "plain"))
    images = torch.randn(2, 3, 8, 20)
    assert torch.equal(filtered(images).patches, backbone(images).patches)
    assert torch.equal(plain(images).patches, backbone.vit(images).patches)
    assert (filtered.dim, plain.dim) == (48, 24)


@pytest.mark.bad_input
def test_our_own_file_without_its_header_is_refused(make_vit: MakeViT, tmp_path: Path) -> None:
    """Its heads are narrower than published ones; a guess would load and be wrong."""
    vit = make_vit(replace(TINY, dim=128, heads=4))
    save_file(vit.state_dict(), tmp_path / "backbone.safetensors")
    with pytest.raises(WeightsError, match="the number of heads cannot be told"):
        load_backbone(tmp_path / "backbone.safetensors")


@pytest.mark.bad_input
def test_only_a_vit_is_saved(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="backbone must be a ViT or a FilteredViT, got Linear"):
        save_backbone(nn.Linear(2, 2), tmp_path / "backbone.safetensors")  # type: ignore[arg-type]
