"""CoTAP's checkpoints, built from what is known of their names."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from patchwise.configs.backbone import ViTConfig
from patchwise.errors import WeightsError
from patchwise.models.filtered_vit import FilteredViT
from patchwise.models.vit import ViT, resize_positions
from patchwise.models.weights.cotap import COTAP, is_cotap, read_cotap
from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.load import LAYOUTS

Redraw = Callable[[nn.Module], None]
CONFIG = ViTConfig(dim=192, depth=2, heads=3, patch_px=4, image_px=16, mlp_ratio=0.5)
PROTOTYPES = 3
STUDENT, TEACHER = "net.model.", "net_teacher.model."


def noise(*shape: int) -> Tensor:
    """Return a tensor that would change features if it got into them."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


class Theirs(nn.Module):
    """The names and shapes of their model, as a list of weights."""

    def __init__(self) -> None:
        super().__init__()
        self.vit = ViT(CONFIG)
        self.kernel_token = nn.Parameter(torch.zeros(PROTOTYPES, CONFIG.dim, 3, 3))
        self.norms = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm_in": nn.LayerNorm(CONFIG.dim),
                    "norm_out_patch": nn.LayerNorm(2 * CONFIG.dim),
                    "norm_out_cls": nn.LayerNorm(2 * CONFIG.dim),
                }
            )
            for _ in range(CONFIG.depth)
        )

    def named(self) -> dict[str, Tensor]:
        norms = {f"blocks.{name}": weight for name, weight in self.norms.state_dict().items()}
        return {**self.vit.state_dict(), "kernel": self.kernel_token.detach(), **norms}


@pytest.fixture
def student(redraw: Redraw) -> dict[str, Tensor]:
    model = Theirs()
    redraw(model)
    return model.named()


def heads() -> dict[str, Tensor]:
    layers = [f"projection_head.{i}.{k}" for i in (0, 2, 4) for k in ("weight", "bias")]
    names = [*layers, "last_layer.weight_g", "last_layer.weight_v"]
    return {f"projection_heads.{head}.{name}": noise(2, 3) for head in (0, 1) for name in names}


def contents_of(
    student: Mapping[str, Tensor], head_prefixes: tuple[str, str] = (STUDENT, TEACHER)
) -> dict[str, Tensor]:
    """Return all the tensors of a file, the teacher's others than the student's."""
    mine = {STUDENT + name: weight for name, weight in student.items()}
    teachers = {TEACHER + name: noise(*weight.shape) for name, weight in student.items()}
    both = {prefix + name: tensor for prefix in head_prefixes for name, tensor in heads().items()}
    return {**mine, **teachers, **both}


def file_of(tensors: Mapping[str, Tensor]) -> WeightsFile:
    around = {"epoch": 3, "global_step": 9, "pytorch-lightning_version": "1.9", "loops": {}}
    return WeightsFile(Path("dino+cotap.ckpt"), {**around, "state_dict": tensors})


def features_of(student: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """CLS and patches by the published names, step by step, in plain functions."""
    dim, head_dim = CONFIG.dim, CONFIG.dim // CONFIG.heads

    def norm(tokens: Tensor, name: str) -> Tensor:
        weight, bias = student[f"{name}.weight"], student[f"{name}.bias"]
        return F.layer_norm(tokens, (len(weight),), weight, bias, 1e-6)

    def linear(tokens: Tensor, name: str) -> Tensor:
        return F.linear(tokens, student[f"{name}.weight"], student[f"{name}.bias"])

    def split_heads(tokens: Tensor) -> Tensor:
        return tokens.reshape(*tokens.shape[:-1], CONFIG.heads, head_dim).transpose(-3, -2)

    def mlp(tokens: Tensor, block: str) -> Tensor:
        hidden = F.gelu(linear(norm(tokens, f"{block}.norm2"), f"{block}.mlp.fc1"))
        return tokens + linear(hidden, f"{block}.mlp.fc2")

    maps = F.conv2d(
        images, student["patch_embed.proj.weight"], student["patch_embed.proj.bias"], stride=4
    )
    grid = (maps.shape[-2], maps.shape[-1])
    cls = student["cls_token"].expand(len(images), -1, -1)
    tokens = torch.cat([cls, maps.flatten(2).mT], dim=1)
    tokens = tokens + resize_positions(student["pos_embed"], grid, rule="dino")
    for i in range(CONFIG.depth):
        block = f"blocks.{i}"
        parts = linear(norm(tokens, f"{block}.norm1"), f"{block}.attn.qkv").chunk(3, dim=-1)
        query, key, value = (split_heads(part) for part in parts)
        weights = (query @ key.mT / head_dim**0.5).softmax(dim=-1)
        mixed = (weights @ value).transpose(1, 2).flatten(2)
        tokens = mlp(tokens + linear(mixed, f"{block}.attn.proj"), block)

    cells = norm(student["kernel"].permute(0, 2, 3, 1), f"{block}.norm_in")  # [M, 3, 3, D]
    _, key, value = linear(cells, f"{block}.attn.qkv").chunk(3, dim=-1)
    query = linear(norm(tokens, f"{block}.norm1"), f"{block}.attn.qkv")[..., :dim]
    pieces = []
    for head in range(CONFIG.heads):
        own = slice(head * head_dim, (head + 1) * head_dim)
        map_of_queries = query[:, 1:, own].mT.reshape(len(images), head_dim, *grid)
        scores = F.conv2d(map_of_queries, key[..., own].permute(0, 3, 1, 2), padding=1)
        of_cls = query[:, :1, own] @ key[..., own].mean(dim=(1, 2)).T
        scores = torch.cat([of_cls, scores.flatten(2).mT], dim=1)
        weights = (scores / PROTOTYPES**0.5).softmax(dim=-1)
        pieces.append(weights @ value[..., own].mean(dim=(1, 2)))
    mixed = torch.cat(pieces, dim=-1)
    filtered = mlp(tokens + linear(mixed, f"{block}.attn.proj"), block)
    both = torch.cat([tokens, filtered], dim=-1)
    found = [
        norm(both[:, :1], f"{block}.norm_out_cls"),
        norm(both[:, 1:], f"{block}.norm_out_patch"),
    ]
    return torch.cat(found, dim=1)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (24, 24), (12, 20)])
