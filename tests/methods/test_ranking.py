"""Ranking from maps to a loss: which cells, whose neighbours, and how accuracy is told."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from patchwise.configs.normalisation import IMAGENET
from patchwise.distributed import OneProcess
from patchwise.methods.paired_views import PairedViews, make_paired_views
from patchwise.methods.ranking import rank_patches, ranking_accuracy
from patchwise.methods.taught import TaughtPatches
from tests.small_runs import COTAP_CONFIG, scene_batch, step_at

K = 6


def views_of(images: int) -> PairedViews:
    own, others = (scene_batch(*(i + more for i in range(images)))["images"] for more in (0, 50))
    return make_paired_views(
        own, others, COTAP_CONFIG.views, patch_px=8, seed=0, normalisation=IMAGENET
    )


def maps(images: int, *, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 2 * images, 4, 4, K, generator=generator, dtype=torch.float64)


def taught_of(scores: Tensor, foreground: Tensor | None = None) -> TaughtPatches:
    everything = torch.ones(scores.shape[:-1], dtype=torch.bool)
    return TaughtPatches(scores, scores, everything if foreground is None else foreground)


def rank(
    student: Tensor, taught: TaughtPatches, views: PairedViews, *, index: int = 0, **changed: Any
) -> tuple[float, float]:
    config = replace(COTAP_CONFIG, **changed)
    step = replace(step_at(index), watched=True)
    found = rank_patches(student, taught, views, config, step)
    return float(found.loss.detach()), float(found.accuracy)


def test_a_student_that_ranks_as_the_teacher_does_is_right() -> None:
    teacher, views = maps(3), views_of(3)
    loss, accuracy = rank(teacher, taught_of(teacher), views)
    other, chance = rank(maps(3, seed=1), taught_of(teacher), views)
    assert accuracy == 1
    assert loss < other
    assert 0.3 < chance < 0.7


def test_the_mean_is_taken_over_numbers_of_cells() -> None:
    """One number of cells a time draws other strangers, unless there are but two images."""
    student, teacher, views = maps(2), taught_of(maps(2, seed=1)), views_of(2)
    both = rank(student, teacher, views, ranking_cells=(4, 4), ranked_cells=0)[0]
    each = rank(student, teacher, views, ranking_cells=(4,), ranked_cells=0)[0]
    assert both == pytest.approx(each, rel=1e-12)
    mixed = rank(student, teacher, views, ranking_cells=(2, 4), ranked_cells=0)[0]
    coarse = rank(student, teacher, views, ranking_cells=(2,), ranked_cells=0)[0]
    assert mixed == pytest.approx((each + coarse) / 2, rel=1e-12)


def test_what_is_not_chosen_does_not_matter() -> None:
    student, scores, views = maps(3), maps(3, seed=1), views_of(3)
    foreground = torch.zeros(2, 6, 4, 4, dtype=torch.bool)
    foreground[0, :, 1:3, 1:3] = True
    foreground[1, :, 0, 0] = True  # five patches of each image
    options: dict[str, Any] = {"ranking_cells": (4,)}
    found = [
        rank(student, taught_of(scores, foreground), views, ranked_cells=n, **options)
        for n in (5, 0)
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-12)
    changed = student + torch.randn_like(student) * ~foreground[..., None]
    for ranked in (5, 0):
        assert rank(
            changed, taught_of(scores, foreground), views, ranked_cells=ranked, **options
        ) == (pytest.approx(found[0], rel=1e-12))
    changed = student + torch.randn_like(student) * foreground[..., None]
    assert rank(changed, taught_of(scores, foreground), views, **options) != found[0]


def test_images_may_have_different_numbers_of_foreground_cells() -> None:
    student, scores, views = maps(2), maps(2, seed=1), views_of(2)
    foreground = torch.zeros(2, 4, 4, 4, dtype=torch.bool)
    foreground[0, 0, 0, 0] = True
    foreground[0, 1, :2] = True
    foreground[1, 2] = True
    loss, _ = rank(student, taught_of(scores, foreground), views, ranked_cells=0)
    assert math.isfinite(loss)
    assert loss > 0
    nothing = torch.zeros_like(foreground)
    assert rank(student, taught_of(scores, nothing), views, ranked_cells=0) == (0.0, 0.5)


def test_ties_are_broken_by_the_images_own_draws() -> None:
    """Where everything is foreground, chance decides: in any step the same, of a view."""
    student, teacher = maps(2), taught_of(maps(2, seed=1))
    views = views_of(2)
    assert rank(student, teacher, views) == rank(student, teacher, views, index=7)
    other = replace(views, key=replace(views.key, epoch=1))
    assert rank(student, teacher, views) != rank(student, teacher, other)


def test_strangers_are_drawn_anew_each_step() -> None:
    student, teacher, views = maps(4), taught_of(maps(4, seed=1)), views_of(4)
    assert rank(student, teacher, views) != rank(student, teacher, views, index=1)
    none = rank(student, teacher, views, strangers=0)
    assert none == rank(student, teacher, views, strangers=0, index=1)
    assert none != rank(student, teacher, views)


def test_one_image_alone_is_ranked_with_its_neighbour() -> None:
    loss, accuracy = rank(maps(1), taught_of(maps(1, seed=1)), views_of(1))
    assert loss > 0
    assert 0 < accuracy < 1


def test_over_processes_all_cells_make_one_list() -> None:
    """Each of two processes has two of four images; they find what one with all of them finds.

    The second one's images have more foreground.
    """
    student, scores, views = maps(4), maps(4, seed=1), views_of(4)
    halves = [torch.tensor([0, 1, 4, 5]), torch.tensor([2, 3, 6, 7])]
    foreground = torch.zeros(scores.shape[:-1], dtype=torch.bool)
    foreground[:, halves[0], :2, 1:3] = True
    foreground[:, halves[1], 1:] = True
    taught = taught_of(scores, foreground)
    whole = rank(student, taught, views, ranking_cells=(4,), ranked_cells=0)
    kept: list[list[Tensor]] = []
    for part in (1, 0):  # the second first: the first then has what both sent
        sent: list[Tensor] = []

        class Both(OneProcess):
            size = 2

            def gather(self, tensor: Tensor, sent: list[Tensor] = sent) -> Tensor:
                sent.append(tensor)
                other = kept[0][len(sent) - 1] if kept else tensor
                return torch.cat([tensor, other])

        step = replace(step_at(), collectives=Both(), watched=True)
        config = replace(COTAP_CONFIG, rank_all_processes=True, ranking_cells=(4,), ranked_cells=0)
        rows = halves[part]
        assert views.key.beside is not None
        own_key = replace(
            views.key, ids=views.key.ids[rows.numpy()], beside=views.key.beside[rows.numpy()]
        )
        own = replace(views, key=own_key)
        part_of = taught_of(scores[:, rows], foreground[:, rows])
        found = rank_patches(student[:, rows], part_of, own, config, step)
        kept.append(sent)
    assert float(found.loss) == pytest.approx(whole[0], rel=1e-12)
    assert float(found.accuracy) == pytest.approx(whole[1], rel=1e-12)


def test_accuracy_is_told_on_watched_steps_only() -> None:
    student, taught, views = maps(2), taught_of(maps(2, seed=1)), views_of(2)
    assert float(rank_patches(student, taught, views, COTAP_CONFIG, step_at()).accuracy) == 0


def test_accuracy_is_the_share_of_pairs_in_the_right_order() -> None:
    def accuracy(prediction: list[float], target: list[float]) -> float:
        return float(ranking_accuracy(torch.tensor(prediction), torch.tensor(target)))

    assert accuracy([1.0, 2.0, 3.0], [0.1, 0.2, 0.9]) == 1
    assert accuracy([3.0, 2.0, 1.0], [0.1, 0.2, 0.9]) == 0
    assert accuracy([1.0, 3.0, 2.0], [0.1, 0.2, 0.9]) == pytest.approx(2 / 3)
    assert accuracy([1.0, 1.0, 2.0], [0.1, 0.2, 0.9]) == pytest.approx(2.5 / 3)
    assert accuracy([1.0, 2.0, 3.0], [0.5, 0.5, 0.9]) == 1  # of two pairs
    assert accuracy([1.0, 2.0], [0.5, 0.5]) == 0.5
    assert accuracy([], []) == 0.5


def test_of_many_pairs_some_tell_the_accuracy() -> None:
    target = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    noisy = target + 0.3 * torch.randn(20_000, generator=torch.Generator().manual_seed(1))
    few = ranking_accuracy(noisy[:2048], target[:2048])
    assert float(ranking_accuracy(noisy, target)) == pytest.approx(float(few), abs=0.02)
