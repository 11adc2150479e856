"""The results of the study of CoTAP: collected, judged by margins, and shown as tables."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from patchwise.files import write_text
from studies.cotap_jobs import (
    ARMS,
    VIT_ALONE,
    Job,
    Record,
    Study,
    Values,
    ablation_jobs,
    base_job,
    best_try,
    final_jobs,
    jobs,
    neighbours_job,
    speeds_job,
    steps_of,
    tuning_jobs,
)

PAGE = Path(__file__).parents[1] / "docs" / "cotap_study.md"
# Written down before any run: by so much CoTAP should be ahead of its control on every seed.
MARGINS = {"incontext": 0.02, "linear": 0.02, "knn": -0.01}
RATIO = 0.9  # of the control's within-class over between-class distance, or less
_HEADS = {
    "incontext": "in-context mIoU",
    "linear": "linear mIoU",
    "knn": "k-NN",
    "within instance": "within instance",
    "within class": "within class",
    "between": "between",
    "ratio": "class / between",
}
_BEHIND = ("weights", "config", "steps", "seconds", "warnings", "scores", "failed")


def collect(study: Study, record: Record) -> Values:
    """Return all that is known so far, with fingerprints of weights, settings and data."""
    found: Values = {"study": _settings_of(study), "runs": {}, "tuning": {}, "protocols": {}}
    weights = record(base_job(study))
    if weights is None:
        return found
    found["base"] = weights["weights"]
    for job in (neighbours_job(study, weights), speeds_job(study, weights)):
        found[job.name] = record(job)
    if found["neighbours"] is None or found["speeds"] is None:
        return found
    found["steps of tries"] = steps_of(study, record)
    tries = {job.key for job in tuning_jobs(study, weights, found["steps of tries"])}
    for job in jobs(study, record):
        values = record(job)
        if values is None or job.kind not in {"run", "score"}:
            continue
        part = found["tuning" if job.key in tries else "runs"]
        part[job.name] = {name: values[name] for name in _BEHIND if name in values}
        _agree(found, job, values)
    if len(found["tuning"]) == len(tries):
        best = found["best"] = {arm: best_try(study, record, arm) for arm in ARMS}
        as_taken = speeds_job(study, weights, best)
        found[as_taken.name] = record(as_taken)
        if found[as_taken.name] is None:
            return found
        steps = found["steps"] = steps_of(study, record, best)
        every = list(final_jobs(study, weights, steps, best))
        changed = ablation_jobs(study, weights, steps, best)
        found["ablation"] = [job.name for job in changed]
        found["complete"] = all(
            name in found["runs"] for name in [*(job.name for job in every), *found["ablation"]]
        )
    return found


def verdicts(found: Values) -> Iterator[tuple[int, str, float, bool]]:
    """Yield for each seed that both arms have: what, CoTAP against its control, is it enough."""
    for seed in found["study"]["seeds"]:
        cotap, control = (_scores(found, f"{arm} {seed}") for arm in ARMS)
        if cotap is None or control is None:
            continue
        for name, margin in MARGINS.items():
            ahead = cotap[name] - control[name]
            yield seed, name, ahead, ahead >= margin
        ratio = cotap["ratio"] / control["ratio"]
        yield seed, "ratio", ratio, ratio <= RATIO


def tables(found: Values) -> str:
    """Return what a page shows of results, as Markdown."""
    runs = found["runs"]
    if "steps of tries" not in found or not runs:
        return "Not run yet.\n"
    seeds = found["study"]["seeds"]
    rows = ["base"]
    for arm in ("control", "cotap"):
        rows += [f"{arm} {seed}" for seed in seeds]
    rows += [name for name in runs if name.endswith(VIT_ALONE)]
    parts = [_lengths(found), _score_table(found, rows, mean=True)]
    judged = list(verdicts(found))
    if judged:
        parts.append(_judgement_table(judged))
    if found.get("ablation"):
        parts.append(_score_table(found, [f"cotap {seeds[0]}", *found["ablation"]]))
    parts.append(_tuning_table(found))
    return "\n".join(parts)


def write_page(name: str, found: Values, page: Path = PAGE) -> None:
    """Put the tables of a study between its two marks on the page."""
    text = page.read_text(encoding="utf-8")
    write_text(page, insert(text, name, tables(found)))


def insert(text: str, name: str, shown: str) -> str:
    """Return a page with something else between the marks of a name."""
    marks = f"<!-- {name}: written by studies.cotap -->", f"<!-- end of {name} -->"
    pattern = re.compile(f"({re.escape(marks[0])}\n).*?({re.escape(marks[1])})", re.DOTALL)
    made, number = pattern.subn(lambda match: f"{match[1]}{shown}{match[2]}", text)
    assert number == 1, f"the page must have the marks of {name} once"
    return made


def _settings_of(study: Study) -> Values:
    """Return the tables without the machine's places."""
    values = asdict(study)
    return {**values, **{name: Path(values[name]).name for name in ("train", "labelled")}}


