"""CoTAP: a whole step against its definition, and what queues, bank and teacher come to."""

import copy
from collections import defaultdict
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from patchwise.configs.cotap import CoTAPConfig
from patchwise.configs.views import OverlappingViewsConfig, fit_to_patches
from patchwise.methods import inputs_read
from patchwise.methods.cotap import CoTAP, CoTAPCarry, CoTAPViews
from patchwise.methods.method import Step, StepLoss
from patchwise.methods.paired_views import PairedViews
from patchwise.models.filtered_vit import FilteredViT
from patchwise.models.vit import ViT
from tests.methods.plain_cotap import foreground, plain_losses
from tests.small_runs import (
    COTAP_CONFIG,
    VIT,
    make_step,
    paired_batch,
    small_filtered,
    small_vit,
    step_at,
)

WEIGHTED = replace(
    COTAP_CONFIG,
    dense_weight=0.7,
    image_weight=1.3,
    neighbour_weight=0.4,
    ranking_weight=1.9,
    prototype_weight=0.6,
)
PARTS = ("dense", "image", "neighbour", "ranking", "prototype")
OF_THE_STUDENT = {"teacher_distance", "filter_use", "patch_rank", "image_rank", "position_bias"}
VARIANTS: dict[str, dict[str, Any]] = {
    "the paper's": {},
    "hinge, all foreground": {"surrogate": "hinge", "ranked_cells": 0},
    "all is foreground, no strangers": {"foreground_frac": 1.0, "strangers": 0},
    "no filter": {"filter_prototypes": 0},
}


def build(config: CoTAPConfig = COTAP_CONFIG, backbone: ViT | FilteredViT | None = None) -> CoTAP:
    backbone = backbone or small_vit()
    torch.manual_seed(1)
    return CoTAP(backbone, config)


def exact_views(method: CoTAP, *ids: int, step: Step) -> CoTAPViews:
    """Return the views of a batch in float64."""

    def exact(views: PairedViews | None) -> PairedViews | None:
        if views is None:
            return None
        student = tuple(pixels.double() for pixels in views.student)
        return replace(views, teacher=views.teacher.double(), student=student)

    made = method.make_views(paired_batch(*ids), step)
    return CoTAPViews(exact(made.scenes), exact(made.objects))


def train(method: CoTAP, *batches: tuple[int, ...]) -> None:
    """Make a step of plain gradient descent for each batch."""
    for index, ids in enumerate(batches):
        method.zero_grad(set_to_none=True)
        carries = []
        views = exact_views(method, *ids, step=step_at(index))
        for loss in method.losses(views, step_at(index)):
            loss.total.backward()  # type: ignore[no-untyped-call]
            carries += [] if loss.carry is None else [loss.carry]
        with torch.no_grad():
            for parameter in method.parameters():
                if parameter.grad is not None:
                    parameter.sub_(parameter.grad, alpha=0.3)
        method.after_step(carries, step_at(index))
    method.zero_grad(set_to_none=True)


def parts_of(losses: list[StepLoss[CoTAPCarry]]) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for loss in losses:
        for name, value in loss.parts.items():
            sums[name] += float(value)
    return dict(sums)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_loss_and_the_gradient_are_those_of_the_definition(variant: str) -> None:
    """In float64, with rows in the queues and the bank full."""
    method = build(replace(WEIGHTED, **VARIANTS[variant])).double()
    train(method, (5, 6), (7, 8))
    config, step = method.config, step_at(2)
    assert method.bank is None or method.bank.full
    images = (0, 1, 2) if config.ranked_cells else (0, 1)
    views = exact_views(method, *images, step=step)
    plain = plain_losses(method, views, step)
    weights = {name: getattr(config, f"{name}_weight") for name in plain}
    wanted = sum(weights[name] * value for name, value in plain.items())
    assert isinstance(wanted, Tensor)
    wanted.backward()  # type: ignore[no-untyped-call]
    expected = {n: p.grad for n, p in method.named_parameters() if p.grad is not None}
    method.zero_grad(set_to_none=True)
    losses = []
    for loss in method.losses(views, step):
        loss.total.backward()  # type: ignore[no-untyped-call]
        losses.append(loss)
    found = parts_of(losses)
    assert found.keys() - {"loss"} == plain.keys()
    assert len(plain) == (5 if config.filter_prototypes else 4)
    for name, value in plain.items():
        assert found[name] == pytest.approx(float(value.detach()), rel=1e-9), name
    assert found["loss"] == pytest.approx(float(wanted.detach()), rel=1e-9)
    gradients = {n: p.grad for n, p in method.named_parameters() if p.grad is not None}
    assert_same_gradients(gradients, expected)


