"""DINOv2's backbones."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from patchwise.models.vit import ViT
from patchwise.models.weights.dinov2 import is_dinov2, read_dinov2
from patchwise.models.weights.files import WeightsFile
from tests.models.weights.authors_names import authors_names
from tests.models.weights.published import FAMILIES, SCALED

Redraw = Callable[[nn.Module], None]
PLAIN = next(family for family in FAMILIES if family.name == "DINOv2")


def file_of(weights: dict[str, Tensor]) -> WeightsFile:
    return WeightsFile(Path("x.pth"), weights)


@pytest.mark.parametrize(("dim", "heads"), [(384, 6), (768, 12), (1024, 16), (1536, 24)])
def test_heads_are_those_of_the_published_sizes(dim: int, heads: int) -> None:
    vit = ViT(replace(SCALED, depth=1, dim=dim, heads=heads, mlp_ratio=4 / dim))
    assert read_dinov2(file_of({**vit.state_dict()})).vit.config.heads == heads


def test_registers_change_how_positions_are_resized() -> None:
    for registers, rule in ((0, "dino"), (4, "size-antialias")):
        vit = ViT(replace(SCALED, registers=registers))
        assert read_dinov2(file_of({**vit.state_dict()})).vit.config.interpolation == rule


@pytest.mark.parametrize("mark", ["mask_token", "register_tokens", "blocks.0.mlp.w12.weight"])
def test_any_mark_makes_it_dinov2(mark: str) -> None:
    assert not is_dinov2(file_of(PLAIN.mapped))
    assert is_dinov2(file_of({**PLAIN.mapped, mark: torch.ones(2)}))
    assert not is_dinov2(file_of({mark.replace("blocks.", "layers."): torch.ones(2)}))


@torch.no_grad()
def test_gated_layers_are_those_of_hugging_face(redraw: Redraw) -> None:
    """Without resizing, whose rule differs: see the parity of positions."""
    transformers: Any = pytest.importorskip("transformers")
    config = transformers.Dinov2Config(
        hidden_size=192,
        num_hidden_layers=2,
        num_attention_heads=3,
        image_size=24,
        patch_size=4,
        use_swiglu_ffn=True,
    )
    peer = transformers.Dinov2Model(config).eval()
    redraw(peer)
    weights = authors_names(peer.state_dict())
    for index in range(2):
        mlp = f"blocks.{index}.mlp"
        for kind in ("weight", "bias"):
            gate, value = (weights.pop(f"{mlp}.{n}_proj.{kind}") for n in ("gate", "up"))
            weights[f"{mlp}.w12.{kind}"] = torch.cat([gate, value])
            weights[f"{mlp}.w3.{kind}"] = weights.pop(f"{mlp}.down_proj.{kind}")
    loaded = read_dinov2(file_of(weights))
    assert loaded.vit.config.mlp == "swiglu"
    assert loaded.left_out == ("mask_token",)
    images = torch.randn(2, 3, 24, 24)
    theirs = peer(images).last_hidden_state
    assert theirs.abs().mean() > 0.3
    torch.testing.assert_close(loaded.backbone(images).cls, theirs[:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(loaded.backbone(images).patches, theirs[:, 1:], atol=1e-5, rtol=0)
