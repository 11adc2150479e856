"""Scoring a run on labelled images: quickly on the way, in full before and after."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from patchwise.api.data import LabelledSets, open_labels, short_protocols
from patchwise.api.evaluation import score
from patchwise.api.models import load_for_scoring
from patchwise.configs.run import RunConfig
from patchwise.data.labelled import LabelledData
from patchwise.errors import CheckpointError, DataError
from patchwise.eval.knn import KNN
from patchwise.eval.results import (
    ClassificationResult,
    Evaluation,
    Result,
    dump_result,
    headline,
    parse_result,
)
from patchwise.features.subject import ModelIdentity, Subject, identify
from patchwise.files import write_text
from patchwise.models.backbone import Backbone
from patchwise.training.folder import RunFolder, read_json

BEFORE, AFTER = "before training", "after training"


@dataclass(frozen=True)
class Validation:
    """Labelled images on which a run is scored."""

    data: LabelledSets
    largest_px: int  # side of the squares that the backbone sees

    def quick(self, backbone: Backbone) -> dict[str, float]:
        """Return the accuracy of k-NN, which takes seconds."""
        protocol = short_protocols(self.data)[0]
        result = self._score(Subject(backbone, ModelIdentity("in training", None)), protocol)
        assert isinstance(result, ClassificationResult), "the first short protocol is k-NN"
        return {protocol.removesuffix("-short"): result.accuracy}

    def score(
        self, subject: str, model: Subject, folder: RunFolder, say: Callable[[str], None]
    ) -> None:
        """Add the results of all short protocols to a run's, but those that are there already."""
        found = read_evaluations(folder)
        done = {(e.subject, e.result.fingerprint.preset) for e in found}
        for protocol in short_protocols(self.data):
            if (subject, protocol) not in done:
                result = self._score(model, protocol)
                say(f"{subject}: {protocol} {headline(result)[1]:.3f}")
                found.append(Evaluation(subject, result))
                write_evaluations(folder, found)

    def score_run(self, folder: RunFolder, device: str, say: Callable[[str], None]) -> None:
        """Score the backbones before and after a run, as `score` does."""
        for subject, path in ((BEFORE, folder.initial), (AFTER, folder.backbone)):
            backbone = load_for_scoring(path, device)
            self.score(subject, Subject(backbone, identify(backbone, path.name)), folder, say)

    def _score(self, model: Subject, protocol: str) -> Result:
        return score(model, self.data, protocol, largest_px=self.largest_px)


def open_validation(val: str | Path, config: RunConfig) -> Validation:
    """Open the labelled images of a run.

    Raises:
        DataError: They cannot be used, or are too few.
    """
    side_px = config.method.views.global_px
    scene_px = min(128, max(64, side_px)) // config.backbone.patch_px * config.backbone.patch_px
    data = open_labels(val, scene_px=scene_px)
    if isinstance(data, LabelledData) and len(data.fit) <= KNN().k:
        raise DataError(
            f"train: val must hold more than {KNN().k} images to learn from, got {len(data.fit)} "
            f"in {data.name}"
        )
    return Validation(data, largest_px=max(side_px, scene_px) if val == "scenes" else side_px)


def write_evaluations(folder: RunFolder, evaluations: list[Evaluation]) -> None:
    """Write evaluations into ``results.json``, in place of those that are there."""
    content = read_json(folder.results, {"train"})
    content["evaluations"] = [
        {"subject": e.subject, "result": dump_result(e.result)} for e in evaluations
    ]
    write_text(folder.results, json.dumps(content, indent=2) + "\n")


def read_evaluations(folder: RunFolder) -> list[Evaluation]:
    """Return the evaluations in ``results.json``; none if the run was not scored."""
    source = str(folder.results)
    values = read_json(folder.results, {"train"}).get("evaluations", [])
    if not isinstance(values, list) or not all(
        isinstance(v, dict) and {"subject", "result"} <= v.keys() for v in values
    ):
        raise CheckpointError(
            f"train: evaluations in {source} must have subject and result, got {str(values)[:80]}"
        )
    return [Evaluation(v["subject"], parse_result(v["result"], source=source)) for v in values]


def is_scored(folder: RunFolder) -> bool:
    """Tell whether the scores before and after a run are all there."""
    found = read_evaluations(folder)
    counts = [sum(e.subject == subject for e in found) for subject in (BEFORE, AFTER)]
    return bool(found) and counts[0] == counts[1] > 0


def score_table(evaluations: list[Evaluation]) -> Table:
    """Return one row a subject, one column a protocol."""
    protocols = list(dict.fromkeys(e.result.fingerprint.preset for e in evaluations))
    metrics = {e.result.fingerprint.preset: headline(e.result)[0] for e in evaluations}
    scores = {(e.subject, e.result.fingerprint.preset): headline(e.result)[1] for e in evaluations}
    data = evaluations[0].result.fingerprint.data
    table = Table(
        "features",
        *("\n".join((*name.split("/"), metrics[name])) for name in protocols),
        caption=Text(
            f"{data.name}: {data.test} images, {data.fit} to learn from; scores in [0, 1]"
        ),
    )
    for subject in dict.fromkeys(e.subject for e in evaluations):
        cells = (scores.get((subject, name)) for name in protocols)
        table.add_row(Text(subject), *("" if cell is None else f"{cell:.3f}" for cell in cells))
    return table
