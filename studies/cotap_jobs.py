"""What the study of CoTAP has to do, from its tables and from what is done already."""

import functools
import hashlib
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from patchwise.data.source import open_source

TABLES = Path(__file__).with_name("cotap")
ARMS = ("cotap", "control")
VIT_ALONE = ", its ViT alone"
Kind = Literal["base", "neighbours", "speeds", "run", "score"]
Values = dict[str, Any]


@dataclass(frozen=True)
class Arm:
    """How runs are made that are compared with others."""

    recipe: str
    settings: Values = field(default_factory=dict)
    tries: Mapping[str, Values] = field(default_factory=dict)  # of which the best is taken
    warmup_frac: float = 0.0  # of the run


@dataclass(frozen=True)
class Change:
    """What is left out of a run of CoTAP, or done otherwise; or of one of the control."""

    settings: Values = field(default_factory=dict)
    arm: str = "cotap"
    times_as_long: int = 1
    neighbours_by: str | None = None
    every_seed: bool = False  # the first one alone, if not
    truth: str | None = None  # what it is told; see `studies.cotap_truth`


@dataclass(frozen=True)
class Study:
    """A file of tables, with what the command line says."""

    name: str
    train: str
    labelled: str
    steps: int  # of CoTAP
    seeds: tuple[int, ...]
    tuning_seed: int
    base: Arm
    common: Values
    arms: Mapping[str, Arm]
    speeds: Values
    scores: Mapping[str, Values]  # protocol and settings, by what tables call it
    ablation: Mapping[str, Change]


@dataclass(frozen=True)
class Job:
    """One thing to do. Its values are all that its record depends on."""

    name: str
    kind: Kind
    values: Values

    @property
    def key(self) -> str:
        """Name of its files: other values have other files."""
        text = json.dumps([self.kind, self.values], sort_keys=True)
        words = "".join(c if c.isalnum() or c == "." else "-" for c in self.name)
        return f"{words}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


Record = Callable[[Job], Values | None]  # of what is done; None: it is not


def read_study(path: Path, **changes: Any) -> Study:  # noqa: ANN401 - of its fields
    """Read tables; what is given by the command line goes over them."""
    found: Values = {**tomllib.loads(path.read_text(encoding="utf-8")), **changes}
    found["base"] = Arm(**found["base"])
    found["arms"] = {name: Arm(**found["arms"][name]) for name in ARMS}
    found["ablation"] = {name: Change(**values) for name, values in found["ablation"].items()}
    found["seeds"] = tuple(found["seeds"])
    return Study(name=path.stem, **found)


def jobs(study: Study, record: Record) -> Iterator[Job]:
    """Yield all jobs that can be named by what is done: what comes later depends on it.

    Weights, neighbours and speeds are jobs that nothing runs beside.
    """
    base = base_job(study)
    yield base
    weights = record(base)
    if weights is None:
        return
    nearby = neighbours_job(study, weights)
    yield nearby
    if record(nearby) is None:
        return
    speeds = speeds_job(study, weights)
    yield speeds
    if record(speeds) is None:
        return
    steps = steps_of(study, record)
    yield score_job(study, "base", weights)
    tries = list(tuning_jobs(study, weights, steps))
    yield from tries
    if any(record(job) is None for job in tries):
        return
    best = {arm: best_try(study, record, arm) for arm in ARMS}
    as_taken = speeds_job(study, weights, best)
    yield as_taken
    if record(as_taken) is None:
        return
    steps = steps_of(study, record, best)
    runs = list(final_jobs(study, weights, steps, best))
    changed = list(ablation_jobs(study, weights, steps, best))
    yield from runs
    yield from changed
    for job in [*runs[:: len(ARMS)], *changed]:
        trained = record(job)
        if _is_filtered(study, job) and trained is not None and "weights" in trained:
            yield score_job(study, f"{job.name}{VIT_ALONE}", trained, part="vit")


def base_job(study: Study) -> Job:
    """Return the job that makes the weights to begin with."""
    settings = {**study.common, **study.base.settings}
    return Job("base", "base", {"train": study.train, **asdict(study.base), "settings": settings})


def neighbours_job(study: Study, weights: Values) -> Job:
    """Return the job that finds the neighbours, as CoTAP's runs want them."""
    return Job("neighbours", "neighbours", _arm(study, "cotap", weights))


def speeds_job(study: Study, weights: Values, best: Mapping[str, str] | None = None) -> Job:
    """Return the job that measures both arms, one beside the other: the recipes, or best tries."""
    arms = {arm: _arm(study, arm, weights) for arm in ARMS}
    for arm, name in (best or {}).items():
        arms[arm]["settings"] |= study.arms[arm].tries[name]
    name = "speeds" if best is None else "speeds of what is taken"
    return Job(name, "speeds", {"arms": arms, "speeds": study.speeds})


def score_job(study: Study, name: str, weights: Values, part: str = "whole") -> Job:
    """Return the job that scores weights which are there; ``part`` may be the ViT alone."""
    values = {"file": weights["file"], "weights": weights["weights"], "part": part}
    return Job(name, "score", {**values, **_scored(study, "unseen")})


