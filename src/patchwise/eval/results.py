"""What evaluation protocols return. Plain values, so that they can be saved and compared."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from patchwise.errors import DataError
from patchwise.features.subject import ModelIdentity

STORED = "float16 from a store"
Setting = str | int | float | bool | None | tuple[int | float | str, ...]


@dataclass(frozen=True)
class DataIdentity:
    """Which images a result is about."""

    name: str
    fit: int  # images whose labels were used: the memory, or what a head was trained on
    test: int  # images that were scored
    sha256: str


@dataclass(frozen=True)
class Fingerprint:
    """Everything behind a number. Two scores may be compared if their ``protocol`` is equal."""

    preset: str  # name of the set-up, such as "incontext/hummingbird"
    version: int  # of the preset: raised when the same settings would give another number
    settings: dict[str, Setting]  # every choice that changes the score
    data: DataIdentity
    model: ModelIdentity
    seed: int
    device: str
    packages: dict[str, str]  # with the version of patchwise and of python
    seconds: float
    peak_bytes: int  # most memory that the process held by then, or the GPU's
    features: str = "float32"  # or `STORED`: which moves scores in the last digits

    @property
    def protocol(self) -> str:
        """Preset, settings and data in one line: equal for scores that may be compared."""
        settings = " ".join(f"{name}={_plain(value)}" for name, value in self.settings.items())
        data = f"{self.data.name}:{self.data.fit}+{self.data.test}:{self.data.sha256[:12]}"
        return f"{self.preset} v{self.version} {settings} data={data} seed={self.seed}"


@dataclass(frozen=True)
class Interval:
    """Where a score would lie with other test images like these: 95 %, by bootstrap over images."""

    low: float
    high: float


@dataclass(frozen=True)
class ClassificationResult:
    """Classes of images or patches, by frozen features. Scores lie in [0, 1]."""

    fingerprint: Fingerprint
    accuracy: float  # share of queries whose first guess is right
    top5: float  # share of queries with the right class among the first five guesses
    balanced_accuracy: float  # mean over classes of the share whose first guess is right
    num_queries: int
    num_memory: int  # whose labels were used
    interval: Interval | None = None  # of ``accuracy``
    best_accuracy: float | None = None  # of the best epoch by these very labels: not to be reported
    others: dict[str, float] = field(default_factory=dict)  # accuracy by another setting
    selected: str | None = None  # what was chosen by these very labels; None: nothing was


@dataclass(frozen=True)
class SegmentationResult:
    """Scores in [0, 1], from one confusion matrix over all test images."""

    fingerprint: Fingerprint
    miou: float  # mean of ``iou`` over the scored classes that occur
    iou: dict[str, float | None]  # by class; None: neither in labels nor in predictions
    pixel_accuracy: float  # over all classes, scored or not; ignored pixels do not count
    best_miou: float | None  # of the best epoch by these very labels: not to be reported
    interval: Interval | None = None  # of ``miou``
    miou_by_run: tuple[float, ...] | None = None  # of which ``miou`` is the mean; None: one run
    search_recall: float | None = None  # share of true neighbours found; None: all, or no search


@dataclass(frozen=True)
class HealthResult:
    """What features are like. Nothing here is a score: see docs/health.md for how to read it."""

    fingerprint: Fingerprint
    patch_rank: float  # dimensions that the patch features fill, 1 to ``dim``
    image_rank: float  # the same of the CLS features; at most the number of images
    dim: int  # channels of the features
    position_bias: float  # share of the patches' variance that their place alone explains
    high_norm_share: float  # of patches
    within_instance: float | None  # mean cosine distance of two patches of one object
    within_class: float | None  # of one category, but of different objects
    between_classes: float | None  # None: not measured, or there are no such pairs
    objects: str | None = None  # known by "masks", "labels" or "attention"; None: not known

    @property
    def instance_ratio(self) -> float | None:
        """Distance within an object over that between categories."""
        return _ratio(self.within_instance, self.between_classes)

    @property
    def class_ratio(self) -> float | None:
        """Distance within a category over that between categories: near 1 is over-dispersed."""
        return _ratio(self.within_class, self.between_classes)


@dataclass(frozen=True)
class RunHealthResult:
    """How a training run went by its own log: see docs/health.md for how to read it."""

    fingerprint: Fingerprint
    steps: int  # up to which the log goes
    lines: int  # of the log, of which the values are medians: the last ones
    teacher_entropy: float  # of the answers, of ln K
    prototype_use: float  # exp(entropy of the mean answer) / K
    loss_frac: float  # of ln K: at 1 the student foresees nothing
    agreement: float  # share of matched pairs with the same first choice
    values: dict[str, float]  # all that the log holds of health
    cause: str | None  # by name, of what goes wrong; None: nothing is seen
    message: str | None  # the evidence, and what to try


@dataclass(frozen=True)
class DenseScoreResult:
    """How good patch features look without labels. Higher is better: see docs/choice.md."""

    fingerprint: Fingerprint
    score: float
    pairs: int  # of patches of two views that show the same place
    dim: int  # channels of the features


Result = (
    ClassificationResult | SegmentationResult | HealthResult | RunHealthResult | DenseScoreResult
)
RESULTS: dict[str, type[Result]] = {
    "classification": ClassificationResult,
    "dense-score": DenseScoreResult,
    "health": HealthResult,
    "run-health": RunHealthResult,
    "segmentation": SegmentationResult,
}


@dataclass(frozen=True)
class Evaluation:
    """A result, and whose it is: "before training", "raw RGB patches", ..."""

    subject: str
    result: Result


def headline(result: Result) -> tuple[str, float]:
    """Return name and value of the one score by which a result is known."""
    if isinstance(result, ClassificationResult):
        return "accuracy", result.accuracy
    if isinstance(result, HealthResult):
        return "patch rank", result.patch_rank
    if isinstance(result, RunHealthResult):
        return "loss of ln K", result.loss_frac
    if isinstance(result, DenseScoreResult):
        return "label-free score", result.score
    return "mIoU", result.miou


def dump_result(result: Result) -> dict[str, Any]:
    """Return a result as plain values, with its ``kind``."""
    kind = next(kind for kind, type_ in RESULTS.items() if isinstance(result, type_))
    return {"kind": kind, **dataclasses.asdict(result)}


def parse_result(values: Mapping[str, Any], *, source: str) -> Result:
    """Read what `dump_result` wrote.

    Raises:
        DataError: It is no result; ``source`` is named.
    """
    kind = values.get("kind") if isinstance(values, Mapping) else None
    if not isinstance(kind, str) or kind not in RESULTS:
        raise DataError(
            f"parse_result: kind in '{source}' must be one of {', '.join(RESULTS)}, got {kind!r}"
        )
    content = {name: value for name, value in values.items() if name != "kind"}
    try:
        result: Result = TypeAdapter(RESULTS[kind]).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(
            f"parse_result: {where} of a {kind} result in '{source}' must be valid, "
            f"got {first['input']!r}: {first['msg']}"
        ) from error
    return result


def _plain(value: Setting) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _ratio(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole
