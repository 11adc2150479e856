"""The named protocols: a name stands for published settings, or says that it is a short form.

Short forms, for small data and small machines, take the images' own size: it is derived once
and then stands in the result's settings like any other.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from patchwise.checks import check_choice
from patchwise.configs.loader import replace_options
from patchwise.errors import ConfigError
from patchwise.eval.images import KNNImages
from patchwise.eval.incontext import InContext
from patchwise.eval.linseg import LinearSegmentation
from patchwise.eval.overcluster import Overclustering
from patchwise.eval.patches import KNNPatches
from patchwise.eval.unsupseg import UnsupervisedSegmentation

Kind = Literal["labelled", "segmentation"]
Protocol = (
    KNNImages
    | KNNPatches
    | InContext
    | LinearSegmentation
    | Overclustering
    | UnsupervisedSegmentation
)
_SIDES = {"size_px", "crop_px", "train_px", "test_px"}
LARGEST_SHORT_PX = 224  # side of the squares that short forms look at


@dataclass(frozen=True)
class Facts:
    """What short forms are derived from."""

    short_side_px: int  # median of the images, or less
    patch_px: int

    @property
    def side_px(self) -> int:
        """Side of the squares of short forms: as many whole patches as fit."""
        return max(1, self.short_side_px // self.patch_px) * self.patch_px


@dataclass(frozen=True)
class Preset:
    """A named protocol."""

    kind: Kind  # of the data it needs: classes of images, or of pixels
    make: Callable[[str, Facts], Protocol]
    help: str


def make_protocol(name: str, facts: Facts, settings: dict[str, Any]) -> Protocol:
    """Return a named protocol, with some settings changed; then its name says so.

    Raises:
        ChoiceError: There is no such protocol.
        ConfigError: A setting is unknown or has a value that cannot be used.
    """
    check_choice("evaluate", PROTOCOLS, protocol=name)
    published = PROTOCOLS[name].make(name, facts)
    if "preset" in settings:
        raise ConfigError(
            f"config: key 'preset' must be left out, got {settings['preset']!r}; it follows from "
            f"the settings"
        )
    changed = replace_options(published, settings, section=name)
    for side in _SIDES & {field.name for field in fields(changed)}:
        if getattr(changed, side) % facts.patch_px:
            nearest = max(1, round(getattr(changed, side) / facts.patch_px)) * facts.patch_px
            raise ConfigError(
                f"config: key '{side}' of {name} must be a multiple of the backbone's patch of "
                f"{facts.patch_px} px, got {getattr(changed, side)}; use --set {side}={nearest}"
            )
    names = sorted(n for n in settings if getattr(changed, n) != getattr(published, n))
    if names in ([], ["seed"]):
        return changed
    told = ",".join(n for n in names if n != "seed")
    return replace(changed, preset=f"{name} (changed: {told})")


def _knn_short(name: str, facts: Facts) -> KNNImages:
    resize_px = round(facts.side_px * 256 / 224)
    return KNNImages(name, resize_px=resize_px, crop_px=facts.side_px)


def _linseg_short(name: str, facts: Facts) -> LinearSegmentation:
    side_px = facts.side_px
    return LinearSegmentation(
        name, train_px=side_px, test_px=side_px, steps=300, batch=32, every_epoch=False
    )


def _overcluster_short(clusters: int | None) -> Callable[[str, Facts], Overclustering]:
    def make(name: str, facts: Facts) -> Overclustering:
        side_px = facts.side_px
        return Overclustering(name, side_px, min(100, side_px), clusters, runs=3, restarts=1)

    return make


def _incontext(memory: int, part: int, *, short: bool = False) -> Preset:
    """Return retrieval of labelled patches, of one in ``part`` images to learn from."""

    def make(name: str, facts: Facts) -> InContext:
        side_px = facts.side_px if short else 512 // facts.patch_px * facts.patch_px
        return InContext(name, size_px=side_px, memory=memory, fraction=1 / part)

    images = "all images" if part == 1 else f"1 in {part} images"
    size = "the images' own size" if short else "512 px or just below"
    told = f"Segmentation by retrieval of {memory:,} labelled patches of {images}, at {size}."
    return Preset("segmentation", make, told)


PROTOCOLS: dict[str, Preset] = {
    "knn/dino": Preset(
        "labelled", lambda name, _: KNNImages(name), "k-NN of images by CLS, as DINO: 224 px."
    ),
    "knn/dino-short": Preset("labelled", _knn_short, "The same at the images' own size."),
    "knn/patches-short": Preset(
        "segmentation",
        lambda name, facts: KNNPatches(name, size_px=facts.side_px),
        "k-NN of patches by the class of most of their pixels.",
    ),
    "incontext/hummingbird": _incontext(10_240_000, 1),
    "incontext/hummingbird-1024x1000": _incontext(1_024_000, 1),
    "incontext/hummingbird-1024x100": _incontext(102_400, 1),
    "incontext/hummingbird-1of8": _incontext(10_240_000, 8),
    "incontext/hummingbird-1of64": _incontext(10_240_000, 64),
    "incontext/hummingbird-1of128": _incontext(10_240_000, 128),
    "incontext/hummingbird-short": _incontext(102_400, 1, short=True),
    "incontext/hummingbird-1of8-short": _incontext(102_400, 8, short=True),
    "incontext/hummingbird-1of64-short": _incontext(102_400, 64, short=True),
    "incontext/hummingbird-1of128-short": _incontext(102_400, 128, short=True),
    "linseg/cotap": Preset(
        "segmentation",
        lambda name, _: LinearSegmentation(name),
        "A linear layer on frozen patches: 781 steps of 128 at 336 px, tested at 448 px.",
    ),
    "linseg/cotap-short": Preset(
        "segmentation", _linseg_short, "The same in 300 steps of 32 at the images' own size."
    ),
    "overcluster/leopart": Preset(
        "segmentation",
        lambda name, _: Overclustering(name),
        "500 clusters of patches, each of the class of most of its pixels: 448 px, 5 runs.",
    ),
    "overcluster/leopart-300": Preset(
        "segmentation", lambda name, _: Overclustering(name, clusters=300), "The same with 300."
    ),
    "overcluster/leopart-classes": Preset(
        "segmentation",
        lambda name, _: Overclustering(name, clusters=None),
        "The same with as many as classes, paired one to one for the best IoU.",
    ),
    "overcluster/leopart-short": Preset(
        "segmentation", _overcluster_short(500), "500 at the images' own size: 3 runs, one start."
    ),
    "overcluster/leopart-300-short": Preset(
        "segmentation", _overcluster_short(300), "The same with 300."
    ),
    "overcluster/leopart-classes-short": Preset(
        "segmentation",
        _overcluster_short(None),
        "The same with as many as classes, paired one to one for the best IoU.",
    ),
    "unsupseg/stego": Preset(
        "segmentation",
        lambda name, facts: UnsupervisedSegmentation(name, 320 // facts.patch_px * facts.patch_px),
        "As many clusters as classes, paired for most pixels right: 320 px or just below.",
    ),
    "unsupseg/stego-short": Preset(
        "segmentation",
        lambda name, facts: UnsupervisedSegmentation(name, facts.side_px, restarts=1),
        "The same at the images' own size, with one start.",
    ),
}
