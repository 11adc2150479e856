"""The named protocols: a name stands for published settings, or says that it is a short form.

Short forms, for small data and small machines, and measures of health, which have no published
settings, take the images' own size: it is derived once and then stands in the result's settings
like any other.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from patchwise.checks import check_choice
from patchwise.configs.loader import replace_options
from patchwise.errors import ConfigError
from patchwise.eval import short
from patchwise.eval.dense_score import DenseScore
from patchwise.eval.fcn import FCNSegmentation
from patchwise.eval.health import HealthFeatures
from patchwise.eval.images import KNNImages
from patchwise.eval.incontext import InContext
from patchwise.eval.knn_cotap import KNNCoTAP
from patchwise.eval.linear_cotap import LinearCoTAP
from patchwise.eval.linear_dino import LinearDINO, linear_features
from patchwise.eval.linseg import LinearSegmentation
from patchwise.eval.linseg_dinov2 import LinearDINOv2
from patchwise.eval.linseg_leopart import LinearLeopart
from patchwise.eval.overcluster import Overclustering
from patchwise.eval.patches import KNNPatches
from patchwise.eval.run_health import HealthRun
from patchwise.eval.setup import Runnable
from patchwise.eval.unsupseg import UnsupervisedSegmentation

Kind = Literal["images", "labelled", "run", "segmentation"]
_SIDES = {"size_px", "crop_px", "train_px", "test_px"}
LARGEST_SHORT_PX = 224  # side of the squares that short forms look at


@dataclass(frozen=True)
class Facts:
    """What short forms are derived from."""

    short_side_px: int  # median of the images, or less
    patch_px: int
    dim: int = 384  # channels of the features

    @property
    def side_px(self) -> int:
        """Side of the squares of short forms: as many whole patches as fit."""
        return max(1, self.short_side_px // self.patch_px) * self.patch_px


EXAMPLE = Facts(LARGEST_SHORT_PX, 16)  # for showing settings without a model


@dataclass(frozen=True)
class Preset:
    """A named protocol."""

    kind: Kind  # of the data it needs: images, with their classes, or of pixels; or a run's folder
    make: Callable[[str, Facts], Runnable]
    help: str


def make_protocol(name: str, facts: Facts, settings: dict[str, Any]) -> Runnable:
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


_CITYSCAPES: dict[str, Any] = {
    "batch": 64, "train_px": 896, "test_px": 1024, "native_labels": True, "area_frac": (0.36, 1.0),
}  # fmt: skip


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
    "knn/dino-short": Preset(
        "labelled",
        lambda name, facts: short.knn(name, facts.side_px),
        "The same at the images' own size.",
    ),
    "knn/cotap": Preset(
        "labelled",
        lambda name, _: KNNCoTAP(name),
        "The best of 25 settings of k-NN, chosen on the images that are scored; as CoTAP: 224 px.",
    ),
    "knn/cotap-short": Preset(
        "labelled",
        lambda name, facts: short.knn_cotap(name, facts.side_px),
        "The same at the images' own size.",
    ),
    "linear/dino": Preset(
        "labelled",
        lambda name, facts: LinearDINO(name, **linear_features(facts.dim)),
        "A linear layer on CLS of four blocks, or CLS and patches of one; 100 epochs of crops.",
    ),
    "linear/dino-short": Preset(
        "labelled",
        lambda name, facts: short.linear_dino(name, facts.side_px, dim=facts.dim),
        "The same in 10 epochs at the images' own size.",
    ),
    "linear/cotap": Preset(
        "labelled", lambda name, _: LinearCoTAP(name), "A linear layer on CLS, 5,000 steps of 256."
    ),
    "linear/cotap-short": Preset(
        "labelled",
        lambda name, facts: short.linear_cotap(name, facts.side_px),
        "The same in 500 steps at the images' own size.",
    ),
    "knn/patches-short": Preset(
        "segmentation",
        lambda name, facts: KNNPatches(name, size_px=facts.side_px),
        "k-NN of patches by the class of most of their pixels.",
    ),
    "health/dense": Preset(
        "images",
        lambda name, facts: DenseScore(name, size_px=facts.side_px),
        "A score without labels: what the patches of two views have in common.",
    ),
    "health/features": Preset(
        "images",
        lambda name, facts: HealthFeatures(name, size_px=facts.side_px),
        "Ranks, position bias and dispersion of features; labels are used if there are any.",
    ),
    "health/run": Preset(
        "run", lambda name, _: HealthRun(name), "What a training run has logged of its health."
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
        "segmentation",
        lambda name, facts: short.linseg(name, facts.side_px),
        "The same in 300 steps of 32 at the images' own size.",
    ),
    "linseg/cotap-coco27": Preset(
        "segmentation",
        lambda name, _: LinearSegmentation(name, steps=390, batch=256),
        "The same for COCO-Stuff-27: 390 steps of 256.",
    ),
    "linseg/cotap-cityscapes": Preset(
        "segmentation",
        lambda name, _: LinearSegmentation(name, steps=1562, rate=1e-3, **_CITYSCAPES),
        "The same for Cityscapes: 1,562 steps of 64 at 896 px, tested at 1024 px.",
    ),
    "fcn/cotap": Preset(
        "segmentation",
        lambda name, _: FCNSegmentation(name),
        "A small convolutional network on frozen patches: 3,125 steps of 128, tested at 448 px.",
    ),
    "fcn/cotap-voc": Preset(
        "segmentation",
        lambda name, _: FCNSegmentation(name, test_px=336),
        "The same for VOC: tested at 336 px.",
    ),
    "fcn/cotap-cityscapes": Preset(
        "segmentation",
        lambda name, _: FCNSegmentation(name, steps=6250, **_CITYSCAPES),
        "The same for Cityscapes: 6,250 steps of 64 at 896 px, tested at 1024 px.",
    ),
    "fcn/cotap-short": Preset(
        "segmentation",
        lambda name, facts: short.fcn(name, facts.side_px),
        "The same in 300 steps of 32 at the images' own size.",
    ),
    "linseg/leopart": Preset(
        "segmentation",
        lambda name, _: LinearLeopart(name),
        "A linear layer on frozen patches, labels and scores at 100 px: 25 epochs at 448 px.",
    ),
    "linseg/leopart-short": Preset(
        "segmentation",
        lambda name, facts: short.leopart(name, facts.side_px),
        "The same in 10 epochs at the images' own size.",
    ),
    "linseg/dinov2": Preset(
        "segmentation",
        lambda name, _: LinearDINOv2(name),
        "Normalisation and a linear layer, labels at full size: 40,000 steps of 16 at 512 px.",
    ),
    "linseg/dinov2-short": Preset(
        "segmentation",
        lambda name, facts: short.dinov2(name, facts.side_px),
        "The same in 300 steps at the images' own size.",
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
