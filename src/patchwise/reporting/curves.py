"""Which curves a log holds, and how each is read."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from patchwise.configs.cotap import CoTAPConfig
from patchwise.configs.methods import DistillationConfig, MethodConfig
from patchwise.configs.run import RunConfig
from patchwise.reporting.chart import Chart, Line

Log = Sequence[Mapping[str, Any]]
_STEPS = "optimiser step"
_REPEATED = {"health/loss_frac"}  # the loss over ln K, which its own chart shows


@dataclass(frozen=True)
class Warned:
    """A warning that was given while training."""

    step: int
    cause: str
    message: str


@dataclass(frozen=True)
class _Curve:
    """What to draw of a log: its keys with their names, and the words."""

    name: str
    title: str
    y_label: str
    keys: Mapping[str, str]
    meaning: str
    from_zero: bool = True


_CURVES = (
    _Curve(
        "loss", "Loss", "cross-entropy (nats)", {"loss": "loss"},
        "At ln K the student says nothing; a loss that stays there has not begun to learn. A "
        "lower loss need not be a better backbone: the teacher moves too.", from_zero=False,
    ),
    _Curve(
        "rate", "Learning rate", "learning rate", {"lr": "learning rate"},
        "What the optimiser was told: a linear warm-up, if there is one, then a cosine.",
    ),
    _Curve(
        "gradient", "Gradient norm", "norm before clipping", {"gradient_norm": "gradient norm"},
        "Peaks that grow announce that training will fail; a norm near 0, that it stands still.",
    ),
    _Curve(
        "speed", "Speed", "images per second", {"images_per_s": "images per second"},
        "A drop means that something else was running, or that images were slow to read.",
    ),
    _Curve(
        "wait", "Waiting for images", "share of the time", {"data_wait_frac": "share of waiting"},
        "Near 0, reading keeps up; well above 0.1, more data.workers would help.",
    ),
    _Curve(
        "entropy", "Entropy of the answers", "share of ln K",
        {"health/teacher_entropy": "teacher", "health/student_entropy": "student"},
        "1 is an even spread over all prototypes: nothing is said. 0 is one sure prototype, which "
        "is fine while many are in use.",
    ),
    _Curve(
        "prototypes", "Prototypes in use", "share of prototypes",
        {"health/prototype_use": "of all", "health/prototype_fill": "of what the batch could use"},
        "Close to 0, all patches get the same answer: collapse. The second near 1: the batch is "
        "the limit.",
    ),
    _Curve(
        "rank", "Effective rank of the features", "share of the largest possible",
        {"health/patch_rank": "patches", "health/image_rank": "images (CLS)"},
        "How many directions the teacher's features use. A fall by a third or more is on the way "
        "to collapse.",
    ),
    _Curve(
        "agreement",
        "Agreement of student and teacher",
        "share of matched pairs",
        {"health/agreement": "same first choice"},
        "Rises as the student learns to predict its partner. High from the start, with few "
        "prototypes in use, it is collapse.",
    ),
    _Curve(
        "distance", "Student from teacher", "distance / length of weights",
        {"health/teacher_distance": "distance"},
        "0: they are one and there is nothing to learn; above 0.2, the student runs away.",
    ),
    _Curve(
        "update", "Size of a step", "change / length of weights", {"health/update": "update"},
        "Well above 0.01, weights keep nothing of what they learnt.",
    ),
    _Curve(
        "offset", "Lead of one prototype", "score / teacher temperature",
        {"health/centre_offset": "lead"},
        "In the mean answer after centring; above 8, the centre does not keep up.",
    ),
    _Curve(
        "position", "Position bias", "share of variance",
        {"health/position_bias": "position bias"},
        "How much of a patch's feature its place alone explains: low is good.",
    ),
)  # fmt: skip
_COTAP = (
    _Curve(
        "loss", "Loss", "weighted sum of the parts", {"loss": "loss"},
        "It rises where a part sets in: dense once scores are queued, prototype once the bank is "
        "full. A lower loss need not be a better backbone: the teacher moves too.",
        from_zero=False,
    ),
    _Curve(
        "parts", "Parts of the loss", "loss, without its weight",
        {part: part for part in ("dense", "image", "neighbour", "ranking", "prototype")},
        "Dense, image and neighbour are cross-entropies in nats, ranking lies in [0, 1). They do "
        "not fall to 0: targets are soft, and sharpen as the teacher moves.", from_zero=False,
    ),
    _Curve(
        "ranking", "Ranking accuracy", "share of pairs", {"health/ranking_accuracy": "accuracy"},
        "Pairs of matches that student and teacher put in the same order; 0.5 is chance.",
    ),
    _Curve(
        "assignments", "Entropy of the teacher's assignments", "share of ln K",
        {"health/assignment_entropy": "patches", "health/image_assignment_entropy": "images"},
        "1: they say nothing, and the temperature is too high. 0: each is one prototype's alone.",
    ),
    _Curve(
        "in-use", "Prototypes in use", "share of prototypes",
        {"health/prototype_use": "patches' head", "health/image_prototype_use": "images' head",
         "health/filter_use": "filter"},
        "Assignments are balanced, so that the heads' stay near what a batch can use; the filter's "
        "are not.",
    ),
    _Curve(
        "agreement", "Agreement of student and teacher", "share",
        {"health/agreement": "patches", "health/image_agreement": "images"},
        "Of the same crop in other colours: how often both choose the same prototype first.",
    ),
    _Curve(
        "mask", "Foreground", "share of patches", {"health/mask_area": "foreground"},
        "Patches that hold 60 % of the teacher's attention, unless set otherwise.",
    ),
    _Curve(
        "age", "Age of the queues", "steps",
        {"health/patch_queue_age": "patches", "health/image_queue_age": "images"},
        "Mean age of the scores that assignments are balanced over.",
    ),
)  # fmt: skip
_NOT_COTAP = {"entropy", "offset", "prototypes"}


def _curves(config: RunConfig) -> tuple[_Curve, ...]:
    """Return the usual curves of a run; those of CoTAP take the place of others of their name."""
    curves = {curve.name: curve for curve in _CURVES}
    if isinstance(config.method, CoTAPConfig):
        curves |= {curve.name: curve for curve in _COTAP}
        curves = {name: curve for name, curve in curves.items() if name not in _NOT_COTAP}
    return tuple(curves.values())


def make_charts(log: Log, config: RunConfig) -> list[Chart]:
    """Return the charts of everything that a log holds, validation first."""
    moments = tuple(float(w.step) for w in warnings(log))
    charts = [_validation(log)] if _keys(log, "val/") else []
    usual = _curves(config)
    known = {key for curve in usual for key in curve.keys} | _REPEATED
    others = [
        _Curve(f"other-{n}", key.removeprefix("health/").replace("_", " "), "value", {key: key},
               "Logged by the method.")
        for n, key in enumerate(_keys(log, "health/")) if key not in known
    ]  # fmt: skip
    for curve in (*usual, *others):
        lines = tuple(
            Line(name, points) for key, name in curve.keys.items() if (points := _points(log, key))
        )
        if lines:
            charts.append(
                Chart(
                    name=f"curve-{curve.name}",
                    title=curve.title,
                    x_label=_STEPS,
                    y_label=curve.y_label,
                    lines=lines,
                    meaning=curve.meaning,
                    levels=_levels(config.method) if curve.name == "loss" else (),
                    moments=moments,
                    from_zero=curve.from_zero,
                )
            )
    return charts


def _levels(method: MethodConfig) -> tuple[tuple[float, str], ...]:
    """Return the loss of a student that says nothing, where it is known."""
    if not isinstance(method, DistillationConfig):
        return ()
    return ((math.log(method.prototypes), f"ln K = ln {method.prototypes}"),)


def missing_curves(log: Log, config: RunConfig) -> list[str]:
    """Return the titles of the usual curves of which a log holds nothing."""
    return [c.title for c in _curves(config) if not any(_points(log, key) for key in c.keys)]


def warnings(log: Log) -> list[Warned]:
    """Return the warnings of a log, in its order."""
    found = [(line.get("step", 0), line["warning"]) for line in log if "warning" in line]
    return [
        Warned(int(step), str(w.get("cause", "")), str(w.get("message", "")))
        if isinstance(w, Mapping)
        else Warned(int(step), "", str(w))
        for step, w in found
    ]


def _validation(log: Log) -> Chart:
    lines = tuple(
        Line(key.removeprefix("val/").replace("_", " "), _points(log, key), marked=True)
        for key in _keys(log, "val/")
    )
    return Chart(
        name="curve-validation",
        title="Validation",
        x_label=_STEPS,
        y_label="score, 1 is perfect",
        lines=lines,
        meaning="Scores on the labelled images that were given: the curve that tells whether "
        "training still helps, and when to stop.",
    )


def _keys(log: Log, prefix: str) -> list[str]:
    """Return all keys of a log that begin with ``prefix``, in the order of their first line."""
    return list(dict.fromkeys(key for line in log for key in line if key.startswith(prefix)))


def _points(log: Log, key: str) -> list[tuple[float, float]]:
    return [
        (float(line["step"]), float(line[key]))
        for line in log
        if "step" in line and isinstance(line.get(key), int | float) and math.isfinite(line[key])
    ]