def test_features_are_those_of_their_student(
    height: int, width: int, student: dict[str, Tensor]
) -> None:
    file = file_of(contents_of(student))
    assert is_cotap(file)
    backbone = read_cotap(file).backbone
    assert isinstance(backbone, FilteredViT)
    assert not backbone.training
    assert (backbone.dim, backbone.config.prototypes) == (384, PROTOTYPES)
    assert backbone.config.vit == CONFIG
    images = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        output = backbone(images)
    found = torch.cat([output.cls[:, None], output.patches], dim=1)
    torch.testing.assert_close(found, features_of(student, images), rtol=0, atol=1e-5)


def test_the_plain_vit_within_has_their_final_norm(student: dict[str, Tensor]) -> None:
    backbone = read_cotap(file_of(contents_of(student))).backbone
    assert isinstance(backbone, FilteredViT)
    for name, weight in backbone.vit.state_dict().items():
        assert torch.equal(weight, student[name]), name


@pytest.mark.parametrize(
    ("head_prefixes", "heads_left_out"),
    [
        ((STUDENT, TEACHER), ["net.model.projection_heads.*"]),
        (("net.", "net_teacher."), ["net.projection_heads.*"]),
        (("", "net_teacher."), ["projection_heads.*"]),
    ],
)
def test_what_is_left_out_is_told(
    head_prefixes: tuple[str, str], heads_left_out: list[str], student: dict[str, Tensor]
) -> None:
    left_out = read_cotap(file_of(contents_of(student, head_prefixes))).left_out
    norms = [f"net.model.blocks.0.norm_{name}.*" for name in ("in", "out_patch", "out_cls")]
    assert sorted(left_out) == sorted(["net_teacher.*", *norms, *heads_left_out])


def test_a_file_without_teacher_and_heads_will_do(student: dict[str, Tensor]) -> None:
    alone = {STUDENT + name: weight for name, weight in student.items()}
    assert isinstance(read_cotap(file_of(alone)).backbone, FilteredViT)


def test_it_is_one_of_the_layouts(student: dict[str, Tensor]) -> None:
    file = file_of(contents_of(student))
    first = next(layout for layout in LAYOUTS.values() if layout.recognises(file))
    assert first is COTAP


def test_other_files_are_not_taken_for_it(student: dict[str, Tensor]) -> None:
    for contents in (
        {},
        {"state_dict": 3},
        {"state_dict": student},
        {"state_dict": {f"model.{n}": w for n, w in student.items()}},
        contents_of(student),
        {"state_dict": {1: 2}},
    ):
        assert not is_cotap(WeightsFile(Path("x.ckpt"), contents))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "extra",
    [
        "net.model.mask_token",
        "net_teacher.model.mask_token",
        "net.model.blocks.0.norm_on.weight",
        "net.model.projection_heads.2.last_layer.weight_g",
        "net.projection_heads.0.last_layer.weight",
        "queue",
        "netXmodel.kernel",
        "netXmodel.blocks.0.norm_in.weight",
    ],
)
def test_what_is_not_known_is_named(extra: str, student: dict[str, Tensor]) -> None:
    with pytest.raises(WeightsError, match=f"left over '{extra}'$"):
        read_cotap(file_of({**contents_of(student), extra: noise(2)}))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("kernel", (), r"'net.model.kernel \(\) for \(1, 192, 3, 3\)'"),
        ("kernel", (0, 192, 3, 3), r"'net.model.kernel \(0, 192, 3, 3\) for"),
        ("kernel", (3, 192, 9), r"'net.model.kernel \(3, 192, 9\) for"),
        ("kernel", (3, 192, 5, 5), r"'net.model.kernel \(3, 192, 5, 5\) for \(3, 192, 3, 3\)'"),
        ("blocks.1.norm_out_cls.bias", (192,), r"norm_out_cls.bias \(192,\) for \(384,\)'"),
    ],
)
def test_impossible_shapes_are_refused(
    name: str, shape: tuple[int, ...], message: str, student: dict[str, Tensor]
) -> None:
    with pytest.raises(WeightsError, match=message):
        read_cotap(file_of(contents_of({**student, name: torch.zeros(shape)})))


@pytest.mark.bad_input
def test_a_file_of_another_kind_is_refused(student: dict[str, Tensor]) -> None:
    with pytest.raises(WeightsError, match=r"must hold weights under 'state_dict' .*, got 'model'"):
        read_cotap(WeightsFile(Path("x.ckpt"), {"model": {}}))
    with pytest.raises(WeightsError, match=r"tell its architecture .* missing 'net.model.patch"):
        read_cotap(WeightsFile(Path("x.ckpt"), {"state_dict": student}))
