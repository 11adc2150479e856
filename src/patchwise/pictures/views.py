"""What training is shown: the views of an image, and which of their patches are matched."""

from collections.abc import Sequence
from dataclasses import dataclass

from patchwise.augment.multicrop import GLOBAL_VIEWS, MultiCropViews, make_multicrop
from patchwise.augment.overlapping_views import make_overlapping_views
from patchwise.configs.methods import MethodConfig, PWSelfConfig
from patchwise.configs.views import OverlappingViewsConfig, ViewsConfig
from patchwise.pictures.figure import Figure, Row
from patchwise.pictures.matches import matches_figure
from patchwise.pictures.view_tiles import boxes_tile, view_tile
from patchwise.types import ImageBatch


@dataclass(frozen=True)
class ShownViews:
    """Views of a batch in one state, and the words for it."""

    views: MultiCropViews
    label: str  # stands after the name of the image
    state: str  # "of NAME after cropping"


def view_figures(
    batch: ImageBatch,
    names: Sequence[str],
    method: MethodConfig,
    *,
    patch_px: int,
    seed: int,
    most_local: int,
) -> list[Figure]:
    """Return what a run with these settings makes of these images: views, then matches.

    Args:
        batch: Images, resized as the run resizes them.
        names: Of the images.
        method: Settings of the run.
        patch_px: Side of a patch; divides the sides of the views.
        seed: Of the run.
        most_local: Local views that are shown at most, for each image.
    """
    if isinstance(method.views, OverlappingViewsConfig):
        states = overlapping_views(batch, method.views, patch_px=patch_px, seed=seed)
        recoloured = "recoloured"
        if method.views.recolour_patches:
            recoloured = "recoloured, and then every patch on its own"
        facts = (
            f"The teacher sees the two global views without colour changes; the student sees them "
            f"and the local ones, each {recoloured}. None is mirrored. The global views have at "
            f"least {method.views.global_overlap_frac:.0%} of the image in common, and each local "
            f"view at least {method.views.local_overlap_frac:.0%} with both of them. "
            f"They are drawn by the rules of training and the seed given."
        )
        return [views_figure(batch, names, states, most_local=most_local, facts=facts)]
    views = training_views(batch, method, patch_px=patch_px, seed=seed)
    recolours = isinstance(method, PWSelfConfig) and method.recolour_patches
    plain = views
    if recolours:
        plain = training_views(batch, method, patch_px=patch_px, seed=seed, recoloured=False)
    states = [ShownViews(plain, "", "after cropping, mirroring and colour changes")]
    recoloured = "no patch is recoloured on its own"
    if recolours:
        states.append(ShownViews(views, ", every patch recoloured", "with every patch recoloured"))
        recoloured = (
            "then again with every patch recoloured on its own, which is what training sees"
        )
    facts = (
        f"Each view is shown after cropping, mirroring and colour changes of the whole; "
        f"{recoloured}. These are the draws of the first epoch with the settings and the seed "
        f"given."
    )
    figures = [views_figure(batch, names, states, most_local=most_local, facts=facts)]
    if isinstance(method, PWSelfConfig) and method.matching != "none":
        figures.append(matches_figure(batch, names, views, method.matching))
    return figures


def training_views(
    batch: ImageBatch, method: MethodConfig, *, patch_px: int, seed: int, recoloured: bool = True
) -> MultiCropViews:
    """Return the views that a run with these settings makes of these images.

    Args:
        batch: Images, resized as the run resizes them.
        method: Settings of the run; of a method whose views may lie anywhere in the image.
        patch_px: Side of a patch.
        seed: Of the run.
        recoloured: Whether patches are recoloured if the method does that.
    """
    colour = None
    if recoloured and isinstance(method, PWSelfConfig) and method.recolour_patches:
        colour = method.patch_colour
    views = method.views
    assert isinstance(views, ViewsConfig), "see `overlapping_views` for others"
    return make_multicrop(batch, views, patch_colour=colour, patch_px=patch_px, seed=seed)


def overlapping_views(
    batch: ImageBatch, views: OverlappingViewsConfig, *, patch_px: int, seed: int
) -> list[ShownViews]:
    """Return views that overlap: first what the teacher sees of these images, then the student.

    Args:
        batch: Images, resized as the run resizes them.
        views: What to draw.
        patch_px: Side of a patch.
        seed: Of the draws.
    """
    made = make_overlapping_views(batch, views, patch_px=patch_px, seed=seed)
    student, first = made.student, slice(GLOBAL_VIEWS)
    teacher = MultiCropViews(
        (made.teacher,), student.crops[first], student.grids[first], student.keys[first], len(batch)
    )
    return [
        ShownViews(teacher, ", as the teacher sees it", "after cropping"),
        ShownViews(student, ", as the student sees it", "after cropping and colour changes"),
    ]


def views_figure(
    batch: ImageBatch,
    names: Sequence[str],
    states: Sequence[ShownViews],
    *,
    most_local: int,
    facts: str,
) -> Figure:
    """Show all views of each image and where in it they lie.

    Args:
        batch: The images.
        names: Of the images.
        states: The same views in one or several states, a row each; the last has all of them.
        most_local: Local views that are shown at most, for each image.
        facts: What was done to the views.
    """
    crops = states[-1].views.crops
    most = min(len(crops), GLOBAL_VIEWS + most_local)
    rows = []
    for image, name in enumerate(names):
        boxes = boxes_tile(batch, image, name, crops)
        for state in states:
            shown = range(min(most, len(state.views.crops)))
            words = f"of {name} {state.state}"
            tiles = [view_tile(state.views, view, image, words) for view in shown]
            rows.append(Row(f"{name}{state.label}", (boxes, *tiles)))
    caption = (
        "The image with the boxes of its views, and the views. The model must give the same "
        "answer for all of them: what differs between views it learns to ignore, what they share "
        "it must use."
    )
    left_out = len(crops) - most
    more = f" Of {left_out} more local views only the boxes are shown." if left_out else ""
    how = f"{facts}{more} g: global view, l: local view."
    return Figure("views", "Views of an image", caption, how, tuple(rows), wide=True)
