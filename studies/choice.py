"""Does a score without labels find the best checkpoint? Six runs, some spoilt on purpose.

For every backbone that a run has kept: the label-free score, the rank of its patch features
(RankMe), and two mIoU by labels, on scenes that no run was trained on. Then rank correlations and
what is lost by choosing. The score's form was settled on the runs ``healthy`` and ``rate``; the
others, and the comparison, came after. One command, which goes on where it was stopped:

    python -m studies.choice --out runs/choice

Results are written to ``studies/choice.json`` and ``docs/choice.svg``.
"""

import argparse
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

from scipy import stats

import patchwise
from patchwise.api.choosing import choose_checkpoint
from patchwise.configs.loader import read_config
from patchwise.data.synthetic import Scenes
from patchwise.eval.results import HealthResult, SegmentationResult
from patchwise.files import write_text
from patchwise.models.backbone import Backbone
from patchwise.training.folder import RunFolder
from patchwise.training.kept import list_kept

RESULTS = Path(__file__).with_suffix(".json")
PLOT = Path(__file__).parents[1] / "docs" / "choice.svg"
SCENES, STEPS_PER_EPOCH = "scenes:4800", 150
HELD_OUT = Scenes(256, seed=2**20 + 1)
# At the published rate a layer of 150 steps calls everything background.
LINEAR: dict[str, Any] = {"rate": 0.1, "steps": 150}
COMMON: dict[str, Any] = {
    "train.batch": 32,
    "train.precision": "bf16",
    "train.keep_checkpoints": 20,
    "data.workers": 0,
}
Scores = dict[str, dict[str, float]]  # by "run step", then by what was measured


@dataclass(frozen=True)
class Arm:
    """A run: how long, how often a checkpoint is kept, and what is changed."""

    steps: int
    every: int
    warmup_epochs: float
    changes: dict[str, Any]

    def settings(self) -> dict[str, Any]:
        """Return all that differs from the demo's recipe."""
        length = {
            "train.epochs": self.steps / STEPS_PER_EPOCH,
            "train.checkpoint_every_steps": self.every,
            "optim.warmup_epochs": self.warmup_epochs,
        }
        return {**COMMON, **length, **self.changes}


SEED_1 = {"train.seed": 1}
ARMS: dict[str, Arm] = {
    "healthy": Arm(800, 160, 0.4, {}),
    "healthy-1": Arm(640, 160, 0.4, SEED_1),
    "dino": Arm(
        300,
        50,
        0.2,
        {
            "method.matching": "none",
            "method.recolour_patches": False,
            "method.cls_weight": None,
        },
    ),
    "rate": Arm(320, 80, 0.4, {"optim.lr_per_256": 0.3}),
    "centre": Arm(200, 100, 0.4, {"method.centre_momentum": 1.0}),
    "same-1": Arm(  # both views show the same: a function of the place is enough
        200,
        100,
        0.4,
        {
            **SEED_1,
            "method.views.global_area_frac": (0.95, 1.0),
            "method.views.aspect": (1.0, 1.0),
            "method.views.flip_prob": 0.0,
            "method.views.local_count": 0,
        },
    ),
}
SETTLED_ON = ("healthy", "rate")


def train(name: str, out: Path) -> bool:
    """Train a run, or go on training; tell whether it is complete."""
    if (out / "config.toml").exists():
        return patchwise.train(SCENES, out=out, resume=True).complete
    settings = ARMS[name].settings()
    return patchwise.train(SCENES, out=out, recipe="demo", settings=settings).complete


def measure_features(backbone: Backbone) -> dict[str, float]:
    """Return RankMe, and how much of the features is their place."""
    health = patchwise.evaluate(backbone, protocol="health/features", data=HELD_OUT)
    assert isinstance(health, HealthResult)
    return {"rank": health.patch_rank, "position_bias": health.position_bias}


def measure_by_labels(backbone: Backbone) -> dict[str, float]:
    """Return two mIoU."""
    incontext = patchwise.evaluate(backbone, protocol="incontext/hummingbird-short", data="scenes")
    linear = patchwise.evaluate(
        backbone, protocol="linseg/cotap-short", data="scenes", settings=LINEAR
    )
    assert isinstance(incontext, SegmentationResult)
    assert isinstance(linear, SegmentationResult)
    return {"incontext": incontext.miou, "linear": linear.miou}


def add_run(name: str, out: Path, scores: Scores) -> None:
    """Add the scores of all that a run has kept; what is there already stays."""
    folder = RunFolder(out)
    config = read_config(folder.config)
    choice = choose_checkpoint(out, data=HELD_OUT)
    by_file = {candidate.file: candidate for candidate in choice.candidates}
    for kept in list_kept(folder):
        candidate = by_file.get(str(kept.path.relative_to(out)))
        if candidate is None:
            continue  # the last backbone is that of the last checkpoint
        found = scores.setdefault(f"{name} {candidate.step}", {})
        found["score"] = candidate.result.score
        backbone, _ = kept.load(config)
        if "rank" not in found:
            found.update(measure_features(backbone))
        if "linear" not in found:
            found.update(measure_by_labels(backbone))
        print(name, candidate.step, found, flush=True)
        write_text(RESULTS, json.dumps({"scores": scores}, indent=2) + "\n")


