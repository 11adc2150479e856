"""timm's weights, against timm itself."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from patchwise.configs.backbone import ViTConfig
from patchwise.errors import WeightsError
from patchwise.models.vit import ViT
from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.load import LAYOUTS, recognise
from patchwise.models.weights.timm import is_timm, read_timm
from tests.models.weights.published import FAMILIES, TIMM

Redraw = Callable[[nn.Module], None]
PLAIN, PLACED = (
    next(family for family in FAMILIES if family.name == name)
    for name in ("timm", "timm, all placed")
)
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "classifier": {"num_classes": 5},
    "LayerScale": {"init_values": 1e-5},
    "registers": {"reg_tokens": 4},
    "registers, CLS not placed": {"reg_tokens": 4, "no_embed_class": True, "init_values": 1e-5},
    "CLS not placed": {"no_embed_class": True, "num_classes": 3},
    "no bias": {"qkv_bias": False},
}


def file_of(weights: dict[str, Tensor]) -> WeightsFile:
    return WeightsFile(Path("x.pth"), weights)


def timm_vit(**options: Any) -> Any:
    pytest.importorskip("timm")
    from timm.models.vision_transformer import VisionTransformer  # noqa: PLC0415

    size = {"img_size": 24, "patch_size": 4, "embed_dim": 192, "depth": 2, "num_heads": 3}
    defaults = {"num_classes": 0, "mlp_ratio": 1.0, "dynamic_img_size": True}
    return VisionTransformer(**{**size, **defaults, **options}).eval()


@pytest.mark.parametrize("name", OPTIONS)
@torch.no_grad()
def test_features_are_those_of_timm(name: str, redraw: Redraw) -> None:
    peer = timm_vit(**OPTIONS[name])
    redraw(peer)
    check_features(peer)


@torch.no_grad()
def test_gated_layers_are_those_of_timm(redraw: Redraw) -> None:
    timm: Any = pytest.importorskip("timm")
    gated = timm.layers.SwiGLUPacked
    peer = timm_vit(mlp_ratio=2 / 3, mlp_layer=gated, act_layer=nn.SiLU, init_values=1e-5)
    redraw(peer)
    check_features(peer)


def check_features(peer: Any) -> None:
    ours = read_timm(file_of(peer.state_dict())).backbone
    first = peer.num_prefix_tokens
    for rows, columns in ((6, 6), (4, 4), (9, 9), (3, 8)):
        images = torch.randn(2, 3, 4 * rows, 4 * columns)
        theirs = peer.forward_features(images)
        assert theirs.abs().mean() > 0.3
        torch.testing.assert_close(ours(images).cls, theirs[:, 0], atol=1e-5, rtol=0)
        torch.testing.assert_close(ours(images).patches, theirs[:, first:], atol=1e-5, rtol=0)


def test_heads_are_those_of_every_timm_model_that_can_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those with CLS, without a norm before the blocks, and of a width that a ViT here can have."""
    timm: Any = pytest.importorskip("timm")
    built: dict[str, dict[str, Any]] = {}

    def note(name: str, **options: Any) -> nn.Module:
        options.pop("pretrained", None)
        built[name] = options
        return nn.Module()

    monkeypatch.setattr(timm.models.vision_transformer, "_create_vision_transformer", note)
    for name in timm.list_models(module="vision_transformer"):
        timm.create_model(name)
    sizes = {
        (options.get("embed_dim", 768), options.get("num_heads", 12))
        for name, options in built.items()
        if options.get("class_token", True) and not options.get("pre_norm") and name != "test_vit"
    }
    assert len(sizes) >= 10
    for dim, heads in sizes:
        vit = ViTConfig(dim=dim, depth=1, heads=heads, patch_px=4, image_px=8, mlp_ratio=4 / dim)
        with torch.device("meta"):
            weights = ViT(vit).state_dict()
        zeros = {n: torch.zeros(()).expand(w.shape) for n, w in weights.items()}
        assert read_timm(file_of(zeros)).vit.config.heads == heads


@pytest.mark.parametrize(
    "mark", ["reg_token", "head.weight", "head.bias", "fc_norm.bias", "blocks.1.ls2.gamma"]
)
def test_any_mark_makes_it_timms(mark: str) -> None:
    plain = dict(PLAIN.mapped)
    assert not is_timm(file_of(plain))
    assert is_timm(file_of({**plain, mark: torch.ones(2)}))
    assert not is_timm(file_of({mark.replace("blocks.", "layers."): torch.ones(2)}))


def test_without_a_mark_it_is_taken_for_dinos_and_the_layout_can_be_named() -> None:
    file = file_of(PLAIN.mapped)
    assert recognise(file) is LAYOUTS["dino"]
    found, named = (LAYOUTS[name].read(file).vit.config for name in ("dino", "timm"))
    assert found == replace(TIMM, interpolation="dino")
    assert named == TIMM


@pytest.mark.bad_input
def test_places_that_fit_no_grid_are_named() -> None:
    for places in (0, 3, 16 + 6):
        weights = {**PLACED.mapped, "pos_embed": torch.ones(1, places, 192)}
        with pytest.raises(WeightsError, match=r"'pos_embed' of 'x.pth' must hold a square grid"):
            read_timm(file_of(weights))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "options",
    [{"global_pool": "avg"}, {"pre_norm": True}, {"qk_norm": True}, {"class_token": False}],
)
def test_models_of_other_kinds_are_refused(options: dict[str, Any]) -> None:
    if options == {"class_token": False}:
        options = {**options, "global_pool": "avg", "fc_norm": False}
    names = r"fc_norm\.weight|norm_pre\.weight|blocks\.0\.attn\.q_norm\.weight|cls_token"
    with pytest.raises(WeightsError, match=rf"must hold every weight of its ViT .*'({names})'"):
        read_timm(file_of(timm_vit(**options).state_dict()))


@pytest.mark.bad_input
def test_a_width_without_known_heads_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"must be one of 192, 384, .*, got 512; the number"):
        read_timm(file_of({**ViT(replace(TIMM, dim=512, heads=8)).state_dict()}))
