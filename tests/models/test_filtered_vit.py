"""A ViT and its filter as one backbone."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from patchwise.configs.backbone import FilteredViTConfig, ViTConfig
from patchwise.errors import ShapeError
from patchwise.models.backbone import Backbone, BackboneOutput, HasBlocks
from patchwise.models.filtered_vit import FilteredViT
from patchwise.models.vit import ViT

Redraw = Callable[[nn.Module], None]
CONFIG = ViTConfig(dim=24, depth=3, heads=3, patch_px=4, image_px=16)
EVERYTHING = replace(CONFIG, registers=2, layer_scale=0.1, drop_path=0.3)
ROTARY = replace(EVERYTHING, positions="rotary", mlp="swiglu", qkv_bias="no_key")
CONFIGS = [CONFIG, EVERYTHING, ROTARY]


def make(config: ViTConfig, redraw: Redraw, prototypes: int = 5) -> FilteredViT:
    backbone = FilteredViT(ViT(config), prototypes)
    redraw(backbone)
    return backbone.eval()


def images_of(height: int = 16, width: int = 12, batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(5))


def gradients(backbone: FilteredViT, output: BackboneOutput) -> dict[str, Tensor]:
    """Return the gradients of all weights that have one."""
    backbone.zero_grad()
    loss = output.cls.pow(3).sum() + output.patches.square().sum()
    loss.backward()  # type: ignore[no-untyped-call]
    return {n: w.grad.clone() for n, w in backbone.named_parameters() if w.grad is not None}


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize(("height", "width"), [(16, 16), (8, 20), (4, 4)])
def test_it_is_a_backbone_twice_as_wide(
    height: int, width: int, config: ViTConfig, redraw: Redraw
) -> None:
    backbone = make(config, redraw)
    assert isinstance(backbone, Backbone)
    assert not isinstance(backbone, HasBlocks)
    assert (backbone.dim, backbone.patch_px) == (48, 4)
    assert backbone.device == torch.device("cpu")
    assert backbone.config == FilteredViTConfig(config, 5)
    output = backbone(images_of(height, width))
    assert output.grid == (height // 4, width // 4)
    assert output.cls.shape == (2, 48)
    assert output.patches.shape == (2, height * width // 16, 48)
    assert output.attention is None


@pytest.mark.parametrize("config", CONFIGS)
def test_the_parts_make_up_the_whole(config: ViTConfig, redraw: Redraw) -> None:
    backbone = make(config, redraw)
    tokens, grid = backbone.vit.embed(images_of())
    rotation = backbone.vit.rotation(grid)
    for block in backbone.vit.blocks:
        tokens = block(tokens, None, rotation)
    kept = [place for place in range(tokens.shape[1]) if not 1 <= place < 1 + config.registers]
    cls, patches = backbone.filter(tokens[:, kept], grid, backbone.vit.last_block)
    output = backbone(images_of())
    assert output.grid == grid
    assert torch.equal(output.cls, cls)
    assert torch.equal(output.patches, patches)


@pytest.mark.parametrize("config", CONFIGS)
def test_it_goes_on_from_the_tokens_before_the_last_block(
    config: ViTConfig, redraw: Redraw
) -> None:
    backbone = make(config, redraw)
    tokens, grid = backbone.vit.before_last_block(images_of())
    finished = backbone.finish(tokens, grid, attention=True)
    whole = backbone(images_of(), attention=True)
    for name in ("cls", "patches", "attention"):
        assert torch.equal(getattr(finished, name), getattr(whole, name)), name


@pytest.mark.parametrize("config", CONFIGS)
def test_attention_is_that_of_the_plain_vit(config: ViTConfig, redraw: Redraw) -> None:
    backbone = make(config, redraw)
    expected = backbone.vit(images_of(), attention=True).attention
    assert torch.equal(backbone(images_of(), attention=True).attention, expected)


@pytest.mark.parametrize("config", CONFIGS)
def test_attention_to_prototypes_is_that_of_the_filter(config: ViTConfig, redraw: Redraw) -> None:
    backbone = make(config, redraw)
    attention, grid = backbone.prototype_attention(images_of())
    assert grid == (4, 3)
    assert attention.shape == (2, 3, 12, 5)
    torch.testing.assert_close(attention.sum(-1), torch.ones(2, 3, 12))
    tokens, _ = backbone.vit.before_last_block(images_of())
    left, _ = backbone.vit.through_last_block(tokens, grid)
    left = torch.cat([left[:, :1], left[:, 1 + config.registers :]], dim=1)
    assert torch.equal(attention, backbone.filter.attention(left, grid, backbone.vit.last_block))


def test_the_final_norm_is_not_applied(redraw: Redraw) -> None:
    backbone = make(CONFIG, redraw)
    found = gradients(backbone, backbone(images_of()))
    missing = {name for name, _ in backbone.named_parameters()} - found.keys()
    assert missing == {"vit.norm.weight", "vit.norm.bias", "filter.prototypes"}
    assert all(gradient.abs().max() > 0 for gradient in found.values())


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("images_have_gradients", [False, True])
def test_checkpointing_changes_neither_features_nor_gradients(
    images_have_gradients: bool, config: ViTConfig, redraw: Redraw
) -> None:
    backbone = make(config, redraw).train()
    images = images_of().requires_grad_(images_have_gradients)
    kept = torch.tensor([[[True, False], [True, True], [False, True]]]).expand(2, 3, 2)
    found = []
    for checkpointed in (False, True):
        backbone.vit.checkpointed = checkpointed
        output = backbone(images, kept=kept)
        found.append((output.patches, gradients(backbone, output)))
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1].keys() == found[1][1].keys()
    for name, gradient in found[0][1].items():
        assert torch.equal(gradient, found[1][1][name]), name


def test_checkpointing_computes_the_filter_again(redraw: Redraw) -> None:
    backbone = make(CONFIG, redraw)
    calls: list[str] = []
    backbone.filter.norm_in.register_forward_hook(lambda *_: calls.append("filter"))
    for checkpointed, expected in ((False, 1), (True, 2)):
        backbone.vit.checkpointed = checkpointed
        calls.clear()
        backbone(images_of()).cls.sum().backward()
        assert len(calls) == expected
    with torch.no_grad():
        backbone(images_of())
    assert len(calls) == 3


def test_stochastic_depth_is_that_of_the_vit(redraw: Redraw) -> None:
    backbone = make(EVERYTHING, redraw)
    whole = backbone(images_of()).patches
    everything = torch.ones(2, 3, 2, dtype=torch.bool)
    backbone.train()
    torch.manual_seed(1)
    drawn = [backbone(images_of()).patches for _ in range(4)]
    assert any(not torch.equal(drawn[0], other) for other in drawn[1:])
    torch.manual_seed(1)
    kept = backbone.vit.draw_kept(2)
    assert kept is not None
    assert kept.shape == (2, 3, 2)
    assert torch.equal(drawn[0], backbone(images_of(), kept=kept).patches)
    assert not torch.equal(whole, backbone(images_of(), kept=everything).patches)  # made larger
    backbone.eval()
    assert torch.equal(whole, backbone(images_of()).patches)


def test_stochastic_depth_reaches_the_last_block_but_not_the_filter(redraw: Redraw) -> None:
    backbone = make(EVERYTHING, redraw)
    kept = torch.ones(2, 3, 2, dtype=torch.bool)
    kept[1, 2] = False  # of the second image the last block leaves nothing
    output = backbone(images_of(), kept=kept)
    tokens, grid = backbone.vit.before_last_block(images_of(), kept)
    left = tokens.clone()
    left[:1] = backbone.vit.last_block(tokens[:1], kept[:1, 2])
    left = torch.cat([left[:, :1], left[:, 3:]], dim=1)
    cls, patches = backbone.filter(left, grid, backbone.vit.last_block)
    torch.testing.assert_close(output.cls, cls, rtol=0, atol=1e-5)
    torch.testing.assert_close(output.patches, patches, rtol=0, atol=1e-5)


@pytest.mark.parametrize("config", CONFIGS)
def test_images_do_not_see_each_other(config: ViTConfig, redraw: Redraw) -> None:
    backbone = make(config, redraw)
    images = images_of(batch=3)
    together, alone = backbone(images), backbone(images[1:2])
    torch.testing.assert_close(together.cls[1:2], alone.cls, rtol=0, atol=1e-5)
    torch.testing.assert_close(together.patches[1:2], alone.patches, rtol=0, atol=1e-5)


def test_bfloat16_is_near(redraw: Redraw) -> None:
    backbone = make(EVERYTHING, redraw)
    exact = backbone(images_of())
    with torch.autocast("cpu", torch.bfloat16):
        rough = backbone(images_of())
    torch.testing.assert_close(exact.patches, rough.patches.float(), rtol=0, atol=0.15)
    assert all(g.isfinite().all() for g in gradients(backbone, rough).values())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_it_is_the_same_on_a_gpu(redraw: Redraw) -> None:
    backbone = make(EVERYTHING, redraw)
    expected = backbone(images_of())
    found = backbone.cuda()(images_of().cuda())
    torch.testing.assert_close(expected.patches, found.patches.cpu(), rtol=0, atol=1e-4)


@pytest.mark.bad_input
def test_images_are_checked_as_by_the_vit(redraw: Redraw) -> None:
    with pytest.raises(ShapeError, match="multiples of the patch of 4 px, got 16 x 10"):
        make(CONFIG, redraw)(images_of(width=10))