def correlate(rows: Iterable[Mapping[str, float]], score: str, truth: str) -> dict[str, float]:
    """Return rank correlations of a score with mIoU."""
    pairs = [(row[score], row[truth]) for row in rows]
    first, second = zip(*pairs, strict=True)
    return {
        "spearman": float(stats.spearmanr(first, second).statistic),
        "kendall": float(stats.kendalltau(first, second).statistic),
        "number": len(pairs),
    }


def summarise(scores: Scores) -> dict[str, Any]:
    """Return correlations over all, over last checkpoints and within runs, and what is lost."""
    runs: dict[str, list[dict[str, float]]] = {}
    for key, values in scores.items():
        runs.setdefault(key.split()[0], []).append(values)
    initial = {id(rows[0]) for rows in runs.values()}
    unseen = [name for name in runs if name not in SETTLED_ON]
    every = [row for rows in runs.values() for row in rows if id(row) not in initial]
    later = [row for name in unseen for row in runs[name] if id(row) not in initial]
    seeds = {name.endswith("-1"): rows[0] for name, rows in runs.items()}  # one untrained each
    found: dict[str, Any] = {}
    for truth in ("incontext", "linear"):
        for score in ("score", "rank"):
            own: dict[str, Any] = {
                "all": correlate([*every, *seeds.values()], score, truth),
                "all of unseen runs": correlate([*later, *seeds.values()], score, truth),
                "last ones": correlate([rows[-1] for rows in runs.values()], score, truth),
                "within": {name: correlate(rows, score, truth) for name, rows in runs.items()},
            }
            own["within, mean"] = fmean(w["spearman"] for w in own["within"].values())
            own["lost"] = {name: _lost(rows, score, truth) for name, rows in runs.items()}
            found[f"{score} and {truth}"] = own
    return found


def _lost(rows: list[dict[str, float]], score: str, truth: str) -> dict[str, float]:
    """Return mIoU of the chosen, the best and the last backbone of a run."""
    chosen = max(rows, key=lambda row: row[score])
    return {
        "chosen": chosen[truth],
        "best": max(row[truth] for row in rows),
        "last": rows[-1][truth],
    }


def plot(scores: Scores) -> str:
    """Return a picture of mIoU over the score: a line a run, a dot a checkpoint."""
    colours = ("#0b6", "#07c", "#80c", "#d40", "#a60", "#c09")
    high_x = 1.05 * max(row["score"] for row in scores.values())
    high_y = 1.05 * max(row["incontext"] for row in scores.values())
    left, bottom, width, height = 60, 300, 420, 280
    parts = [
        f'<line x1="{left}" y1="{bottom}" x2="{left + width}" y2="{bottom}" stroke="#888"/>',
        f'<line x1="{left}" y1="{bottom}" x2="{left}" y2="{bottom - height}" stroke="#888"/>',
        f'<text x="{left + width / 2}" y="{bottom + 36}">label-free score</text>',
        f'<text x="14" y="{bottom - height / 2}" transform="rotate(-90 14 '
        f'{bottom - height / 2})">in-context mIoU</text>',
    ]
    for part in range(1, 5):
        x, y = high_x * part / 4, high_y * part / 4
        parts.append(f'<text x="{left + width * part / 4}" y="{bottom + 16}">{x:.1f}</text>')
        parts.append(f'<text x="{left - 22}" y="{bottom - height * part / 4}">{y:.2f}</text>')
    for number, (name, colour) in enumerate(zip(ARMS, colours, strict=True)):
        rows = [row for key, row in scores.items() if key.split()[0] == name]
        points = [
            (left + width * row["score"] / high_x, bottom - height * row["incontext"] / high_y)
            for row in rows
        ]
        for (x1, y1), (x2, y2) in pairwise(points):
            parts.append(
                f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
                f'stroke="{colour}" stroke-opacity="0.5"/>'
            )
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in points]
        place = f'x="{left + width + 20}" y="{30 + 20 * number}"'
        parts.append(f'<text {place} fill="{colour}" text-anchor="start">{name}</text>')
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 620 350" font-family="sans-serif" '
        'font-size="12" text-anchor="middle"><rect width="620" height="350" fill="white"/>'
        + "\n".join(parts)
        + "</svg>\n"
    )


def main() -> None:
    """Train what is not trained yet, score what is not scored yet, write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("runs/choice"))
    parser.add_argument("--runs", nargs="+", choices=list(ARMS), default=list(ARMS))
    arguments = parser.parse_args()
    scores: Scores = json.loads(RESULTS.read_text())["scores"] if RESULTS.exists() else {}
    for name in arguments.runs:
        if not train(name, arguments.out / name):
            raise SystemExit(f"stopped in {name}; call again to go on")
        add_run(name, arguments.out / name, scores)
    content = {
        "arms": {name: asdict(ARMS[name]) for name in arguments.runs},
        "scores": scores,
        "summary": summarise(scores),
    }
    write_text(RESULTS, json.dumps(content, indent=2) + "\n")
    write_text(PLOT, plot(scores))


if __name__ == "__main__":
    main()
