"""The floor of PW-Self's step: its matrix products and its backbones, and nothing else.

Forward and backward of the student's backbone, forward of the teacher's; the products of the head's
MLP and of the prototypes, in the shapes that matched tokens have. No softmax, no GELU in the head,
no optimiser, no moving average: a step cannot be faster than this without fewer products.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from benchmarks.reference import match_views
from benchmarks.setting import Act, Setting
from patchwise.augment.multicrop import GLOBAL_VIEWS, MultiCropViews
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
    student_vit, teacher_vit = ViT(config.backbone), ViT(config.backbone).requires_grad_(False)
    half = setting.precision == "bf16"
    dtype = torch.bfloat16 if half else torch.float32
    method = config.method
    widths = (
        config.backbone.dim, method.head_hidden_dim, method.head_hidden_dim, method.bottleneck_dim
    )  # fmt: skip
    weights = [torch.randn(b, a, dtype=dtype) for a, b in pairwise(widths)]
    prototypes = torch.randn(method.prototypes, method.bottleneck_dim, dtype=dtype)
    gradient = torch.empty_like(prototypes)

    def run() -> None:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            teacher_vit(views.pixels[0])
        with torch.no_grad():
            forward_mlp(torch.ones(rows.teacher_all, widths[0], dtype=dtype), weights)
            matched = torch.ones(rows.teacher, widths[-1], dtype=dtype)
            multiply(matched, prototypes, gradient, teacher)
        for pixels, count in zip(views.pixels, rows.student, strict=True):
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                output = student_vit(pixels)
            with torch.no_grad():
                layers = forward_mlp(torch.ones(count, widths[0], dtype=dtype), weights)
                multiply(layers[-1], prototypes, gradient, student)
                backward_mlp(layers, weights)
            found = [output.cls, output.patches]
            torch.autograd.backward(found, [torch.ones_like(part) for part in found])
        student_vit.zero_grad(set_to_none=True)

    return run


def forward_mlp(tokens: Tensor, weights: list[Tensor]) -> list[Tensor]:
    """Return what enters each layer, and what leaves the last."""
    layers = [tokens]
    for weight in weights:
        layers.append(torch.mm(layers[-1], weight.mT))
    return layers


def backward_mlp(layers: list[Tensor], weights: list[Tensor]) -> None:
    """Multiply as the gradients of weights and of inputs are; the values mean nothing."""
    gradient = layers[-1]
    for entering, weight in zip(reversed(layers[:-1]), reversed(weights), strict=True):
        torch.mm(gradient.mT, entering)
        gradient = torch.mm(gradient, weight)


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
