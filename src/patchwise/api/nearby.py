"""The neighbours of a run's images: found before it, and kept in its folder."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from patchwise.api.models import open_subject
from patchwise.configs.cotap import CoTAPConfig
from patchwise.data.reader import NearestIds
from patchwise.data.source import ImageSource
from patchwise.errors import CheckpointError
from patchwise.features.notes import Notes
from patchwise.features.subject import ModelIdentity, Subject
from patchwise.index.kept import Neighbours, read_neighbours, write_neighbours
from patchwise.index.neighbours import find_neighbours
from patchwise.methods import METHODS
from patchwise.models.backbone import Backbone
from patchwise.training.folder import RunFolder
from patchwise.training.plan import Plan
from patchwise.training.processes import here
from patchwise.training.run import Refresh

Say = Callable[[str], None]


def find_nearby(
    plan: Plan, *, by: str | Path | None, cache: str | Path | None, say: Say
) -> dict[str, Neighbours]:
    """Find the neighbours of the images of each input that wants some.

    Args:
        plan: Of a new run.
        by: Weights by whose features; None: those that the run begins with.
        cache: Folder where features and neighbours are kept for other runs.
        say: Told what is found.
    """
    device = plan.config.train.device
    if by is None:
        subject = open_subject(copy.deepcopy(plan.initial).to(device))
    else:
        subject = open_subject(by, device=device)
    return _find(plan, subject, None if cache is None else Path(cache).expanduser(), say)


def write_nearby(
    found: Mapping[str, Neighbours], plan: Plan, folder: RunFolder, *, step: int = 0
) -> None:
    """Keep the neighbours of each input in the run's folder, those from a step on."""
    for name, nearby in found.items():
        path = folder.neighbours(name, step)
        write_neighbours(nearby, path, found_by=plan.sources[name].fingerprint())


def read_nearby(plan: Plan, folder: RunFolder, *, step: int = 0) -> dict[str, NearestIds]:
    """Return the neighbours that the run's folder keeps, of each input that wants some.

    Raises:
        CheckpointError: They are missing or damaged.
    """
    return {
        name: read_kept(folder.neighbours(name, step), plan.sources[name]).ids
        for name in plan.neighbours
    }


def read_kept(path: Path, source: ImageSource) -> Neighbours:
    """Return the neighbours of a run's images from a file in its folder."""
    try:
        return read_neighbours(path, found_by=source.fingerprint())
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"train: {path} must hold the neighbours of the run, got {error}; begin a new run"
        ) from error


def refresher(plan: Plan, folder: RunFolder, say: Say) -> Refresh:
    """Return what finds the neighbours anew as a run goes on, by the backbone that is trained.

    They are kept in the run's folder, for a run that goes on after a stop.
    """

    def refresh(step: int, backbone: Backbone | None) -> dict[str, NearestIds]:
        def search() -> None:
            there = all(folder.neighbours(name, step).exists() for name in plan.neighbours)
            if backbone is not None and not there:
                student = Subject(backbone, ModelIdentity(f"the student of step {step}", None))
                write_nearby(_find(plan, student, None, say), plan, folder, step=step)

        here().on_first(search)
        return read_nearby(plan, folder, step=step)

    return refresh


def _find(plan: Plan, subject: Subject, cache: Path | None, say: Say) -> dict[str, Neighbours]:
    method, data = plan.config.method, plan.config.data
    if not isinstance(method, CoTAPConfig):
        return {}
    subject = replace(subject, workers=data.workers, notes=Notes(say=say))
    found: dict[str, Neighbours] = {}
    for wanted in METHODS[method.name].inputs:
        source = plan.sources[wanted.name]
        same = [name for name in found if plan.sources[name] is source]
        if not same:
            say(f"finding the neighbours of {len(source):,} images of {source.name}")
        found[wanted.name] = (
            found[same[0]]
            if same
            else find_neighbours(
                subject,
                source,
                method.neighbours,
                cache=cache,
                tolerated=data.tolerated_bad_images,
            )
        )
    return found
