"""PW-Self against its definition in plain loops."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from patchwise.augment.multicrop import MultiCropViews
from patchwise.configs.methods import Matching, PWSelfConfig
from patchwise.errors import RangeError
from patchwise.methods.pwself import HeadedBackbone, PWSelf
from patchwise.ops.geometry import MATCHERS
from tests.small_runs import (
    PWSELF_CONFIG,
    carries_of,
    make_step,
    scene_batch,
    small_vit,
    step_at,
    total_loss,
)


def make_method(config: PWSelfConfig = PWSELF_CONFIG) -> PWSelf:
    """A method whose teacher, student and centre all differ."""
    backbone = small_vit()
    torch.manual_seed(1)
    method = PWSelf(backbone, config)
    with torch.no_grad():
        for parameter in method.teacher.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
        method.centre.normal_(std=0.05)
    return method


def all_scores(encoder: HeadedBackbone, pixels: Tensor) -> Tensor:
    """Scores of CLS and all patches by the head's one-call form [VB, 1 + N, K]."""
    output = encoder.backbone(pixels)
    scores: Tensor = encoder.head(torch.cat([output.cls[:, None], output.patches], dim=1))
    return scores


def views_of(views: MultiCropViews, encoder: HeadedBackbone) -> list[Tensor]:
    """Scores of each view [B, 1 + N, K]."""
    return [
        part
        for pixels in views.pixels
        for part in torch.split(all_scores(encoder, pixels), views.num_images)
    ]


def cross_entropy(teacher: Tensor, student: Tensor, centre: Tensor) -> Tensor:
    target = ((teacher - centre) / 0.04).softmax(dim=-1)
    return -(target * (student / 0.1).log_softmax(dim=-1)).sum()


def slow_loss(method: PWSelf, views: MultiCropViews) -> float:
    """Spec, section 3, one pair of views, one image, one token at a time."""
    config = method.config
    teacher = views_of(views, method.teacher.module)
    student = views_of(views, method.student)
    values = []
    for q in range(2):
        for v in range(len(student)):
            if v == q:
                continue
            a, b = views.crops[q], views.crops[v]
            for image in range(views.num_images):
                one = slice(image, image + 1)
                tokens = [(0, 0)]
                if config.matching != "none":
                    matches = MATCHERS[config.matching](
                        a.boxes[one], a.flip[one], views.grids[q],
                        b.boxes[one], b.flip[one], views.grids[v],
                    )  # fmt: skip
                    both = zip(matches.index_a[0], matches.index_b[0], strict=True)
                    tokens += [
                        (int(i), int(j))
                        for (i, j), ok in zip(both, matches.valid[0], strict=True)
                        if ok
                    ]
                costs = [
                    float(
                        cross_entropy(teacher[q][image, i], student[v][image, j], method.centre[i])
                    )
                    for i, j in tokens
                ]
                if config.cls_weight is None or len(costs) == 1:
                    values.append(sum(costs) / len(costs))
                else:
                    patches = sum(costs[1:]) / (len(costs) - 1)
                    values.append(config.cls_weight * costs[0] + (1 - config.cls_weight) * patches)
    return sum(values) / len(values)


@pytest.mark.parametrize("cls_weight", [None, 0.0, 0.8, 1.0])
@pytest.mark.parametrize("matching", ["thinned", "nearest", "none"])
def test_the_loss_is_the_definition(cls_weight: float | None, matching: Matching) -> None:
    config = replace(PWSELF_CONFIG, cls_weight=cls_weight, matching=matching)
    method = make_method(config)
    batch = scene_batch(0, 1, 2)
    with torch.no_grad():
        expected = slow_loss(method, method.make_views(batch, step_at()))
    assert total_loss(method, batch, step_at()) == pytest.approx(expected, rel=1e-5)


def test_without_local_views_there_is_one_loss() -> None:
    config = replace(PWSELF_CONFIG, views=replace(PWSELF_CONFIG.views, local_count=0))
    method = make_method(config)
    losses = make_step(method, scene_batch(0, 1), step_at())
    assert len(losses) == 1
    with torch.no_grad():
        expected = slow_loss(method, method.make_views(scene_batch(0, 1), step_at()))
    assert float(losses[0].total.detach()) == pytest.approx(expected, rel=1e-5)


