"""Which tokens of a batch of views are matched, as flat indices. All on the CPU.

The boxes are there, and a GPU that is asked how many pairs there are would be waited for.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional as F

from patchwise.augment.crop import Crops
from patchwise.augment.multicrop import MultiCropViews
from patchwise.configs.methods import Matching
from patchwise.losses.matched_distillation import TokenPairs
from patchwise.ops.geometry import MATCHERS

TEACHER_VIEWS = 2
_SIZES = 8  # numbers of rows between one power of two and the next


@dataclass(frozen=True)
class Pass:
    """Views of one resolution that go through the student together, and their pairs."""

    resolution: int  # index into the views' pixels
    first: int  # view, counted within the resolution
    views: int
    pairs: TokenPairs  # rows of the tokens of these views, flattened from (view, image, token)


@dataclass(frozen=True)
class Rows:
    """Some of the flat tokens."""

    index: Int[Tensor, " R"]  # of each row, among all tokens
    row: Int[Tensor, " VBN"]  # of each token, among the rows; meaningless if it has none


def pair_tokens(
    views: MultiCropViews,
    *,
    matching: Matching,
    cls_weight: float | None,
    views_per_pass: int = 0,
) -> list[Pass]:
    """Pair the tokens of every teacher view with those of every other student view.

    Args:
        views: The first two are the teacher's.
        matching: How patches are paired; "none": only CLS with CLS.
        cls_weight: Share of CLS in an image's loss, the rest is the mean over its patch pairs;
            None: all its pairs count alike. Without patch pairs, CLS counts fully.
        views_per_pass: The most views of a pass; 0: all of a resolution.

    Returns:
        The passes through the student, in the order of the views. ``teacher`` names rows of the
        teacher's flattened tokens. All weights together sum to 1.
    """
    result = []
    start = 0  # first view of a resolution
    for resolution, pixels in enumerate(views.pixels):
        count = len(pixels) // views.num_images
        step = views_per_pass or count
        for first in range(0, count, step):
            some = range(start + first, start + min(first + step, count))
            of_views = [(q, v) for v in some for q in range(TEACHER_VIEWS) if q != v]
            pairs = _pair_views(views, of_views, some.start, matching, cls_weight)
            result.append(Pass(resolution, first, len(some), pairs))
        start += count
    return result


def select_rows(wanted: Int[Tensor, " P"], count: int) -> Rows:
    """Return each token that is named at least once, as one row.

    The rows are filled up by at most an eighth with copies of the first token, which no pair
    names: matrix products on a CPU are compiled and kept for every number of rows they meet, and
    that number is another at every step.

    Args:
        wanted: Flat indices of tokens; repeats are welcome.
        count: Number of all tokens.
    """
    used = torch.zeros(count, dtype=torch.bool)
    used[wanted] = True
    index = used.nonzero()[:, 0]
    unit = max(1, 2 ** (len(index).bit_length() - 1) // _SIZES)
    return Rows(F.pad(index, (0, -len(index) % unit)), used.cumsum(0) - 1)


def _pair_views(
    views: MultiCropViews,
    pairs: Sequence[tuple[int, int]],
    first: int,
    matching: Matching,
    cls_weight: float | None,
) -> TokenPairs:
    """Return flat teacher rows, flat student rows and weights of pairs of views of one pass.

    ``first`` is the first view of the pass: the student's rows are counted from there.
    """
    view = torch.tensor(pairs).repeat_interleave(views.num_images, dim=0)  # [pairs * B, 2]
    image = torch.arange(views.num_images).repeat(len(pairs))[:, None]
    map_q = view[:, :1] * views.num_images + image  # [pairs * B, 1]
    map_v = (view[:, 1:] - first) * views.num_images + image
    token_q, token_v, weight = _match_tokens(views, pairs, matching, cls_weight)
    row_q = map_q * _tokens_of(views, 0, matching) + token_q  # [pairs * B, M]
    row_v = map_v * _tokens_of(views, first, matching) + token_v
    used = weight > 0
    view_pairs = TEACHER_VIEWS * (len(views.crops) - 1)
    return TokenPairs(row_q[used], row_v[used], weight[used] / (view_pairs * views.num_images))


def _match_tokens(
    views: MultiCropViews,
    pairs: Sequence[tuple[int, int]],
    matching: Matching,
    cls_weight: float | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return teacher token, student token and weight, each [pairs * B, M].

    The weights of one image in one pair of views sum to 1.
    """
    zeros = torch.zeros(len(pairs) * views.num_images, 1, dtype=torch.int64)
    if matching == "none":
        return zeros, zeros, torch.ones(len(zeros), 1)
    a, b = (Crops.concatenate([views.crops[v] for v in side]) for side in zip(*pairs, strict=True))
    grid_a, grid_b = (views.grids[view] for view in pairs[0])
    matches = MATCHERS[matching](a.boxes, a.flip, grid_a, b.boxes, b.flip, grid_b)
    patches = matches.valid.to(torch.get_default_dtype())  # [pairs * B, M - 1]
    count = patches.sum(dim=1, keepdim=True)
    if cls_weight is None:
        cls = each = 1 / (1 + count)
    else:
        cls = torch.where(count > 0, cls_weight, 1.0)
        each = (1 - cls) / count.clamp(min=1)
    weight = torch.cat([cls, patches * each], dim=1)
    teacher = torch.cat([zeros, matches.index_a], dim=1)
    student = torch.cat([zeros, matches.index_b], dim=1)
    return teacher, student, weight


def _tokens_of(views: MultiCropViews, view: int, matching: Matching) -> int:
    rows, columns = views.grids[view]
    return 1 if matching == "none" else 1 + rows * columns