def _agree(found: Values, job: Job, values: Values) -> None:
    """Note the protocols once: scores of one table must be of one protocol and of one program."""
    images = "tuning: " if job.values["images"] == "tuning" else ""
    behind = {f"{images}{name}": line for name, line in values.get("protocols", {}).items()}
    for name, line in behind.items():
        if found["protocols"].setdefault(name, line) != line:
            raise SystemExit(f"{job.name} was scored by another protocol: {line}")
    packages = values.get("packages")
    if packages and found.setdefault("packages", packages) != packages:
        raise SystemExit(f"{job.name} was scored with other packages: {packages}")


def _scores(found: Values, name: str) -> dict[str, float] | None:
    """Return the scores of a run with the ratio that tells over-dispersion; None: it has none."""
    scores = found["runs"].get(name, {}).get("scores")
    if scores is None:
        return None
    return {**scores, "ratio": scores["within class"] / scores["between"]}


def _lengths(found: Values) -> str:
    neighbours = found["neighbours"]["seconds"]
    lines = [
        _length("The recipes", "the tries", found["speeds"], neighbours, found["steps of tries"])
    ]
    if "steps" in found:
        taken = found["speeds of what is taken"]
        lines.append(_length("What is taken", "the runs", taken, neighbours, found["steps"]))
    return "\n\n".join(lines) + "\n"


def _length(
    what: str, whose: str, speeds: Values, neighbours_s: float, steps: Mapping[str, int]
) -> str:
    a_step = ", ".join(f"{arm} {1000 * speeds['step_s'][arm]:.0f} ms" for arm in ARMS)
    return (
        f"{what}, a step, side by side ({speeds['clock']} seconds; {speeds['machine']}): {a_step}; "
        f"the neighbours {neighbours_s:.0f} s, the start of CoTAP {speeds['start_s']:.0f} s. "
        f"Hence of {whose} {steps['cotap']} steps for CoTAP and {steps['control']} for the control."
    )


def _score_table(found: Values, names: Sequence[str], *, mean: bool = False) -> str:
    lines = [f"| | {' | '.join(_HEADS.values())} | steps | seconds |"]
    lines.append("|---" * (len(_HEADS) + 3) + "|")
    for name in names:
        scores, run = _scores(found, name), found["runs"].get(name, {})
        if scores is None:
            lines.append(f"| {name} | {'failed' if 'failed' in run else 'not run'} |")
            continue
        length = f"{run.get('steps', '')} | {run.get('seconds', '')}"
        lines.append(f"| {name} | {_cells(scores)} | {length} |")
    if mean:
        for arm in ("control", "cotap"):
            every = [_scores(found, f"{arm} {seed}") for seed in found["study"]["seeds"]]
            there = [scores for scores in every if scores is not None]
            if there:
                means = {name: _mean([scores[name] for scores in there]) for name in _HEADS}
                lines.append(f"| **{arm}, mean of {len(there)}** | {_cells(means)} | | |")
    return "\n".join(lines) + "\n"


def _judgement_table(judged: Sequence[tuple[int, str, float, bool]]) -> str:
    names = [*MARGINS, "ratio"]
    wanted = [f"at least {margin:+.2f}" for margin in MARGINS.values()] + [f"at most {RATIO}"]
    lines = ["| CoTAP against its control | " + " | ".join(_HEADS[name] for name in names) + " |"]
    lines.append("|---" * (len(names) + 1) + "|")
    lines.append(f"| wanted | {' | '.join(wanted)} |")
    for seed in dict.fromkeys(row[0] for row in judged):
        of_seed = {name: (value, enough) for s, name, value, enough in judged if s == seed}
        cells = []
        for name in names:
            value, enough = of_seed[name]
            text = f"x{value:.3f}" if name == "ratio" else f"{value:+.4f}"
            cells.append(f"{text} {'yes' if enough else '**no**'}")
        lines.append(f"| seed {seed} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _tuning_table(found: Values) -> str:
    lines = ["| tried | in-context mIoU on other images |", "|---|---|"]
    chosen = {f"tuning {arm}, {name}" for arm, name in found.get("best", {}).items()}
    for name, run in found["tuning"].items():
        score = run.get("scores", {}).get("incontext")
        text = "failed" if score is None else f"{score:.4f}"
        mark = " (taken)" if name in chosen else ""
        lines.append(f"| {name.removeprefix('tuning ')}{mark} | {text} |")
    return "\n".join(lines) + "\n"


def _cells(scores: Mapping[str, Any]) -> str:
    return " | ".join("" if scores[name] is None else f"{scores[name]:.4f}" for name in _HEADS)


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return fmean(there) if there else None
