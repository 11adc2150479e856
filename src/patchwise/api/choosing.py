"""Choosing among the backbones that a run has kept, without labels."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from rich.text import Text

from patchwise.api.data import open_images
from patchwise.api.evaluation import score
from patchwise.api.models import open_subject
from patchwise.api.runs import run_folder
from patchwise.data.segmentation import SegmentationData
from patchwise.data.source import ImageSource
from patchwise.data.synthetic import Scenes
from patchwise.errors import DataError
from patchwise.eval.objects import scored_images
from patchwise.eval.results import DenseScoreResult, dump_result
from patchwise.files import write_text
from patchwise.models.weights import save_backbone
from patchwise.training.folder import RunFolder
from patchwise.training.kept import KeptBackbone, list_kept

PROTOCOL = "health/dense"
_SCENES, _SCENES_SEED = 256, 2**20 + 1  # that nothing else trains or is scored on
_FORMAT = 1


@dataclass(frozen=True)
class Candidate:
    """A backbone of a run, with its score."""

    file: str  # in the folder of the run
    step: int | None  # None: the file does not tell
    result: DenseScoreResult


@dataclass(frozen=True)
class Choice:
    """The candidates of a run in order of their steps, and the best of them."""

    run: str
    candidates: tuple[Candidate, ...]

    @property
    def best(self) -> Candidate:
        """The one of the highest score; of equal ones the first."""
        return max(self.candidates, key=lambda candidate: candidate.result.score)


def choose_checkpoint(
    run: str | Path,
    *,
    data: str | Path | ImageSource | SegmentationData | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str | None = None,
    say: Callable[[str], None] | None = None,
) -> Choice:
    """Score every backbone that a run has kept, without labels, and single out the best.

    The initial backbone, that of every checkpoint and the last one are scored by `DenseScore`;
    docs/choice.md says how far that is to be trusted. The run's folder gets ``choice.json`` with
    all scores, ``best.txt`` with the name of the best one's file, and ``best.safetensors`` with
    its weights.

    Args:
        run: Folder of a run, complete or not. Set ``train.keep_checkpoints`` to keep more than two.
        data: Images that the run was not trained on, some hundred at least; labels are not used.
            May be left out for runs on synthetic scenes: others are drawn.
        settings: Settings of `DenseScore` to change.
        device: Where backbones are scored; None: a GPU if there is one.
        say: Called with a line for every score.

    Raises:
        PatchwiseError: There is no run, the images are those it was trained on, or a file is
            damaged.
    """
    folder = run_folder(run)
    config, described = folder.read()
    images = _held_out(data, described)
    found: list[Candidate] = []
    seen: set[str | None] = set()
    for kept in list_kept(folder):
        backbone, step = kept.load(config)
        file = str(kept.path.relative_to(folder.path))
        subject = open_subject(backbone.to(device or _usual_device()), name=file)
        if subject.identity.sha256 in seen:
            continue  # the last backbone is that of the last checkpoint
        seen.add(subject.identity.sha256)
        side_px = config.method.views.global_px
        result = score(subject, images, PROTOCOL, settings=settings, largest_px=side_px)
        assert isinstance(result, DenseScoreResult), "the protocol is of this kind"
        found.append(Candidate(file, _step(kept, step, folder), result))
        if say is not None:
            say(f"{file}: {result.score:.4f}")
    choice = Choice(str(folder.path), tuple(found))
    best = next(k for k in list_kept(folder) if folder.path / choice.best.file == k.path)
    save_backbone(best.load(config)[0], folder.path / "best.safetensors")
    write_text(folder.path / "choice.json", json.dumps(_as_values(choice), indent=2) + "\n")
    write_text(folder.path / "best.txt", choice.best.file + "\n")
    return choice


def describe_choice(choice: Choice) -> Table:
    """Return a table with a row for each candidate."""
    mark = choice.best.result.fingerprint
    table = Table(
        "file",
        "step",
        "label-free score",
        caption=Text(f"{mark.preset} on {mark.data.test} images of {mark.data.name}"),
    )
    for candidate in choice.candidates:
        sign = " <- best" if candidate is choice.best else ""
        table.add_row(
            Text(candidate.file),
            "last" if candidate.step is None else str(candidate.step),
            f"{candidate.result.score:.4f}{sign}",
        )
    return table


def _held_out(
    data: str | Path | ImageSource | SegmentationData | None, described: Mapping[str, Any]
) -> ImageSource:
    """Return images that a run was not trained on."""
    trained = str(described["data"])
    if data is None and (trained == "scenes" or trained.startswith("scenes:")):
        return Scenes(_SCENES, seed=_SCENES_SEED)
    if data is None:
        raise DataError(
            f"choose_checkpoint: data must name images that the run was not trained on, got None; "
            f"it was trained on {trained}"
        )
    images = scored_images(open_images(data) if isinstance(data, (str, Path)) else data)
    if images.fingerprint() == described["fingerprint"]:
        raise DataError(
            f"choose_checkpoint: data must be images that the run was not trained on, got "
            f"{images.name!r}, which are those"
        )
    return images


def _step(kept: KeptBackbone, step: int | None, folder: RunFolder) -> int | None:
    return 0 if kept.path == folder.initial else step


def _usual_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _as_values(choice: Choice) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "best": choice.best.file,
        "candidates": [
            {"file": c.file, "step": c.step, "result": dump_result(c.result)}
            for c in choice.candidates
        ],
    }
