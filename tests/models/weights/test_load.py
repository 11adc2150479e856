"""One function for every file."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from patchwise.configs.backbone import ViTConfig
from patchwise.errors import WeightsError
from patchwise.models.vit import ViT
from patchwise.models.weights import load_backbone, save_backbone

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


@pytest.mark.bad_input
def test_our_own_file_without_its_header_is_refused(make_vit: MakeViT, tmp_path: Path) -> None:
    """Its heads are narrower than published ones; a guess would load and be wrong."""
    vit = make_vit(replace(TINY, dim=128, heads=4))
    save_file(vit.state_dict(), tmp_path / "backbone.safetensors")
    with pytest.raises(WeightsError, match="the number of heads cannot be told"):
        load_backbone(tmp_path / "backbone.safetensors")


@pytest.mark.bad_input
def test_only_a_vit_is_saved(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="backbone must be a ViT, got Linear"):
        save_backbone(nn.Linear(2, 2), tmp_path / "backbone.safetensors")  # type: ignore[arg-type]