def assert_same_gradients(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        exact = not name.endswith("pos_embed")  # resized for local views, in float32
        atol = (1e-10 if exact else 1e-6) * float(gradient.abs().max())
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=atol)


def test_as_long_as_the_queue_is_empty_the_dense_loss_is_zero() -> None:
    method = build()
    found = parts_of(make_step(method, paired_batch(0, 1), step_at()))
    assert found["dense"] == 0
    assert "prototype" not in found
    assert found["image"] > 0


@pytest.mark.parametrize("part", PARTS)
def test_a_part_without_weight_is_left_out_and_changes_no_other(part: str) -> None:
    without: dict[str, Any] = {f"{part}_weight": 0.0}
    whole = build()
    step_once(whole)
    less = build(replace(COTAP_CONFIG, **without))
    less.load_state_dict(whole.state_dict())
    losses = [make_step(method, paired_batch(0, 1), step_at(1)) for method in (whole, less)]
    expected, found = map(parts_of, losses)
    removed = expected.pop(part)
    assert removed > 0
    expected["loss"] -= removed
    assert found == pytest.approx(expected, rel=1e-6)


def step_once(method: CoTAP, index: int = 0, ids: tuple[int, ...] = (5, 6)) -> None:
    """Make a step that changes all but the student's weights."""
    losses = make_step(method, paired_batch(*ids), step_at(index))
    method.after_step([loss.carry for loss in losses if loss.carry is not None], step_at(index))
    method.zero_grad(set_to_none=True)


@pytest.mark.parametrize(
    ("parts", "made", "head"),
    [
        (("dense", "ranking"), "scenes", "patch_head"),
        (("image", "neighbour"), "objects", "image_head"),
    ],
)
def test_a_branch_alone_makes_no_views_of_the_other(
    parts: tuple[str, ...], made: str, head: str
) -> None:
    off: dict[str, Any] = {
        f"{part}_weight": 0.0 for part in PARTS if part not in (*parts, "prototype")
    }
    method = build(replace(COTAP_CONFIG, **off))
    views = method.make_views(paired_batch(0, 1), step_at())
    assert [n for n in ("scenes", "objects") if getattr(views, n) is not None] == [made]
    heads = {g.name.split(".")[0] for g in method.parameter_groups()}
    assert heads == {"backbone", head}
    step_once(method)
    assert method.bank is not None
    assert method.bank.full  # whichever branch there is gives the samples
    assert method.patch_queue.empty == (made != "scenes")
    assert method.image_queue.empty == (made != "objects")


def test_the_teacher_sees_uncoloured_crops_and_the_student_coloured_ones() -> None:
    method, batch = build(), paired_batch(0, 1)
    views = method.make_views(batch, step_at()).scenes
    assert views is not None
    assert views.teacher.shape == views.student[0].shape
    assert not torch.allclose(views.teacher, views.student[0])
    plain = replace(COTAP_CONFIG.views, jitter_prob=0.0, grayscale_prob=0.0, blur_prob=0.0)
    method.config = replace(method.config, views=plain)
    uncoloured = method.make_views(batch, step_at()).scenes
    assert uncoloured is not None
    torch.testing.assert_close(uncoloured.student[0], views.teacher)
    seen: list[Tensor] = []
    method.teacher.module.backbone.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    list(method.losses(CoTAPViews(views, None), step_at()))
    assert len(seen) == 1
    assert torch.equal(seen[0], views.teacher)


def test_the_image_sets_draw_different_views() -> None:
    batch = dict(paired_batch(0, 1))
    batch |= {"objects": batch["scenes"], "objects.neighbour": batch["scenes.neighbour"]}
    views = build().make_views(batch, step_at())
    assert views.scenes is not None
    assert views.objects is not None
    assert not torch.equal(views.scenes.crops[0].boxes, views.objects.crops[0].boxes)


def test_queues_hold_the_teachers_scores_image_by_image() -> None:
    """Of each image the views side by side, then those of its neighbour; foreground only."""
    method = build().double()
    step = step_at()
    views = exact_views(method, 0, 1, 2, step=step)
    assert views.scenes is not None
    assert views.objects is not None
    teacher, masks = copy.deepcopy(method.teacher.module), foreground(method, views.scenes)
    losses = list(method.losses(views, step))
    method.after_step([loss.carry for loss in losses if loss.carry is not None], step)
    rows, images = [], []
    with torch.no_grad():
        for image in range(3):
            for number in (image, 3 + image):
                for view in range(2):
                    crop = views.scenes.teacher[view * 6 + number]
                    scores = teacher.patch_head(teacher.backbone(crop[None]).patches[0])
                    rows.append(scores[masks[view][number].flatten() > 0])
                    crop = views.objects.teacher[view * 6 + number]
                    images.append(teacher.image_head(teacher.backbone(crop[None]).cls[0]))
    torch.testing.assert_close(method.patch_queue.scores.items(), torch.cat(rows))
    torch.testing.assert_close(method.image_queue.scores.items(), torch.stack(images))


