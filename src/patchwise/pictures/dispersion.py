"""How far apart patches of one object are, beside those of different ones, before and after."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from patchwise.ops.foreground import foreground_mask
from patchwise.ops.statistics import dispersion
from patchwise.pictures.attention import relative_attention
from patchwise.pictures.figure import Figure, Line, Table
from patchwise.pictures.gallery import Gallery, Seen

_ROUNDING = 1e-9  # distances of features that are all alike


@dataclass(frozen=True)
class _Objects:
    """The object and the category of every patch that shows one, and the words for them."""

    instance: Int[Tensor, "B N"]  # 0: of none
    category: Int[Tensor, "B N"]
    pairs: tuple[str, str, str]  # of one instance, of one category, of two categories
    ratios: tuple[str, str]  # of the first, of the second pairs to the third
    caution: str  # what the caption has to say besides
    how: str  # they are known


def dispersion_figure(gallery: Gallery, before: Seen, after: Seen) -> Figure | None:
    """Show mean distances within and between objects, and their ratios, before beside after.

    Objects are those of the gallery where they are known; otherwise what CLS looks at, before and
    after together, is taken for one object of each image. None if there are no two to compare.
    """
    found = _known(gallery) or _looked_at(before, after)
    kept = found.instance > 0
    if not kept.any():
        return None
    states = [
        dispersion(seen.patches[kept], found.instance[kept], found.category[kept])
        for seen in (before, after)
    ]
    distances = [
        tuple(float(getattr(state, name).clamp(min=0)) for state in states)
        for name in ("within_instance", "within_class", "between_classes")
    ]
    if not all(map(math.isfinite, distances[2])):
        return None
    ratios = [
        tuple(
            a / b if b > _ROUNDING else math.nan for a, b in zip(within, distances[2], strict=True)
        )
        for within in distances[:2]
    ]
    labels = (*found.pairs, *found.ratios)
    lines = [
        Line(label, values)
        for label, values in zip(labels, (*distances, *ratios), strict=True)
        if all(map(math.isfinite, values))
    ]
    told = [
        f"{line.label}: {line.values[0]:.2f} before, {line.values[1]:.2f} after"
        for line in lines
        if line.label in found.ratios
    ]
    none = "There is no ratio here: all patches are alike, or no two belong together"
    caption = (
        f"Over-dispersed features scatter what belongs together nearly as far as what does not: "
        f"the ratios are near 1 then. The lower they are, the tighter objects hold together. "
        f"{'; '.join(told) or none}.{found.caution}"
    )
    facts = (
        f"Mean distances, 1 - cosine, over all pairs of {int(kept.sum())} patches in "
        f"{len(kept)} images. Before and after are different spaces, in which a distance need not "
        f"mean the same: compare the ratios. {found.how} Images: {gallery.origin}."
    )
    table = Table("Mean distance", ("before", "after"), tuple(lines))
    return Figure("dispersion", "Over-dispersion", caption, facts, (), table=table)


def _known(gallery: Gallery) -> _Objects | None:
    if gallery.objects is None or gallery.categories is None:
        return None
    return _Objects(
        torch.where(gallery.categories > 0, gallery.objects, 0),
        gallery.categories,
        pairs=(
            "Two patches of one object",
            "Of different objects of one category",
            "Of different categories",
        ),
        ratios=(
            "Ratio within objects to between categories",
            "Ratio within categories to between categories",
        ),
        caution="",
        how="Objects are known by their masks: a patch is that of an object which covers at least "
        "half of it; other patches are left out.",
    )


def _looked_at(before: Seen, after: Seen) -> _Objects:
    """Take what CLS looks at for one object of each image; for both states the same patches."""
    both = torch.cat([relative_attention(seen.attention) for seen in (before, after)], dim=1)
    mask = foreground_mask(both, after.grid)
    numbers = torch.arange(1, len(mask) + 1)[:, None].expand_as(mask)
    image = torch.where(mask, numbers, 0)
    return _Objects(
        image,
        image,
        pairs=(
            "Two foreground patches of one image",
            "",  # there is one object of each category
            "Two foreground patches of different images",
        ),
        ratios=("Ratio within images to between images", ""),
        caution=" Objects are not known here: what CLS looks at in an image is taken for one.",
        how=f"Of each image, the fewest patches that hold 60% of the attention of CLS are taken "
        f"for one object: of the mean of all heads before and after, so that both are measured on "
        f"the same patches, {float(mask.float().mean()):.0%} of all. These may be several objects, "
        f"or parts of the ground, and images with like objects count as different: take the ratio "
        f"as a hint.",
    )
