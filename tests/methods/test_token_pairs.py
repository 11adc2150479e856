"""Flat indices of matched tokens."""

import pytest
import torch

from patchwise.augment.multicrop import MultiCropViews
from patchwise.configs.methods import Matching
from patchwise.methods.pwself import PWSelf
from patchwise.methods.token_pairs import gather_rows, pair_tokens
from tests.small_runs import PWSELF_CONFIG, scene_batch, small_vit, step_at

TOKENS = (1 + 16, 1 + 4)  # of a global and of a local view


def views() -> MultiCropViews:
    return PWSelf(small_vit(), PWSELF_CONFIG).make_views(scene_batch(0, 1, 2), step_at())


@pytest.mark.parametrize("cls_weight", [None, 0.0, 0.3, 1.0])
@pytest.mark.parametrize("matching", ["thinned", "nearest", "none"])
def test_all_weights_sum_to_one(matching: Matching, cls_weight: float | None) -> None:
    pairs = pair_tokens(views(), matching=matching, cls_weight=cls_weight)
    assert sum(float(p.weight.sum()) for p in pairs) == pytest.approx(1, rel=1e-5)


def test_partners_are_of_one_image_and_never_of_one_view() -> None:
    for resolution, pairs in enumerate(pair_tokens(views(), matching="thinned", cls_weight=None)):
        of_teacher = pairs.teacher // TOKENS[0]
        of_student = pairs.student // TOKENS[resolution]
        assert torch.equal(of_teacher % 3, of_student % 3)
        student_view = of_student // 3 + 2 * resolution
        assert (of_teacher // 3 != student_view).all()
        assert set((of_teacher // 3).tolist()) == {0, 1}
        assert set(student_view.tolist()) == ({0, 1} if resolution == 0 else {2, 3})


def test_cls_is_matched_with_cls_and_patches_with_patches() -> None:
    for resolution, pairs in enumerate(pair_tokens(views(), matching="thinned", cls_weight=None)):
        teacher_is_cls = pairs.teacher % TOKENS[0] == 0
        student_is_cls = pairs.student % TOKENS[resolution] == 0
        assert torch.equal(teacher_is_cls, student_is_cls)
        assert teacher_is_cls.sum() == 3 * (2 if resolution == 0 else 4)


def test_the_share_of_cls_is_its_weight() -> None:
    for resolution, pairs in enumerate(pair_tokens(views(), matching="thinned", cls_weight=0.7)):
        is_cls = pairs.teacher % TOKENS[0] == 0
        image_pairs = 3 * 6 * 2 / 2 if resolution == 0 else 3 * 6
        shares = pairs.weight[is_cls] * 3 * 6
        assert len(shares) == (6 if resolution == 0 else 12)
        assert ((shares - 0.7).abs().lt(1e-5) | (shares - 1).abs().lt(1e-5)).all(), image_pairs


def test_gathered_rows_are_the_named_tokens() -> None:
    tokens = torch.arange(24.0).reshape(2, 4, 3)
    wanted = torch.tensor([6, 1, 6, 3])
    rows, index = gather_rows(tokens, wanted)
    assert len(rows) == 256  # 3 and copies, so that numbers of rows are few
    assert index[wanted].max() == 2
    torch.testing.assert_close(rows[index[wanted]], tokens.flatten(0, 1)[wanted])