def test_queues_take_no_more_than_they_may() -> None:
    method = build(replace(COTAP_CONFIG, queued_patches_per_step=7, queued_images_per_step=3))
    counts = []
    for index in range(4):
        step_once(method, index)
        queues = (method.patch_queue, method.image_queue)
        counts.append(tuple(int(queue.scores.pushed) for queue in queues))
    # Images: all of a step, 8, as long as there is room for them in 30.
    assert counts == [(7, 8), (14, 16), (21, 24), (28, 27)]


def test_the_bank_takes_in_the_students_tokens_before_the_last_block() -> None:
    method = build(replace(COTAP_CONFIG, bank_samples=20)).double()
    views = exact_views(method, 0, 1, step=step_at())
    assert views.objects is not None
    losses = list(method.losses(views, step_at()))
    method.after_step([loss.carry for loss in losses if loss.carry is not None], step_at())
    expected = []
    for image in (0, 2, 1, 3):  # an image, its neighbour, the next image
        for view in range(2):
            crop = views.objects.student[0][view * 4 + image]
            with torch.no_grad():
                tokens, grid = method.student.vit.before_last_block(crop[None])
            maps = tokens[0, 1:].reshape(*grid, -1)
            cells = [  # windows of 4 patches in 3 cells overlap
                maps[rows, columns].mean(dim=(0, 1))
                for rows in (slice(0, 2), slice(1, 3), slice(2, 4))
                for columns in (slice(0, 2), slice(1, 3), slice(2, 4))
            ]
            expected.append(torch.stack(cells, dim=1).reshape(-1, 3, 3))
    assert method.bank is not None
    torch.testing.assert_close(method.bank.samples(), torch.stack(expected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("copied", [True, False])
def test_prototypes_are_made_of_the_samples_once(copied: bool) -> None:
    method = build(replace(COTAP_CONFIG, bank_samples=12, copy_prototypes=copied))
    first = filter_of(method.student.backbone)
    step_once(method)
    assert torch.equal(filter_of(method.student.backbone), first), "8 samples do not fill it"
    step_once(method, 1)
    made = filter_of(method.student.backbone)
    assert not torch.equal(made, first)
    torch.testing.assert_close(made.flatten(1).norm(dim=1), torch.ones(3))
    theirs = filter_of(method.teacher.module.backbone)
    momentum = 0.9 + 0.0999 * (1 - torch.cos(torch.tensor(0.01 * torch.pi))) / 2
    torch.testing.assert_close(theirs, made if copied else first.lerp(made, 1 - float(momentum)))
    step_once(method, 2)
    assert torch.equal(filter_of(method.student.backbone), made)


def filter_of(backbone: Any) -> Tensor:
    assert isinstance(backbone, FilteredViT)
    return backbone.filter.prototypes.detach().clone()


def test_a_backbone_that_has_a_filter_keeps_its_prototypes() -> None:
    given = small_filtered()
    method = build(backbone=copy.deepcopy(given))
    step_once(method)
    assert method.bank is not None
    assert method.bank.full
    for backbone in (method.student.backbone, method.teacher.module.backbone):
        assert torch.equal(filter_of(backbone), given.filter.prototypes)
    assert "prototype" in parts_of(make_step(method, paired_batch(0, 1), step_at(1)))


def test_without_a_filter_it_is_a_plain_vit() -> None:
    method = build(replace(COTAP_CONFIG, filter_prototypes=0))
    assert isinstance(method.backbone, ViT)
    assert method.bank is None
    step_once(method)
    assert "prototype" not in parts_of(make_step(method, paired_batch(0, 1), step_at(1)))
    names = {n for group in method.parameter_groups() for n in group.parameters}
    assert {"backbone.norm.weight", "backbone.norm.bias"} <= names


def test_the_student_is_evaluated_and_heads_learn_faster() -> None:
    method = build()
    assert method.backbone is method.student.backbone
    rates = {group.name: group.rate_scale for group in method.parameter_groups()}
    assert rates == {
        "backbone.decayed": 1.0,
        "backbone.undecayed": 1.0,
        "patch_head.decayed": 10.0,
        "patch_head.undecayed": 10.0,
        "image_head.decayed": 10.0,
        "image_head.undecayed": 10.0,
    }
    names = {n for group in method.parameter_groups() for n in group.parameters}
    assert "backbone.filter.prototypes" in names
    assert "backbone.vit.norm.weight" not in names, "it is not applied"


@pytest.mark.parametrize("index", [0, 50, 99])
def test_the_teacher_follows_the_student(index: int) -> None:
    method = build(replace(COTAP_CONFIG, teacher_momentum=0.5, final_teacher_momentum=0.9))
    with torch.no_grad():
        method.student.patch_head.prototypes.add_(1.0)
    before = method.teacher.module.patch_head.prototypes.clone()
    method.after_step([], step_at(index))
    cosine = (1 + torch.cos(torch.tensor(torch.pi * index / 100))) / 2
    momentum = 0.9 + (0.5 - 0.9) * float(cosine)
    expected = before.lerp(method.student.patch_head.prototypes.detach(), 1 - momentum)
    torch.testing.assert_close(method.teacher.module.patch_head.prototypes, expected)


def test_fewer_views_a_pass_change_nothing() -> None:
    views = replace(COTAP_CONFIG.views, local_count=3)
    method = build(replace(COTAP_CONFIG, views=views)).double()
    train(method, (5, 6))
    gradients, losses = [], []
    for most in (0, 1, 2):
        method.config = replace(method.config, views_per_pass=most)
        method.zero_grad(set_to_none=True)
        found = []
        for loss in method.losses(exact_views(method, 0, 1, step=step_at(1)), step_at(1)):
            loss.total.backward()  # type: ignore[no-untyped-call]
            found.append(loss)
        losses.append(parts_of(found))
        gradients.append({n: p.grad for n, p in method.named_parameters() if p.grad is not None})
        passes = {0: 1, 1: 3, 2: 2}[most]
        assert len(found) == 2 * (1 + passes) + 1
    for other in (1, 2):
        assert losses[other] == pytest.approx(losses[0], rel=1e-9)
        assert_same_gradients(gradients[other], gradients[0])


@pytest.mark.parametrize(
    "changed",
    [
        {"registers": 2, "layer_scale": 0.1},
        {"positions": "rotary"},
        {"patch_px": 14, "image_px": 56},
    ],
    ids=str,
)
def test_backbones_of_all_kinds_are_trained(changed: dict[str, Any]) -> None:
    vit = ViT(replace(VIT, **changed))
    patch_px = vit.config.patch_px
    views = OverlappingViewsConfig(base_px=64, global_px=4 * patch_px, local_px=2 * patch_px)
    method = build(replace(COTAP_CONFIG, views=fit_to_patches(views, patch_px)), vit)
    step_once(method)
    losses = make_step(method, paired_batch(0, 1), step_at(1))
    assert parts_of(losses).keys() == {"loss", *PARTS}
    for group in method.parameter_groups():
        for name, parameter in group.parameters.items():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def test_what_is_computed_again_changes_no_gradient() -> None:
    gradients = []
    for again in (False, True):
        method = build()
        step_once(method)
        method.student.vit.checkpointed = again
        make_step(method, paired_batch(0, 1), step_at(1))
        gradients.append({n: p.grad for n, p in method.named_parameters() if p.grad is not None})
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-5, atol=1e-8)


def test_health_of_both_branches_is_told() -> None:
    method = build()
    step_once(method)
    losses = make_step(method, paired_batch(0, 1), replace(step_at(3), watched=True))
    told = [loss.health for loss in losses if loss.health]
    assert len(told) == 2
    assert told[0].keys() >= {
        "mask_area",
        "agreement",
        "prototype_use",
        "ranking_accuracy",
        "patch_queue_age",
        "assignment_entropy",
        *OF_THE_STUDENT,
    }
    of_images = {"agreement", "prototype_use", "assignment_entropy", "queue_age"}
    assert told[1].keys() == {f"image_{name}" for name in of_images}
    assert float(told[0]["patch_queue_age"]) == float(told[1]["image_queue_age"]) == 3


def test_without_the_patches_losses_the_images_tell_of_the_student() -> None:
    method = build(replace(COTAP_CONFIG, dense_weight=0.0, ranking_weight=0.0))
    losses = make_step(method, paired_batch(0, 1), replace(step_at(), watched=True))
    told = [loss.health for loss in losses if loss.health]
    assert len(told) == 1
    assert told[0].keys() >= OF_THE_STUDENT


@pytest.mark.parametrize(
    ("off", "read"),
    [
        ((), ["scenes", "objects"]),
        (("dense_weight", "image_weight"), ["scenes", "objects"]),
        (("dense_weight", "ranking_weight"), ["objects"]),
        (("image_weight", "neighbour_weight"), ["scenes"]),
    ],
)
def test_only_images_that_a_loss_is_about_are_read(off: tuple[str, ...], read: list[str]) -> None:
    changes: dict[str, Any] = dict.fromkeys(off, 0.0)
    config = replace(COTAP_CONFIG, **changes)
    assert [wanted.name for wanted in inputs_read(config).values()] == read
    assert list(inputs_read(config)) == [["scenes", "objects"].index(name) for name in read]
