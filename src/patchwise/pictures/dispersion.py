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


@dataclass(frozen=True)
class _Objects:
    """The object and the category of every patch that shows one, and the words for them."""

    instance: Int[Tensor, "B N"]  # 0: of none
    category: Int[Tensor, "B N"]
    pairs: tuple[str, str, str]  # of one instance, of one category, of two categories
    ratios: tuple[str, str]  # of the first, of the second pairs to the third
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
        tuple(float(getattr(state, name)) for state in states)
        for name in ("within_instance", "within_class", "between_classes")
    ]
    ratios = [
        tuple(a / b if b > 0 else math.nan for a, b in zip(within, distances[2], strict=True))
        for within in distances[:2]
    ]
    labels = (*found.pairs, *found.ratios)
    lines = [
        Line(label, values)
        for label, values in zip(labels, (*distances, *ratios), strict=True)
        if all(map(math.isfinite, values))
    ]
    told = [line for line in lines if line.label in found.ratios]
    if not told:
        return None
    caption = (
        f"Over-dispersed features scatter what belongs together nearly as far as what does not: "
        f"the ratios are near 1 then. The lower they are, the tighter objects hold together. "
        f"{'; '.join(f'{line.label}: {_change(line)}' for line in told)}."
    )
    facts = (
        f"Mean distances, 1 - cosine, over all pairs of {int(kept.sum())} patches in "
        f"{len(kept)} images. Before and after are different spaces, in which a distance need not "
        f"mean the same: compare the ratios. {found.how} Images: {gallery.origin}."
    )
    table = Table("Mean distance", ("before", "after"), tuple(lines))
    return Figure("dispersion", "Over-dispersion", caption, facts, (), table=table)


def _change(line: Line) -> str:
    return f"{line.values[0]:.2f} before, {line.values[1]:.2f} after"


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
        how=f"What the images show is not known. What CLS looks at is taken for one object of each "
        f"image: the fewest patches that hold 60% of its attention, the mean of all heads before "
        f"and after, so that both are measured on the same patches, "
        f"{float(mask.float().mean()):.0%} of all. These may be several objects, or parts of the "
        f"ground, and images with like objects count as different: take the ratio as a hint.",
    )
