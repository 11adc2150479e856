"""PW-Self against its definition in plain loops."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from patchwise.augment.multicrop import MultiCropViews
from patchwise.configs.methods import Centre, Matching, PWSelfConfig
from patchwise.errors import RangeError
from patchwise.methods.headed import HeadedBackbone
from patchwise.methods.pwself import PWSelf
from patchwise.models.vit import ViT
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
    parts = [encoder.heads[0](output.cls[:, None]), encoder.heads[-1](output.patches)]
    return torch.cat(parts, dim=1)


def views_of(views: MultiCropViews, encoder: HeadedBackbone) -> list[Tensor]:
    """Scores of each view [B, 1 + N, K]."""
    return [
        part
        for pixels in views.pixels
        for part in torch.split(all_scores(encoder, pixels), views.num_images)
    ]


def cross_entropy(teacher: Tensor, student: Tensor, centre: Tensor) -> Tensor:
    teacher = teacher.detach()
    target = ((teacher - centre) / 0.04).softmax(dim=-1)
    return -(target * (student / 0.1).log_softmax(dim=-1)).sum()


def slow_loss(method: PWSelf, views: MultiCropViews) -> Tensor:
    """Spec, section 3, one pair of views, one image, one token at a time."""
    config = method.config
    teacher = views_of(views, method.teacher.module)
    student = views_of(views, method.student)
    values: list[Tensor] = []
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
                    cross_entropy(
                        teacher[q][image, i],
                        student[v][image, j],
                        method.centre[min(i, len(method.centre) - 1)],
                    )
                    for i, j in tokens
                ]
                if config.cls_weight is None or len(costs) == 1:
                    values.append(torch.stack(costs).mean())
                else:
                    patches = torch.stack(costs[1:]).mean()
                    values.append(config.cls_weight * costs[0] + (1 - config.cls_weight) * patches)
    return torch.stack(values).mean()


@pytest.mark.parametrize("cls_weight", [None, 0.0, 0.8, 1.0])
@pytest.mark.parametrize("matching", ["thinned", "nearest", "none"])
def test_the_loss_is_the_definition(cls_weight: float | None, matching: Matching) -> None:
    config = replace(PWSELF_CONFIG, cls_weight=cls_weight, matching=matching)
    method = make_method(config)
    batch = scene_batch(0, 1, 2)
    with torch.no_grad():
        expected = float(slow_loss(method, method.make_views(batch, step_at())))
    assert total_loss(method, batch, step_at()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("centre", ["position", "kind", "none"])
@pytest.mark.parametrize("shared_head", [True, False])
def test_heads_and_centres_apart_are_the_definition_too(centre: Centre, shared_head: bool) -> None:
    method = make_method(replace(PWSELF_CONFIG, centre=centre, shared_head=shared_head))
    assert len(method.centre) == {"position": 17, "kind": 2, "none": 1}[centre]
    batch = scene_batch(0, 1)
    with torch.no_grad():
        expected = float(slow_loss(method, method.make_views(batch, step_at())))
    assert total_loss(method, batch, step_at()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("options", [{}, {"shared_head": False}, {"matching": "none"}])
def test_the_gradient_is_that_of_the_loss_written_out(options: dict[str, Any]) -> None:
    """Of every weight, whatever goes backward in parts."""
    config = replace(PWSELF_CONFIG, **options)
    method, written = make_method(config), make_method(config)
    make_step(method, scene_batch(0, 1), step_at())
    with torch.no_grad():
        views = written.make_views(scene_batch(0, 1), step_at())
    slow_loss(written, views).backward()  # type: ignore[no-untyped-call]
    for one, other in zip(method.student.parameters(), written.student.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)


def test_views_one_at_a_time_give_the_same_gradient() -> None:
    whole, parts = make_method(), make_method(replace(PWSELF_CONFIG, views_per_pass=1))
    batch, step = scene_batch(0, 1, 2), step_at()
    assert sum(bool(loss.parts) for loss in make_step(whole, batch, step)) == 2
    assert sum(bool(loss.parts) for loss in make_step(parts, batch, step)) == 4
    for one, other in zip(whole.student.parameters(), parts.student.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)


def test_stochastic_depth_is_the_images_own() -> None:
    """Not that of its place in the batch, of the batch, or of the pass."""
    vit = small_vit().config
    methods = []
    for views_per_pass in (0, 1):
        torch.manual_seed(1)
        config = replace(PWSELF_CONFIG, views_per_pass=views_per_pass)
        methods.append(PWSelf(ViT(replace(vit, drop_path=0.5)), config).train())
    together = total_loss(methods[0], scene_batch(3, 8), step_at())
    apart = [total_loss(methods[0], scene_batch(i), step_at()) for i in (3, 8)]
    assert together == pytest.approx(sum(apart) / 2, rel=1e-5)
    assert together == pytest.approx(total_loss(methods[1], scene_batch(3, 8), step_at()), rel=1e-5)
    still = total_loss(methods[0].eval(), scene_batch(3, 8), step_at())
    assert together != pytest.approx(still, rel=1e-4)
    methods[0].train()
    other = total_loss(methods[0], scene_batch(3, 8, epoch=1), step_at())
    assert together != pytest.approx(other, rel=1e-4)


def test_without_local_views_there_is_one_loss() -> None:
    config = replace(PWSELF_CONFIG, views=replace(PWSELF_CONFIG.views, local_count=0))
    method = make_method(config)
    losses = make_step(method, scene_batch(0, 1), step_at())
    assert sum(bool(loss.parts) for loss in losses) == 1
    with torch.no_grad():
        expected = float(slow_loss(method, method.make_views(scene_batch(0, 1), step_at())))
    assert float(losses[0].total.detach()) == pytest.approx(expected, rel=1e-5)


def test_locals_as_large_as_globals_are_kept_apart() -> None:
    config = replace(
        PWSELF_CONFIG, views=replace(PWSELF_CONFIG.views, local_px=PWSELF_CONFIG.views.global_px)
    )
    method = make_method(config)
    with torch.no_grad():
        expected = float(slow_loss(method, method.make_views(scene_batch(0, 1), step_at())))
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


@pytest.mark.parametrize("shared_head", [True, False])
def test_the_centre_of_kinds_is_the_mean_over_cls_and_over_patches(shared_head: bool) -> None:
    method = make_method(replace(PWSELF_CONFIG, centre="kind", shared_head=shared_head))
    batch = scene_batch(0, 1)
    with torch.no_grad():
        views = method.make_views(batch, step_at())
        scores = all_scores(method.teacher.module, views.pixels[0])
        mean = torch.stack([scores[:, 0].mean(dim=0), scores[:, 1:].mean(dim=(0, 1))])
    expected = 0.9 * method.centre + 0.1 * mean
    method.after_step(carries_of(make_step(method, batch, step_at())), step_at())
    torch.testing.assert_close(method.centre, expected, rtol=1e-5, atol=1e-6)


def test_no_centre_stays_none() -> None:
    method = make_method(replace(PWSELF_CONFIG, centre="none"))
    method.centre.zero_()
    method.after_step(carries_of(make_step(method, scene_batch(0), step_at())), step_at())
    assert not method.centre.any()


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