def test_locals_as_large_as_globals_are_kept_apart() -> None:
    config = replace(
        PWSELF_CONFIG, views=replace(PWSELF_CONFIG.views, local_px=PWSELF_CONFIG.views.global_px)
    )
    method = make_method(config)
    with torch.no_grad():
        expected = slow_loss(method, method.make_views(scene_batch(0, 1), step_at()))
    assert total_loss(method, scene_batch(0, 1), step_at()) == pytest.approx(expected, rel=1e-5)


def test_the_centre_is_the_moving_mean_of_all_teacher_tokens_by_position() -> None:
    method = make_method()
    batch = scene_batch(0, 1, 2)
    with torch.no_grad():
        views = method.make_views(batch, step_at())
        mean = all_scores(method.teacher.module, views.pixels[0]).mean(dim=0)
    expected = 0.9 * method.centre + 0.1 * mean
    carries = carries_of(make_step(method, batch, step_at()))
    method.after_step(carries, step_at())
    torch.testing.assert_close(method.centre, expected, rtol=1e-5, atol=1e-6)


def test_the_centre_of_accumulated_parts_is_that_of_the_whole() -> None:
    whole, parts = make_method(), make_method()
    batch = carries_of(make_step(whole, scene_batch(0, 1, 2, 3), step_at()))
    halves = [
        carry
        for ids in ((0, 1), (2, 3))
        for carry in carries_of(make_step(parts, scene_batch(*ids), step_at()))
    ]
    whole.after_step(batch, step_at())
    parts.after_step(halves, step_at())
    torch.testing.assert_close(whole.centre, parts.centre, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("index", "momentum"), [(0, 0.996), (50, 0.998), (100, 1.0)])
def test_the_teacher_follows_by_the_cosine_schedule(index: int, momentum: float) -> None:
    method = make_method()
    before = [p.clone() for p in method.teacher.parameters()]
    carries = carries_of(make_step(method, scene_batch(0), step_at()))
    method.after_step(carries, step_at(index))
    for old, student, new in zip(
        before, method.student.parameters(), method.teacher.parameters(), strict=True
    ):
        expected = momentum * old + (1 - momentum) * student.detach()
        torch.testing.assert_close(new, expected, rtol=1e-5, atol=1e-6)


def test_the_teachers_temperature_warms_up() -> None:
    config = replace(
        PWSELF_CONFIG,
        warmup_teacher_temperature=0.04,
        teacher_temperature=0.4,
        teacher_warmup_epochs=1.0,
    )
    method = make_method(config)
    constant = make_method(replace(PWSELF_CONFIG, teacher_temperature=0.4))
    batch = scene_batch(0, 1)
    assert total_loss(method, batch, step_at(5)) != total_loss(constant, batch, step_at(5))
    assert total_loss(method, batch, step_at(10)) == total_loss(constant, batch, step_at(10))


def test_patch_colour_changes_pixels_and_nothing_else() -> None:
    batch = scene_batch(0, 1)
    with_colour = make_method().make_views(batch, step_at())
    without = make_method(replace(PWSELF_CONFIG, recolour_patches=False)).make_views(
        batch, step_at()
    )
    assert not torch.equal(with_colour.pixels[0], without.pixels[0])
    for a, b in zip(with_colour.crops, without.crops, strict=True):
        assert torch.equal(a.boxes, b.boxes)
        assert torch.equal(a.flip, b.flip)


def test_the_prototypes_stand_still_at_first() -> None:
    config = replace(PWSELF_CONFIG, frozen_prototype_epochs=1.0)
    frozen = [g for g in make_method(config).parameter_groups() if g.frozen_epochs > 0]
    assert [list(group.parameters) for group in frozen] == [["head.prototypes"]]


def test_scores_are_cosines() -> None:
    method = make_method()
    head = method.student.head
    tokens = torch.randn(3, 32)
    expected = F.normalize(head.mlp(tokens), dim=-1) @ F.normalize(head.prototypes, dim=-1).T
    torch.testing.assert_close(head(tokens), expected)
    torch.testing.assert_close(head.bottleneck(tokens).norm(dim=-1), torch.ones(3))


@pytest.mark.bad_input
def test_a_cls_weight_above_one_is_named() -> None:
    with pytest.raises(RangeError, match=r"cls_weight must lie in \[0.0, 1.0\], got 1.5"):
        replace(PWSELF_CONFIG, cls_weight=1.5)
