"""Our ViT against those of timm and Hugging Face, with every weight redrawn.

At other than the stored size each library resizes the position embedding by its own rule; the rule
is given beside each model, and the other rules must not fit.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from patchwise.configs.backbone import Interpolation, ViTConfig
from patchwise.models.vit import ViT
from patchwise.models.weights.fitting import build_vit

Redraw = Callable[[nn.Module], None]
DIM, DEPTH, HEADS = 48, 2, 3
STORED = 6  # patches along a side
GRIDS = [(6, 6), (4, 4), (9, 9), (4, 8), (7, 3)]
PATCHES_PX = [4, 8, 14, 16]

# From the names of Hugging Face's models to ours.
RENAMES = [
    (r"^embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
    (r"^embeddings\.position_embeddings", "pos_embed"),
    (r"^embeddings\.", ""),
    (r"^(encoder\.)?layers?\.", "blocks."),
    (r"^layernorm\.", "norm."),
    (r"layernorm_before", "norm1"),
    (r"layernorm_after", "norm2"),
    (r"attention\.o_proj", "attn.proj"),
    (r"layer_scale(\d)\.lambda1", r"ls\1.gamma"),
]


@dataclass(frozen=True)
class Peer:
    """A model of another library, and the same model as ours."""

    tokens: Callable[[Tensor], Tensor]  # images to CLS, registers and patches after the last norm
    ours: ViT
    rule: Interpolation


def ours_of(config: ViTConfig, weights: dict[str, Tensor]) -> ViT:
    return build_vit(config, weights, path=Path("peer"), source="a peer's weights").vit


def our_config(patch_px: int, rule: Interpolation) -> ViTConfig:
    return ViTConfig(
        dim=DIM,
        depth=DEPTH,
        heads=HEADS,
        patch_px=patch_px,
        image_px=STORED * patch_px,
        mlp_ratio=2.0,
        interpolation=rule,
    )


def renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Hugging Face's weights under our names; queries, keys and values side by side."""
    ours: dict[str, Tensor] = {}
    for name, weight in weights.items():
        for pattern, by in RENAMES:
            name = re.sub(pattern, by, name)  # noqa: PLW2901
        ours[name] = weight
    ours.pop("mask_token", None)  # of masked modelling only
    for i in range(DEPTH):
        for kind in ("weight", "bias"):
            parts = [ours.pop(f"blocks.{i}.attention.{part}_proj.{kind}") for part in "qkv"]
            ours[f"blocks.{i}.attn.qkv.{kind}"] = torch.cat(parts)
    return ours


def timm_peer(patch_px: int, redraw: Redraw, *, registers: int = 0, scale: bool = False) -> Peer:
    pytest.importorskip("timm")
    from timm.models.vision_transformer import VisionTransformer  # noqa: PLC0415

    peer = VisionTransformer(
        img_size=STORED * patch_px,
        patch_size=patch_px,
        embed_dim=DIM,
        depth=DEPTH,
        num_heads=HEADS,
        mlp_ratio=2.0,
        num_classes=0,
        dynamic_img_size=True,
        reg_tokens=registers,
        init_values=1e-5 if scale else None,
    ).eval()
    redraw(peer)
    weights = dict(peer.state_dict())
    config = our_config(patch_px, "size-antialias")
    if registers:
        # timm gives registers a position, unlike DINOv2: fold it into the token.
        config = replace(config, registers=registers)
        positions = weights["pos_embed"]
        weights["register_tokens"] = weights.pop("reg_token") + positions[:, 1 : 1 + registers]
        weights["pos_embed"] = torch.cat([positions[:, :1], positions[:, 1 + registers :]], dim=1)
    if scale:
        config = replace(config, layer_scale=1.0)
    return Peer(peer.forward_features, ours_of(config, weights), "size-antialias")


