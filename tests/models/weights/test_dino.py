"""DINO's backbones, and bare dicts like them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from patchwise.configs.backbone import ViTConfig
from patchwise.errors import WeightsError
from patchwise.models.vit import ViT
from patchwise.models.weights.dino import is_dino, read_dino
from patchwise.models.weights.files import WeightsFile
from tests.models.weights.published import FAMILIES

MakeViT = Callable[[ViTConfig], ViT]
TINY = ViTConfig(dim=192, depth=1, heads=3, patch_px=4, image_px=16)
SCALED = replace(TINY, layer_scale=1.0)


def read(weights: dict[str, Tensor]) -> ViT:
    contents: dict[str, object] = {**weights}
    return read_dino(WeightsFile(Path("x.pth"), contents)).vit


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        SCALED,
        replace(TINY, patch_px=14, image_px=42),
        replace(TINY, depth=11, patch_px=8, image_px=8),
        replace(TINY, dim=256, heads=4, patch_px=16, image_px=224, mlp_ratio=683 / 256),
    ],
)
def test_the_architecture_is_read_off_the_shapes(config: ViTConfig, make_vit: MakeViT) -> None:
    vit = make_vit(config)
    loaded = read(vit.state_dict())
    assert loaded.config == config
    images = torch.randn(1, 3, 2 * config.patch_px, 5 * config.patch_px)
    assert torch.equal(loaded(images).cls, vit(images).cls)
    assert torch.equal(loaded(images).patches, vit(images).patches)


@pytest.mark.parametrize("published", [(384, 6, 16), (384, 6, 8), (768, 12, 16), (768, 12, 8)])
def test_dinos_backbones_have_their_published_shapes(
    published: tuple[int, int, int], make_vit: MakeViT
) -> None:
    dim, heads, patch_px = published
    config = ViTConfig(dim=dim, depth=1, heads=heads, patch_px=patch_px, image_px=224)
    loaded = read(make_vit(config).state_dict())
    assert loaded.config == config
    assert loaded.config.interpolation == "dino"
    assert loaded.pos_embed.shape[1] == 1 + (224 // patch_px) ** 2


@pytest.mark.bad_input
def test_a_block_out_of_line_is_named(make_vit: MakeViT) -> None:
    weights = make_vit(replace(TINY, depth=2)).state_dict()
    far = {name.replace("blocks.1.", "blocks.999999999."): w for name, w in weights.items()}
    message = r"missing 'blocks.1.norm1.weight', .*left over 'blocks.999999999.norm1.weight', "
    with pytest.raises(WeightsError, match=message):
        read(far)


@pytest.mark.bad_input
@pytest.mark.parametrize("prefix", ["module.", "backbone.", "module.backbone.", "teacher.", "x"])
def test_prefixed_names_are_another_format(prefix: str, make_vit: MakeViT) -> None:
    weights = {f"{prefix}{name}": weight for name, weight in make_vit(TINY).state_dict().items()}
    with pytest.raises(WeightsError, match=f"must have no prefix .*, got '{prefix}' before 'patch"):
        read(weights)


@pytest.mark.bad_input
def test_wrapped_weights_are_another_format(make_vit: MakeViT) -> None:
    contents: dict[object, object] = {"state_dict": make_vit(TINY).state_dict(), "epoch": 1}
    with pytest.raises(WeightsError, match="got other things under 'state_dict', 'epoch'"):
        read_dino(WeightsFile(Path("x.pth"), contents))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "extra", ["mask_token", "head.weight", "reg_token", "register_tokens", "blocks.0.mlp.w3.bias"]
)
def test_weights_of_other_models_are_named(extra: str, make_vit: MakeViT) -> None:
    weights = make_vit(TINY).state_dict()
    with pytest.raises(WeightsError, match=f"got left over '{extra}'$"):
        read({**weights, extra: torch.zeros(1)})


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("patch_embed.proj.weight", (192, 48), r"\(D, 3, patch, patch\) .*, got \(192, 48\)"),
        ("patch_embed.proj.weight", (192, 1, 4, 4), r"got \(192, 1, 4, 4\)"),
        ("patch_embed.proj.weight", (192, 3, 4, 8), r"got \(192, 3, 4, 8\)"),
        ("patch_embed.proj.weight", (200, 3, 4, 4), "must be a multiple of 64.*, got 200; the nu"),
        ("patch_embed.proj.weight", (128, 3, 4, 4), "at least 192 and at most 1024 .*, got 128"),
        ("patch_embed.proj.weight", (1280, 3, 4, 4), "at most 1024 .*, got 1280; the number of"),
        ("patch_embed.proj.weight", (192, 3, 0, 0), "a possible ViT .*, got ViTConfig: patch_px"),
        ("pos_embed", (1, 16, 192), r"shape \(1, 1 \+ side \* side, D\) .*, got \(1, 16, 192\)"),
        ("pos_embed", (1, 1, 192), r"got \(1, 1, 192\)"),
        ("pos_embed", (17, 192), r"got \(17, 192\)"),
        ("blocks.0.mlp.fc1.weight", (), "'blocks.0.mlp.fc1.weight"),
        ("blocks.0.mlp.fc1.weight", (0, 192), "mlp_ratio must be positive"),
    ],
)
def test_impossible_shapes_are_refused(
    name: str, shape: tuple[int, ...], message: str, make_vit: MakeViT
) -> None:
    weights = make_vit(TINY).state_dict()
    with pytest.raises(WeightsError, match=message):
        read({**weights, name: torch.zeros(shape)})


@pytest.mark.bad_input
def test_a_dict_of_something_else_is_refused() -> None:
    message = (
        "must tell its architecture .*, got missing 'patch_embed.proj.weight', 'pos_embed' among "
        "'conv1.weight'"
    )
    with pytest.raises(WeightsError, match=message):
        read({"conv1.weight": torch.zeros(2)})


@pytest.mark.bad_input
def test_no_blocks_are_no_vit(make_vit: MakeViT) -> None:
    weights = make_vit(TINY).state_dict()
    with pytest.raises(WeightsError, match="depth must be a whole number of at least 1, got 0"):
        read({name: weight for name, weight in weights.items() if "blocks" not in name})


FULL = next(family for family in FAMILIES if family.name == "DINO, full")


def is_the_vit_of(loaded: ViT, weights: dict[str, Tensor], prefix: str) -> bool:
    return all(torch.equal(t, weights[prefix + n]) for n, t in loaded.state_dict().items())


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_teacher_is_taken(prefix: str) -> None:
    contents = FULL.contents()
    teacher = {f"{prefix}{name}": weight for name, weight in contents["teacher"].items()}
    file = WeightsFile(Path("x.pth"), {**contents, "teacher": teacher})
    assert is_dino(file)
    loaded = read_dino(file)
    assert is_the_vit_of(loaded.vit, teacher, f"{prefix}backbone.")
    assert loaded.layout == "a checkpoint of DINO's training: teacher"


@pytest.mark.parametrize("teacher", [None, {}, {"head.mlp.0.weight": torch.ones(2)}])
def test_the_student_is_taken_where_there_is_no_teacher(teacher: object) -> None:
    contents = {**FULL.contents(), "teacher": teacher}
    loaded = read_dino(WeightsFile(Path("x.pth"), contents))
    assert is_the_vit_of(loaded.vit, contents["student"], "module.backbone.")
    assert loaded.layout.endswith(": student")


@pytest.mark.parametrize(
    "name",
    [
        "mlp.0.weight",
        "mlp.1.running_mean",
        "mlp.1.num_batches_tracked",
        "mlp.weight",
        "mlp.bias",
        "last_layer.weight",
        "last_layer.parametrizations.weight.original0",
        "last_layer.parametrizations.weight.original1",
    ],
)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_heads_of_any_kind_are_left_out(name: str, prefix: str) -> None:
    teacher = {f"{prefix}{n}": weight for n, weight in FULL.mapped.items()}
    extra = f"{prefix}head.{name}"
    file = WeightsFile(Path("x.pth"), {"teacher": {**teacher, extra: torch.ones(2)}})
    assert read_dino(file).left_out == (extra,)


@pytest.mark.bad_input
def test_a_teacher_with_more_than_tensors_is_refused() -> None:
    file = WeightsFile(Path("x.pth"), {"teacher": {**FULL.mapped, "step": 3}})
    with pytest.raises(WeightsError, match=r"training: teacher\), got other things under 'step'"):
        read_dino(file)


def test_other_models_are_not_dinos() -> None:
    others: list[dict[object, object]] = [
        {"layer1.0.conv1.weight": 1},
        {"teacher": {"backbone.layer1.0.conv1.weight": 1}},
        {"teacher": [1], "student": None},
        {"net.blocks.0.norm1.weight": 1},
    ]
    assert not any(is_dino(WeightsFile(Path("x.pth"), contents)) for contents in others)
