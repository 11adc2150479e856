"""What a vision transformer must do, whatever its weights."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from patchwise.configs.backbone import Interpolation, ViTConfig
from patchwise.errors import RangeError, ShapeError
from patchwise.models.block import Block
from patchwise.models.vit import ViT, resize_positions

Redraw = Callable[[nn.Module], None]
CONFIG = ViTConfig(dim=24, depth=3, heads=3, patch_px=4, image_px=16)
EVERYTHING = replace(CONFIG, registers=2, layer_scale=0.1)
ROTARY = replace(EVERYTHING, positions="rotary", mlp="swiglu", qkv_bias="no_key", norm_eps=1e-5)
RULES: tuple[Interpolation, ...] = get_args(Interpolation)


def make_vit(config: ViTConfig, redraw: Redraw) -> ViT:
    vit = ViT(config)
    redraw(vit)
    return vit.eval()


# --- shapes and names ---


@pytest.mark.parametrize("registers", [0, 3])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (8, 20), (4, 4)])
def test_output_shapes(height: int, width: int, registers: int) -> None:
    vit = ViT(replace(CONFIG, registers=registers))
    output = vit(torch.rand(2, 3, height, width), attention=True)
    rows, columns = height // 4, width // 4
    assert output.grid == (rows, columns)
    assert output.cls.shape == (2, 24)
    assert output.patches.shape == (2, rows * columns, 24)
    assert output.attention.shape == (2, 3, rows * columns)
    assert vit(torch.rand(2, 3, height, width)).attention is None


def test_names_of_weights_are_those_of_published_backbones() -> None:
    block = [
        *("norm1.weight", "norm1.bias", "attn.qkv.weight", "attn.qkv.bias"),
        *("attn.proj.weight", "attn.proj.bias", "norm2.weight", "norm2.bias"),
        *("mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias"),
    ]
    plain = [
        *("cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"),
        *(f"blocks.{i}.{name}" for i in range(3) for name in block),
        *("norm.weight", "norm.bias"),
    ]
    extra = ["register_tokens", *(f"blocks.{i}.ls{j}.gamma" for i in range(3) for j in (1, 2))]
    shapes = {name: tuple(weight.shape) for name, weight in ViT(CONFIG).state_dict().items()}
    assert set(shapes) == set(plain)
    assert shapes["pos_embed"] == (1, 17, 24)
    assert shapes["patch_embed.proj.weight"] == (24, 3, 4, 4)
    assert shapes["blocks.0.attn.qkv.weight"] == (72, 24)
    assert shapes["blocks.0.mlp.fc1.weight"] == (96, 24)
    everything = ViT(EVERYTHING).state_dict()
    assert set(everything) == set(plain + extra)
    assert everything["register_tokens"].shape == (1, 2, 24)


def test_patches_come_row_by_row(redraw: Redraw) -> None:
    """Change one patch of the image: before any block, only its own token changes."""
    vit = make_vit(EVERYTHING, redraw)
    images = torch.rand(1, 3, 12, 20)
    changed = images.clone()
    changed[:, :, 4:8, 12:16] += 1  # row 1, column 3 of 5
    (before, _), (after, _) = vit.embed(images), vit.embed(changed)
    differs = (before != after).any(dim=-1)[0]
    assert differs.nonzero().flatten().tolist() == [1 + 2 + 1 * 5 + 3]


# --- the parts in their order ---


def test_the_parts_make_up_the_whole(redraw: Redraw) -> None:
    vit = make_vit(EVERYTHING, redraw)
    images = torch.randn(2, 3, 16, 8)
    tokens, grid = vit.embed(images)
    for block in vit.blocks[:-1]:
        tokens = block(tokens)
    entering, _ = vit.before_last_block(images)
    assert torch.equal(tokens, entering)
    tokens = vit.norm(vit.last_block(tokens))
    output = vit(images)
    assert grid == output.grid
    assert torch.equal(output.cls, tokens[:, 0])
    assert torch.equal(output.patches, tokens[:, 3:])


def test_cls_comes_first_then_registers_then_patches(redraw: Redraw) -> None:
    vit = make_vit(EVERYTHING, redraw)
    images = torch.randn(2, 3, 16, 16)
    tokens, _ = vit.embed(images)
    pixels = images.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).reshape(2, 16, 48)
    weight, bias = (vit.state_dict()[f"patch_embed.proj.{kind}"] for kind in ("weight", "bias"))
    patches = pixels @ weight.flatten(1).T + bias
    expected = [
        (vit.cls_token + vit.pos_embed[:, :1]).expand(2, 1, 24),
        vit.register_tokens.expand(2, 2, 24),
        patches + vit.pos_embed[:, 1:],
    ]
    torch.testing.assert_close(tokens, torch.cat(expected, dim=1), atol=1e-5, rtol=0)


def test_every_part_has_weights_of_its_own() -> None:
    vit = ViT(EVERYTHING)
    assert len({id(weight) for weight in vit.parameters()}) == len(vit.state_dict())


def test_norms_are_layer_norms_of_eps_1e_6() -> None:
    """Tokens of spread 1e-3 show the eps: their variance 1e-6 is doubled by it."""
    vit = ViT(CONFIG)
    tokens = torch.tensor([-1e-3, 1e-3]).repeat(12)
    norms = [module for module in vit.modules() if isinstance(module, nn.LayerNorm)]
    assert len(norms) == 2 * 3 + 1
    for norm in norms:
        torch.testing.assert_close(norm(tokens), tokens / 2e-6**0.5, atol=1e-4, rtol=0)


def test_attention_is_that_of_the_last_block_over_all_tokens(redraw: Redraw) -> None:
    vit = make_vit(EVERYTHING, redraw)
    images = torch.randn(2, 3, 16, 12)
    tokens, _ = vit.before_last_block(images)
    weights = vit.last_block.attn.cls_attention(vit.last_block.norm1(tokens))
    attention = vit(images, attention=True).attention
    assert torch.equal(attention, weights[:, :, 3:])
    torch.testing.assert_close(attention.sum(-1), 1 - weights[:, :, :3].sum(-1))


@pytest.mark.parametrize("registers", [0, 2])
def test_each_of_the_last_blocks_is_the_last_of_a_shorter_vit(
    registers: int, redraw: Redraw
) -> None:
    vit = make_vit(replace(CONFIG, depth=3, registers=registers), redraw)
    images = torch.rand(2, 3, 16, 24)
    outputs = vit.last_blocks(images, count=3)
    assert len(vit.last_blocks(images, count=2)) == 2
    for found, same in zip(outputs[1:], vit.last_blocks(images, count=2), strict=True):
        assert torch.equal(found.cls, same.cls)
    for depth, found in zip((1, 2, 3), outputs, strict=True):
        shorter = make_vit(replace(CONFIG, depth=depth, registers=registers), redraw)
        weights = vit.state_dict()
        shorter.load_state_dict({name: weights[name] for name in shorter.state_dict()})
        expected = shorter(images)
        torch.testing.assert_close(found.cls, expected.cls)
        torch.testing.assert_close(found.patches, expected.patches)
        assert found.grid == expected.grid


@pytest.mark.bad_input
@pytest.mark.parametrize("count", [0, 4])
def test_only_blocks_that_there_are_can_be_asked_for(count: int, redraw: Redraw) -> None:
    vit = make_vit(replace(CONFIG, depth=3), redraw)
    with pytest.raises(RangeError, match=rf"count must lie in \[1, 3\], got {count}"):
        vit.last_blocks(torch.rand(1, 3, 16, 16), count=count)


def test_asking_for_attention_changes_no_feature(redraw: Redraw) -> None:
    vit = make_vit(CONFIG, redraw)
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(vit(images).patches, vit(images, attention=True).patches)


def test_images_do_not_see_each_other(redraw: Redraw) -> None:
    vit = make_vit(EVERYTHING, redraw)
    images = torch.randn(3, 3, 16, 16)
    together = vit(images, attention=True)
    for i in range(3):
        alone = vit(images[i : i + 1], attention=True)
        for name in ("cls", "patches", "attention"):
            torch.testing.assert_close(
                getattr(together, name)[i], getattr(alone, name)[0], atol=1e-5, rtol=0
            )


def test_registers_change_features_but_are_not_returned(redraw: Redraw) -> None:
    vit = make_vit(EVERYTHING, redraw)
    images = torch.randn(1, 3, 16, 16)
    before = vit(images).patches
    with torch.no_grad():
        vit.register_tokens[:, 1].neg_()
    after = vit(images).patches
    assert before.shape == after.shape == (1, 16, 24)
    assert not torch.allclose(before, after, atol=1e-3)


def test_registers_have_no_position(redraw: Redraw) -> None:
    """Their order does not matter, unlike that of the patches."""
    vit = make_vit(EVERYTHING, redraw)
    images = torch.randn(1, 3, 16, 16)
    before = vit(images).patches
    with torch.no_grad():
        vit.register_tokens.copy_(vit.register_tokens.flip(1))
    torch.testing.assert_close(vit(images).patches, before, atol=1e-5, rtol=0)


# --- training ---


def test_names_of_weights_of_rotary_vits_are_those_of_dinov2_and_dinov3() -> None:
    names = set(ViT(ROTARY).state_dict())
    rotary = {"rope_embed.periods", "blocks.2.mlp.w12.weight", "blocks.2.mlp.w3.bias"}
    assert rotary <= names
    assert not {"pos_embed", "blocks.2.mlp.fc1.weight"} & names


@pytest.mark.parametrize("size", [(16, 16), (8, 20)])
def test_rotary_vits_see_where_patches_lie_and_no_more(
    size: tuple[int, int], redraw: Redraw
) -> None:
    """The tokens themselves do not hold places: without the rotation, CLS reads a set."""
    vit = make_vit(ROTARY, redraw)
    tokens, grid = vit.embed(torch.randn(2, 3, *size))
    bias = vit.state_dict()["patch_embed.proj.bias"]
    assert torch.equal(vit.embed(torch.zeros(2, 3, *size))[0][0, 3], bias)
    assert vit.norm.eps == 1e-5
    rotation = vit.rotation(grid)
    assert rotation is not None
    shuffled = torch.cat([tokens[:, :3], tokens[:, 3:].roll(1, dims=1)], dim=1)
    one, other = vit.blocks[0](tokens, None, rotation), vit.blocks[0](shuffled, None, rotation)
    assert not torch.allclose(one[:, 0], other[:, 0], atol=1e-4), "CLS reads other keys"
    plain, mixed = vit.blocks[0](tokens), vit.blocks[0](shuffled)
    torch.testing.assert_close(plain[:, 0], mixed[:, 0], atol=1e-5, rtol=0)


def test_every_way_to_a_rotary_vits_features_agrees(redraw: Redraw) -> None:
    vit = make_vit(ROTARY, redraw)
    images = torch.randn(2, 3, 16, 8)
    output = vit(images, attention=True)
    last = vit.last_blocks(images, count=1)[0]
    assert torch.equal(last.patches, output.patches)
    tokens, grid = vit.before_last_block(images)
    rotation = vit.rotation(grid)
    after = vit.norm(vit.last_block(tokens, None, rotation))
    assert torch.equal(after[:, 3:], output.patches)
    assert torch.equal(after[:, 0], output.cls)
    weights = vit.last_block.cls_attention(tokens, rotation)
    assert output.attention is not None
    assert torch.equal(weights[..., 3:], output.attention)
    vit.train().checkpointed = True
    torch.testing.assert_close(vit(images).patches, output.patches)


def test_gradients_reach_every_weight_of_a_rotary_vit(redraw: Redraw) -> None:
    vit = make_vit(ROTARY, redraw).train()
    vit(torch.randn(2, 3, 16, 8)).patches.square().sum().backward()
    assert all(weight.grad is not None for weight in vit.parameters())


@pytest.mark.parametrize("rule", RULES)
def test_gradients_reach_every_weight(rule: Interpolation, redraw: Redraw) -> None:
    vit = make_vit(replace(EVERYTHING, interpolation=rule), redraw).train()
    output = vit(torch.randn(2, 3, 20, 12))
    (output.cls.square().sum() + output.patches.square().sum()).backward()
    lacking = [
        name
        for name, weight in vit.named_parameters()
        if weight.grad is None or not weight.grad.abs().sum() > 0
    ]
    assert not lacking


@pytest.mark.parametrize("size_px", [16, 24])
def test_bfloat16_is_near_float32(size_px: int, redraw: Redraw) -> None:
    vit = make_vit(EVERYTHING, redraw)
    images = torch.randn(2, 3, size_px, size_px)
    exact = vit(images).patches
    with torch.autocast("cpu", torch.bfloat16):
        mixed = vit(images).patches
    vit.to(torch.bfloat16)
    half = vit(images.to(torch.bfloat16)).patches
    assert half.dtype == torch.bfloat16
    for other in (mixed, half):
        assert (exact - other.float()).norm() < 0.03 * exact.norm()


def test_without_drop_path_training_is_deterministic(redraw: Redraw) -> None:
    vit = make_vit(EVERYTHING, redraw)
    images = torch.randn(2, 3, 16, 16)
    expected = vit(images).patches
    state = torch.get_rng_state()
    assert torch.equal(vit.train()(images).patches, expected)
    assert torch.equal(torch.get_rng_state(), state), "nothing is drawn"


def test_drop_path_rises_linearly_to_its_rate() -> None:
    vit = ViT(replace(CONFIG, drop_path=0.2))
    rates = [block.drop_path for block in vit.blocks if isinstance(block, Block)]
    assert rates == pytest.approx([0, 0.1, 0.2])


def test_drop_path_of_one_skips_the_last_block_in_training_only(redraw: Redraw) -> None:
    vit = make_vit(replace(CONFIG, drop_path=1.0), redraw)
    images = torch.randn(4, 3, 16, 16)
    entering, _ = vit.before_last_block(images)
    assert not torch.equal(vit(images).cls, vit.norm(entering)[:, 0])
    everything = torch.ones(4, 3, 2, dtype=torch.bool)
    everything[:, -1] = False
    entering, _ = vit.before_last_block(images, everything)
    assert torch.equal(vit(images, kept=everything).cls, vit.norm(entering)[:, 0])
    torch.manual_seed(0)
    assert not torch.equal(vit.train()(images).cls, vit.eval()(images).cls)


@pytest.mark.parametrize("rate", [0.25, 0.75])
def test_residuals_are_dropped_each_on_its_own_at_their_rate(rate: float, redraw: Redraw) -> None:
    vit = make_vit(replace(CONFIG, drop_path=rate), redraw)
    images = torch.randn(1, 3, 16, 16).expand(400, 3, 16, 16)
    torch.manual_seed(0)
    seen: list[torch.Tensor] = []
    vit.last_block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    vit.train()(images)
    spread = 4 * math.sqrt(rate * (1 - rate) / 400)
    for share in seen[0].float().mean(dim=0).tolist():
        assert abs(share - (1 - rate)) < spread
    assert abs(seen[0].all(dim=1).float().mean().item() - (1 - rate) ** 2) < spread


def test_recomputing_blocks_changes_nothing_but_memory(redraw: Redraw) -> None:
    images = torch.randn(3, 3, 16, 16)
    gradients = []
    for checkpointed in (False, True):
        vit = make_vit(replace(CONFIG, drop_path=0.5), redraw).train()
        vit.checkpointed = checkpointed
        torch.manual_seed(0)
        output = vit(images)
        (output.cls.square().sum() + output.patches.square().sum()).backward()
        gradients.append([p.grad for p in vit.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_recomputing_keeps_fewer_tensors(redraw: Redraw) -> None:
    kept = []
    for checkpointed in (False, True):
        vit = make_vit(CONFIG, redraw).train()
        vit.checkpointed = checkpointed
        sizes: list[int] = []

        def note(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            vit(torch.randn(3, 3, 16, 16))
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 5


def test_drop_path_draws_from_the_default_generator(redraw: Redraw) -> None:
    vit = make_vit(replace(CONFIG, drop_path=0.5), redraw).train()
    images = torch.randn(8, 3, 16, 16)
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(vit(images).cls)
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_initial_weights_are_those_of_dino() -> None:
    torch.manual_seed(0)
    vit = ViT(replace(EVERYTHING, dim=96, registers=8))
    for name, weight in vit.named_parameters():
        if name.endswith("gamma"):
            assert (weight == 0.1).all(), name
        elif "norm" in name:
            assert (weight == float(name.endswith("weight"))).all(), name
        elif name.endswith("bias") and "patch_embed" not in name:
            assert not weight.any(), name
        elif "patch_embed" in name:  # torch's own: uniform within 1 / sqrt(inputs)
            assert weight.abs().max() <= 48**-0.5, name
        else:
            spread = 0.02 * 5 / math.sqrt(2 * weight.numel())
            assert abs(weight.std().item() - 0.02) < spread, name


# --- positions of other sizes ---


def bicubic_weight(distance: float) -> float:
    """Keys' cubic convolution kernel with a = -0.75."""
    a, d = -0.75, abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0