def tuning_jobs(study: Study, weights: Values, steps: Mapping[str, int]) -> Iterator[Job]:
    """Yield the tries of both arms, in turn."""
    for pair in zip(*(study.arms[arm].tries.items() for arm in ARMS), strict=True):
        for arm, (name, settings) in zip(ARMS, pair, strict=True):
            yield _run(
                study,
                f"tuning {arm}, {name}",
                {"train.seed": study.tuning_seed, **settings},
                _arm(study, arm, weights, steps[arm]),
                _scored(study, "tuning"),
            )


def best_try(study: Study, record: Record, arm: str) -> str:
    """Return the try of highest in-context mIoU on the images to tune on."""
    weights = record(base_job(study))
    assert weights is not None, "tries come after the weights"
    scores = {}
    for job in tuning_jobs(study, weights, steps_of(study, record)):
        head = f"tuning {arm}, "
        found = record(job) if job.name.startswith(head) else None
        if found is not None and "scores" in found:
            scores[job.name.removeprefix(head)] = found["scores"]["incontext"]
    if not scores:
        raise SystemExit(f"no try of {arm} came to its end; see their logs")
    return max(scores, key=lambda name: scores[name])


def final_jobs(
    study: Study, weights: Values, steps: Mapping[str, int], best: Mapping[str, str]
) -> Iterator[Job]:
    """Yield the runs that are compared: for each seed those of both arms, CoTAP's first."""
    for seed in study.seeds:
        for arm in ARMS:
            yield _run(
                study,
                f"{arm} {seed}",
                {"train.seed": seed, **study.arms[arm].tries[best[arm]]},
                _arm(study, arm, weights, steps[arm]),
                _scored(study, "unseen"),
            )


def ablation_jobs(
    study: Study, weights: Values, steps: Mapping[str, int], best: Mapping[str, str]
) -> Iterator[Job]:
    """Yield runs with one thing changed."""
    for name, change in study.ablation.items():
        taken = study.arms[change.arm].tries[best[change.arm]]
        arm = _arm(study, change.arm, weights, change.times_as_long * steps[change.arm])
        told = {} if change.truth is None else {"truth": change.truth}
        for seed in study.seeds if change.every_seed else study.seeds[:1]:
            yield _run(
                study,
                name if seed == study.seeds[0] else f"{name}, seed {seed}",
                {"train.seed": seed, **taken, **change.settings},
                {**arm, "neighbours_by": change.neighbours_by, **told},
                _scored(study, "unseen"),
            )


def steps_of(study: Study, record: Record, best: Mapping[str, str] | None = None) -> dict[str, int]:
    """Return the steps of both arms: those of the control take as long as CoTAP's.

    Those of tries by how long the recipes take, later ones by how long the best tries do. To
    CoTAP's time belong the search for neighbours, and what its first steps take longer than
    others: among them is the one that makes the filter's prototypes.
    """
    weights = record(base_job(study))
    assert weights is not None, "speeds come after the weights"
    nearby = record(neighbours_job(study, weights))
    assert nearby is not None, "speeds come after the neighbours"
    speeds = record(speeds_job(study, weights, best))
    assert speeds is not None, "runs come after the speeds"
    seconds = speeds["step_s"]
    whole = nearby["seconds"] + speeds["start_s"] + study.steps * seconds["cotap"]
    return {"cotap": study.steps, "control": max(1, round(whole / seconds["control"]))}


def _arm(study: Study, arm: str, weights: Values, steps: int | None = None) -> Values:
    """Return what all runs of an arm have in common, but for their length if none is given."""
    own = study.arms[arm]
    values = {
        "train": study.train,
        "file": weights["file"],
        "weights": weights["weights"],
        "recipe": own.recipe,
        "settings": {**study.common, **own.settings},
    }
    if steps is not None:
        a_step = values["settings"]["train.batch"]
        epochs = steps / (_count(study.train) // a_step)
        values["settings"]["train.epochs"] = epochs
        if own.warmup_frac:
            values["settings"]["optim.warmup_epochs"] = own.warmup_frac * epochs
    return values


def _is_filtered(study: Study, job: Job) -> bool:
    """Tell whether a run of CoTAP with the filter is one of every seed."""
    change = study.ablation.get(job.name.split(", seed ")[0], Change(every_seed=True))
    of_every_seed = change.arm == "cotap" and change.every_seed
    return of_every_seed and job.values["settings"].get("method.filter_prototypes") != 0


@functools.cache
def _count(train: str) -> int:
    return len(open_source(train))


def _run(study: Study, name: str, settings: Values, arm: Values, scored: Values) -> Job:
    return Job(name, "run", {**arm, **scored, "settings": {**arm["settings"], **settings}})


def _scored(study: Study, images: Literal["tuning", "unseen"]) -> Values:
    names = ["incontext"] if images == "tuning" else list(study.scores)
    scores = {name: study.scores[name] for name in names}
    return {"labelled": study.labelled, "images": images, "scores": scores}