def huggingface_peer(kind: str, patch_px: int, redraw: Redraw) -> Peer:
    transformers: Any = pytest.importorskip("transformers")
    shared = {
        "hidden_size": DIM,
        "num_hidden_layers": DEPTH,
        "num_attention_heads": HEADS,
        "image_size": STORED * patch_px,
        "patch_size": patch_px,
    }
    rule: Interpolation = "size"
    if kind == "ViT":
        hf_config = transformers.ViTConfig(intermediate_size=2 * DIM, layer_norm_eps=1e-6, **shared)
        peer = transformers.ViTModel(hf_config, add_pooling_layer=False).eval()
        config = our_config(patch_px, rule)
        call = {"interpolate_pos_encoding": True}
    elif kind == "Dinov2":
        hf_config = transformers.Dinov2Config(mlp_ratio=2, **shared)
        peer, call = transformers.Dinov2Model(hf_config).eval(), {}
        config = replace(our_config(patch_px, rule), layer_scale=1.0)
    else:
        rule = "size-antialias"
        hf_config = transformers.Dinov2WithRegistersConfig(
            mlp_ratio=2, num_register_tokens=3, **shared
        )
        peer, call = transformers.Dinov2WithRegistersModel(hf_config).eval(), {}
        config = replace(our_config(patch_px, rule), layer_scale=1.0, registers=3)
    redraw(peer)
    ours = ours_of(config, renamed(peer.state_dict()))
    return Peer(lambda images: peer(images, **call).last_hidden_state, ours, rule)


def make_peer(name: str, patch_px: int, redraw: Redraw) -> Peer:
    if name == "timm":
        return timm_peer(patch_px, redraw)
    if name == "timm, registers and LayerScale":
        return timm_peer(patch_px, redraw, registers=2, scale=True)
    return huggingface_peer(name, patch_px, redraw)


NAMES = ["timm", "timm, registers and LayerScale", "ViT", "Dinov2", "Dinov2WithRegisters"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("patch_px", PATCHES_PX)
@torch.no_grad()
def test_features_are_those_of_the_other_library(name: str, patch_px: int, redraw: Redraw) -> None:
    peer = make_peer(name, patch_px, redraw)
    first = 1 + peer.ours.config.registers
    for rows, columns in GRIDS:
        images = torch.randn(2, 3, rows * patch_px, columns * patch_px)
        theirs, ours = peer.tokens(images), peer.ours(images)
        assert theirs.abs().mean() > 0.3, "features are large beside the tolerance"
        torch.testing.assert_close(ours.cls, theirs[:, 0], atol=1e-5, rtol=0)
        torch.testing.assert_close(ours.patches, theirs[:, first:], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_the_other_rules_do_not_fit(name: str, redraw: Redraw) -> None:
    peer = make_peer(name, 8, redraw)
    images = torch.randn(1, 3, 32, 64)
    theirs = peer.tokens(images)[:, 1 + peer.ours.config.registers :]
    rules: set[Interpolation] = {"dino", "size", "size-antialias"}
    for rule in rules - {peer.rule}:
        other = ours_of(replace(peer.ours.config, interpolation=rule), peer.ours.state_dict())
        assert (other(images).patches - theirs).abs().max() > 1e-3


@torch.no_grad()
def test_attention_is_that_of_hugging_face(redraw: Redraw) -> None:
    transformers: Any = pytest.importorskip("transformers")
    config = transformers.Dinov2WithRegistersConfig(
        hidden_size=DIM,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        mlp_ratio=2,
        image_size=24,
        patch_size=4,
        num_register_tokens=2,
        attn_implementation="eager",
    )
    peer = transformers.Dinov2WithRegistersModel(config).eval()
    redraw(peer)
    images = torch.randn(2, 3, 16, 28)
    theirs = peer(images, output_attentions=True).attentions[-1]
    ours = ours_of(
        replace(our_config(4, "size-antialias"), layer_scale=1.0, registers=2),
        renamed(peer.state_dict()),
    )(images, attention=True)
    torch.testing.assert_close(ours.attention, theirs[:, :, 0, 3:], atol=1e-6, rtol=0)
