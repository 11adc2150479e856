"""Flat indices of matched tokens."""

import pytest
import torch

from patchwise.augment.multicrop import MultiCropViews
from patchwise.configs.methods import Matching
from patchwise.methods.pwself import PWSelf
from patchwise.methods.token_pairs import pair_tokens, select_rows
from tests.small_runs import PWSELF_CONFIG, scene_batch, small_vit, step_at

TOKENS = (1 + 16, 1 + 4)  # of a global and of a local view


def views() -> MultiCropViews:
    return PWSelf(small_vit(), PWSELF_CONFIG).make_views(scene_batch(0, 1, 2), step_at())


@pytest.mark.parametrize("cls_weight", [None, 0.0, 0.3, 1.0])
@pytest.mark.parametrize("matching", ["thinned", "nearest", "none"])
def test_all_weights_sum_to_one(matching: Matching, cls_weight: float | None) -> None:
    pairs = pair_tokens(views(), matching=matching, cls_weight=cls_weight)
    assert sum(float(one.pairs.weight.sum()) for one in pairs) == pytest.approx(1, rel=1e-5)


def test_partners_are_of_one_image_and_never_of_one_view() -> None:
    for one in pair_tokens(views(), matching="thinned", cls_weight=None):
        resolution, pairs = one.resolution, one.pairs
        of_teacher = pairs.teacher // TOKENS[0]
        of_student = pairs.student // TOKENS[resolution]
        assert torch.equal(of_teacher % 3, of_student % 3)
        student_view = of_student // 3 + 2 * resolution
        assert (of_teacher // 3 != student_view).all()
        assert set((of_teacher // 3).tolist()) == {0, 1}
        assert set(student_view.tolist()) == ({0, 1} if resolution == 0 else {2, 3})


def test_cls_is_matched_with_cls_and_patches_with_patches() -> None:
    for one in pair_tokens(views(), matching="thinned", cls_weight=None):
        resolution, pairs = one.resolution, one.pairs
        teacher_is_cls = pairs.teacher % TOKENS[0] == 0
        student_is_cls = pairs.student % TOKENS[resolution] == 0
        assert torch.equal(teacher_is_cls, student_is_cls)
        assert teacher_is_cls.sum() == 3 * (2 if resolution == 0 else 4)


def test_the_share_of_cls_is_its_weight() -> None:
    for one in pair_tokens(views(), matching="thinned", cls_weight=0.7):
        resolution, pairs = one.resolution, one.pairs
        is_cls = pairs.teacher % TOKENS[0] == 0
        image_pairs = 3 * 6 * 2 / 2 if resolution == 0 else 3 * 6
        shares = pairs.weight[is_cls] * 3 * 6
        assert len(shares) == (6 if resolution == 0 else 12)
        assert ((shares - 0.7).abs().lt(1e-5) | (shares - 1).abs().lt(1e-5)).all(), image_pairs


@pytest.mark.parametrize("views_per_pass", [1, 2, 3])
def test_passes_of_fewer_views_hold_the_same_pairs(views_per_pass: int) -> None:
    """Told apart by view, image and token of both."""
    count = 3  # images

    def named(views_per_pass: int) -> set[tuple[int, ...]]:
        found: set[tuple[int, ...]] = set()
        for one in pair_tokens(
            views(), matching="thinned", cls_weight=0.3, views_per_pass=views_per_pass
        ):
            tokens = TOKENS[one.resolution]
            shift = (2 * one.resolution + one.first) * count * tokens
            assert (one.pairs.student < one.views * count * tokens).all()
            for t, s, w in zip(*(x.tolist() for x in vars(one.pairs).values()), strict=True):
                found.add((one.resolution, t, s + shift, round(w * 1e6)))
        return found

    assert named(views_per_pass) == named(0)
    passes = pair_tokens(
        views(), matching="thinned", cls_weight=None, views_per_pass=views_per_pass
    )
    assert all(one.views <= views_per_pass for one in passes)


def test_selected_rows_are_the_named_tokens() -> None:
    wanted = torch.tensor([6, 1, 6, 3])
    rows = select_rows(wanted, 8)
    assert rows.index.tolist() == [1, 3, 6]
    assert torch.equal(rows.index[rows.row[wanted]], wanted)


def test_numbers_of_rows_are_few_and_hardly_larger_than_needed() -> None:
    numbers = {}
    for count in range(5000):
        rows = select_rows(torch.arange(count), 5000)
        assert torch.equal(rows.index[:count], torch.arange(count))
        numbers[count] = len(rows.index)
    assert len(set(numbers.values())) < 90
    assert all(count <= number <= count * 9 / 8 for count, number in numbers.items())
