"""The floor of PW-Self's step: backbones, heads and the products of prototypes, nothing else.

Forward and backward of the student's backbone and of its head's MLP, forward of the teacher's; the
products of the prototypes, in the shapes that matched tokens have. No softmax over prototypes, no
matching, no optimiser, no moving average: a step cannot be faster than this with these models.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.reference import match_views
from benchmarks.setting import Act, Setting
from patchwise.augment.multicrop import GLOBAL_VIEWS, MultiCropViews
from patchwise.configs.methods import DistillationConfig
from patchwise.configs.run import RunConfig
from patchwise.models.heads import ProjectionHead
from patchwise.models.vit import ViT

BLOCK = 2048  # prototypes of one product


@dataclass(frozen=True)
class Products:
    """How often rows and prototypes are multiplied, of each kind; rows x C x K numbers each."""

    scores: int = 2  # rows times prototypes: for the log-sum-exp, and again in the backward
    to_rows: int = 1  # K values a row times prototypes: gradient of a row, or expected prototype
    to_prototypes: int = 1  # K values a row, transposed, times rows: gradient of the prototypes


@dataclass(frozen=True)
class Rows:
    """Tokens that take part in a step."""

    student: tuple[int, ...]  # matched, of each resolution
    teacher: int  # matched
    teacher_all: int  # all of the global views: the centre is a mean over them


def count_rows(views: MultiCropViews) -> Rows:
    """Count the tokens that are in at least one pair."""
    teacher: set[tuple[int, int, int]] = set()
    student: set[tuple[int, int, int]] = set()
    for q in range(GLOBAL_VIEWS):
        for v in range(len(views.crops)):
            if v == q:
                continue
            for image, (tokens_q, tokens_v) in enumerate(match_views(views, q, v)):
                teacher |= {(q, image, token) for token in tokens_q}
                student |= {(v, image, token) for token in tokens_v}
    globals_ = sum(view < GLOBAL_VIEWS for view, _, _ in student)
    parts = (globals_, len(student) - globals_)[: len(views.pixels)]
    rows, columns = views.grids[0]
    return Rows(parts, len(teacher), GLOBAL_VIEWS * views.num_images * (1 + rows * columns))


def build_floor(
    setting: Setting, *, student: Products = Products(), teacher: Products = Products()
) -> Act:
    """Return the floor of a step.

    Args:
        setting: Sizes and views.
        student: Products of the student's matched rows.
        teacher: Products of the teacher's; the expected prototype and the prototypes' gradient
            come from its side of the loss.
    """
    config, views = setting.config("pwself"), setting.views()
    rows = count_rows(views)
    half = setting.precision == "bf16"
    dtype = torch.bfloat16 if half else torch.float32
    student_vit, teacher_vit = ViT(config.backbone), ViT(config.backbone).requires_grad_(False)
    heads = [make_head(config), make_head(config).requires_grad_(False)]
    prototypes = heads[0].prototypes.detach().to(dtype)
    gradient = torch.empty_like(prototypes)

    def run() -> None:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            teacher_vit(views.pixels[0])
            heads[1].bottleneck(torch.ones(rows.teacher_all, config.backbone.dim))
        with torch.no_grad():
            matched = torch.ones(rows.teacher, prototypes.shape[1], dtype=dtype)
            multiply(matched, prototypes, gradient, teacher)
        for pixels, count in zip(views.pixels, rows.student, strict=True):
            tokens = torch.ones(count, config.backbone.dim, requires_grad=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                output = student_vit(pixels)
                answers = heads[0].bottleneck(tokens)
            with torch.no_grad():
                multiply(answers.detach().to(dtype), prototypes, gradient, student)
            found = [output.cls, output.patches, answers]
            torch.autograd.backward(found, [torch.ones_like(part) for part in found])
        student_vit.zero_grad(set_to_none=True)
        heads[0].zero_grad(set_to_none=True)

    return run


def make_head(config: RunConfig) -> ProjectionHead:
    """Return the head of a run."""
    method = config.method
    assert isinstance(method, DistillationConfig), "it was asked for"
    return ProjectionHead(
        config.backbone.dim,
        hidden_dim=method.head_hidden_dim,
        bottleneck_dim=method.bottleneck_dim,
        prototypes=method.prototypes,
    )


def multiply(rows: Tensor, prototypes: Tensor, gradient: Tensor, products: Products) -> None:
    """Multiply rows [R, C] and prototypes [K, C], some of the prototypes at a time."""
    buffer = rows.new_empty(len(rows) * min(BLOCK, len(prototypes)))
    expected = torch.zeros_like(rows)
    for start in range(0, len(prototypes), BLOCK):
        some = prototypes[start : start + BLOCK]
        values = buffer[: len(rows) * len(some)].view(len(rows), len(some))
        for _ in range(products.scores):
            torch.mm(rows, some.mT, out=values)
        for _ in range(products.to_rows):
            torch.addmm(expected, values, some, out=expected)
        for _ in range(products.to_prototypes):
            torch.mm(values.mT, rows, out=gradient[start : start + BLOCK])
