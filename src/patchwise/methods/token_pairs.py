"""Which tokens of a batch of views are matched, as flat indices."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from patchwise.augment.multicrop import MultiCropViews
from patchwise.losses.matched_distillation import TokenPairs
from patchwise.ops.geometry import match_patches

TEACHER_VIEWS = 2
_ROWS = 256


def pair_tokens(
    views: MultiCropViews, *, matching: bool, cls_weight: float | None
) -> list[TokenPairs]:
    """Pair the tokens of every teacher view with those of every other student view.

    Args:
        views: The first two are the teacher's.
        matching: Whether patches are paired by geometry; if not, only CLS with CLS.
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
        parts = [
            _pair_views(views, q, v, first, matching, cls_weight)
            for v in range(first, last)
            for q in range(TEACHER_VIEWS)
            if q != v
        ]
        first = last
        teacher, student, weight = (torch.cat(part) for part in zip(*parts, strict=True))
        result.append(TokenPairs(teacher, student, weight))
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
    views: MultiCropViews, q: int, v: int, first: int, matching: bool, cls_weight: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return flat teacher rows, flat student rows and weights of one pair of views, each [P].

    ``first`` is the first view of v's resolution: the student's rows are counted from there.
    """
    token_q, token_v, weight = _match_tokens(views, q, v, matching, cls_weight)
    image = torch.arange(views.num_images, device=weight.device)[:, None]
    row_q = (q * views.num_images + image) * _tokens_of(views, q, matching) + token_q
    row_v = ((v - first) * views.num_images + image) * _tokens_of(views, v, matching) + token_v
    used = weight > 0
    view_pairs = TEACHER_VIEWS * (len(views.crops) - 1)
    return row_q[used], row_v[used], weight[used] / (view_pairs * views.num_images)


def _match_tokens(
    views: MultiCropViews, q: int, v: int, matching: bool, cls_weight: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return teacher token, student token and weight, each [B, M]; an image's weights sum to 1."""
    device = views.pixels[0].device
    zeros = torch.zeros(views.num_images, 1, dtype=torch.int64, device=device)
    if not matching:
        return zeros, zeros, torch.ones(views.num_images, 1, device=device)
    a, b = views.crops[q], views.crops[v]
    matches = match_patches(a.boxes, a.flip, views.grids[q], b.boxes, b.flip, views.grids[v])
    patches = matches.valid.to(device, torch.get_default_dtype())  # [B, M - 1]
    pairs = patches.sum(dim=1, keepdim=True)
    if cls_weight is None:
        cls = each = 1 / (1 + pairs)
    else:
        cls = torch.where(pairs > 0, cls_weight, 1.0)
        each = (1 - cls) / pairs.clamp(min=1)
    weight = torch.cat([cls, patches * each], dim=1)
    teacher = torch.cat([zeros, matches.index_a.to(device)], dim=1)
    student = torch.cat([zeros, matches.index_b.to(device)], dim=1)
    return teacher, student, weight


def _tokens_of(views: MultiCropViews, view: int, matching: bool) -> int:
    rows, columns = views.grids[view]
    return 1 + rows * columns if matching else 1