def resize_by_hand(stored: Tensor, grid: tuple[int, int], factors: tuple[float, float]) -> Tensor:
    """Bicubic, not antialiased, pixel centres at halves, edges repeated; [side, side, D]."""
    side = len(stored)
    matrices = []
    for length, factor in zip(grid, factors, strict=True):
        matrix = torch.zeros(length, side)
        for i in range(length):
            at = (i + 0.5) / factor - 0.5
            for j in range(math.floor(at) - 1, math.floor(at) + 3):
                matrix[i, min(max(j, 0), side - 1)] += bicubic_weight(at - j)
        matrices.append(matrix)
    return torch.einsum("hi,wj,ijd->hwd", *matrices, stored)


GRIDS = [(4, 4), (5, 5), (2, 3), (8, 3), (11, 7), (1, 1), (6, 6), (12, 2)]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("side", [3, 6])
def test_positions_by_dinos_rule(grid: tuple[int, int], side: int) -> None:
    stored = torch.randn(1, 1 + side**2, 5)
    positions = resize_positions(stored, grid, rule="dino")
    factors = ((grid[0] + 0.1) / side, (grid[1] + 0.1) / side)
    by_hand = resize_by_hand(stored[0, 1:].reshape(side, side, 5), grid, factors)
    if grid == (side, side):
        by_hand = stored[0, 1:].reshape(side, side, 5)
    assert torch.equal(positions[:, 0], stored[:, 0])
    torch.testing.assert_close(positions[0, 1:], by_hand.flatten(0, 1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("side", [3, 6])
def test_positions_by_exact_size(grid: tuple[int, int], side: int) -> None:
    stored = torch.randn(1, 1 + side**2, 5)
    positions = resize_positions(stored, grid, rule="size")
    by_hand = resize_by_hand(
        stored[0, 1:].reshape(side, side, 5), grid, (grid[0] / side, grid[1] / side)
    )
    torch.testing.assert_close(positions[0, 1:], by_hand.flatten(0, 1), atol=1e-5, rtol=0)


def test_dinos_rule_never_loses_a_row() -> None:
    for side in (14, 28, 37):
        stored = torch.zeros(1, 1 + side**2, 1)
        for length in range(1, 130):
            assert resize_positions(stored, (length, 1), rule="dino").shape[1] == 1 + length


def test_antialiasing_averages_when_the_grid_shrinks() -> None:
    """A checkerboard of +-1 has mean 0: antialiased it fades, else single cells are picked."""
    side = 12
    board = (torch.arange(side)[:, None] + torch.arange(side)) % 2 * 2.0 - 1
    stored = torch.cat([torch.zeros(1), board.flatten()])[None, :, None]
    faded = resize_positions(stored, (4, 4), rule="size-antialias")[0, 1:]
    picked = resize_positions(stored, (4, 4), rule="size")[0, 1:]
    assert faded.abs().max() < 0.2
    assert picked.abs().min() > 0.9


@pytest.mark.parametrize("rule", RULES)
def test_at_the_stored_size_positions_are_as_stored(rule: Interpolation) -> None:
    stored = torch.randn(1, 17, 5)
    assert torch.equal(resize_positions(stored, (4, 4), rule=rule), stored)


def test_the_rule_of_the_configuration_is_the_one_used(redraw: Redraw) -> None:
    images = torch.randn(1, 3, 24, 8)
    outputs = [
        make_vit(replace(CONFIG, interpolation=rule), redraw)(images).patches for rule in RULES
    ]
    for i in range(3):
        assert not torch.allclose(outputs[i], outputs[i - 1], atol=1e-4)


# --- wrong images ---


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 18, 16), "of the patch of 4 px, got 18 x 16; resize or crop to 16 x 16"),
        ((1, 3, 16, 2), "of the patch of 4 px, got 16 x 2; resize or crop to 16 x 4"),
        ((1, 3, 0, 16), "got 0 x 16; resize or crop to 4 x 16"),
        ((1, 1, 16, 16), r"must have shape \(B, 3, H, W\), got \(1, 1, 16, 16\)"),
        ((3, 16, 16), r"must have shape \(B, 3, H, W\), got \(3, 16, 16\)"),
    ],
)
def test_images_of_wrong_shape_are_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        ViT(CONFIG)(torch.zeros(shape))


@pytest.mark.bad_input
def test_images_of_bytes_are_refused() -> None:
    with pytest.raises(RangeError, match=r"must be normalised floating-point .*, got torch\.uint8"):
        ViT(CONFIG)(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
