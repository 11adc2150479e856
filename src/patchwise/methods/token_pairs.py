"""Which tokens of a batch of views are matched, as flat indices."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from patchwise.augment.crop import Crops
from patchwise.augment.multicrop import MultiCropViews
from patchwise.configs.methods import Matching
from patchwise.losses.matched_distillation import TokenPairs
from patchwise.ops.geometry import MATCHERS

TEACHER_VIEWS = 2
_ROWS = 256


def pair_tokens(
    views: MultiCropViews, *, matching: Matching, cls_weight: float | None
) -> list[TokenPairs]:
    """Pair the tokens of every teacher view with those of every other student view.

    Args:
        views: The first two are the teacher's.
        matching: How patches are paired; "none": only CLS with CLS.
        cls_weight: Share of CLS in an image's loss, the rest is the mean over its patch pairs;
            None: all its pairs count alike. Without patch pairs, CLS counts fully.

    Returns:
        For each resolution of ``views.pixels``, the pairs whose student token is in it, as
        rows of its tokens flattened from (view, image, token); ``teacher`` likewise in the
        teacher's. All weights together sum to 1.
    """
    result = []
    first = 0
    for pixels in views.pixels:
        last = first + len(pixels) // views.num_images
        pairs = [(q, v) for v in range(first, last) for q in range(TEACHER_VIEWS) if q != v]
        found = _pair_views(views, pairs, first, matching, cls_weight)
        result.append(TokenPairs(*(part.to(pixels.device) for part in found)))
        first = last
    return result


def gather_rows(
    tokens: Float[Tensor, "VB N D"], wanted: Int[Tensor, " P"]
) -> tuple[Float[Tensor, "R D"], Int[Tensor, " VBN"]]:
    """Return the tokens named at least once, and for each flat token its row among them.

    The rows are filled up to a multiple of 256 with copies of the first token, which no pair
    names: matrix products on a CPU are compiled and kept for every number of rows they meet, and
    that number is another at every step.

    Args:
        tokens: All tokens.
        wanted: Flat indices into the first two axes; repeats are welcome.
    """
    flat = tokens.flatten(0, 1)
    used = torch.zeros(len(flat), dtype=torch.bool, device=flat.device)
    used[wanted] = True
    index = used.nonzero()[:, 0]
    filled = F.pad(index, (0, -len(index) % _ROWS))
    return flat[filled], used.cumsum(0) - 1


def _pair_views(
    views: MultiCropViews,
    pairs: Sequence[tuple[int, int]],
    first: int,
    matching: Matching,
    cls_weight: float | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return flat teacher rows, flat student rows and weights of pairs of views, each [P].

    ``first`` is the first view of the student's resolution: its rows are counted from there.
    """
    view = torch.tensor(pairs).repeat_interleave(views.num_images, dim=0)  # [pairs * B, 2]
    image = torch.arange(views.num_images).repeat(len(pairs))
    map_q = view[:, :1] * views.num_images + image[:, None]  # [pairs * B, 1]
    map_v = (view[:, 1:] - first) * views.num_images + image[:, None]
    token_q, token_v, weight = _match_tokens(views, pairs, matching, cls_weight)
    row_q = map_q * _tokens_of(views, 0, matching) + token_q  # [pairs * B, M]
    row_v = map_v * _tokens_of(views, first, matching) + token_v
    used = weight > 0
    view_pairs = TEACHER_VIEWS * (len(views.crops) - 1)
    return row_q[used], row_v[used], weight[used] / (view_pairs * views.num_images)


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
        return zeros, zeros, torch.ones_like(zeros, dtype=torch.get_default_dtype())
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
