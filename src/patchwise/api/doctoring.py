"""Looking at images before training on them: what is wrong with them, and how to train."""

import os
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from patchwise.api.planning import DEFAULT_RECIPE
from patchwise.api.training import forecast_training
from patchwise.checks import check_positive, check_within
from patchwise.checkup.examine import examine, spread
from patchwise.checkup.findings import expected_bad, image_findings, in_order, training_findings
from patchwise.checkup.naming import check_list, list_lines, name_within, one_line, shell_line
from patchwise.checkup.progress import CheckProgress
from patchwise.checkup.report import DoctorReport, Finding, Proposal, WrittenList
from patchwise.checkup.survey import Survey
from patchwise.configs.loader import apply_settings
from patchwise.configs.run import DataConfig
from patchwise.data.folder import printable
from patchwise.data.source import FileSource, ImageSource, open_source
from patchwise.environment import usable_cores, usable_memory
from patchwise.errors import ConfigError, PatchwiseError
from patchwise.files import write_bytes
from patchwise.recipes import Facts, make_config


def doctor(
    data: str | Path,
    *,
    workers: int | None = None,
    limit: int | None = None,
    forecast: bool = True,
    write_list: str | Path | None = None,
    quiet: bool = False,
) -> DoctorReport:
    """Read every image, say what is wrong with them, and propose how to train on them.

    Args:
        data: A folder, a tar, a text file of paths, or ``"scenes"``: see `open_source`.
        workers: Processes that read; 0: this one; None: one for each core.
        limit: At most so many images are read, evenly spread; None: all.
        forecast: Measure some steps of training, to say what it will take.
        write_list: A new ``.txt`` file for the paths of the good images, without copies and
            near-duplicates, to train on. For folders and lists, and without ``limit``.
        quiet: Print no progress.

    Raises:
        PatchwiseError: There are no images, the list cannot be written, or an image ends the
            process that decodes it. Images that cannot be used are no error but in the report.
    """
    workers = usable_cores() if workers is None else workers
    check_within("doctor", 0, 1024, workers=workers)
    if limit is not None:
        check_positive("doctor", limit=limit)
        if write_list is not None:
            raise ConfigError(
                f"doctor: write_list must be left out with limit, got limit {limit}; images that "
                f"are not read are neither good nor bad"
            )
    source = open_source(data)
    list_path = None if write_list is None else Path(write_list).expanduser()
    if list_path is not None:
        check_list(list_path, source)
    console = Console(stderr=True, quiet=quiet, markup=False, highlight=False, soft_wrap=True)
    start = time.perf_counter()
    indices = spread(len(source), limit)
    survey = _examine_all(source, indices, workers, console)
    listing = ""
    if isinstance(source, FileSource):
        done = list_path is not None
        listing = "The list is without them." if done else "--write-list FILE leaves them out."
    findings = list(
        image_findings(survey, images=len(source), checked=len(indices), listing=listing)
    )
    listed = None
    if list_path is not None and isinstance(source, FileSource) and survey.usable:
        listed, unlisted = _write(list_path, source, survey)
        findings += unlisted
    seconds = time.perf_counter() - start
    proposal = None
    if survey.usable:
        target = data if listed is None else listed.path
        number = len(source) if listed is None else listed.images
        bad = 0 if listed else expected_bad(survey, images=len(source), checked=len(indices))
        proposal = _propose(target, _new_folder(data), survey, number, bad)
        if forecast:
            proposal = _with_forecast(proposal, target, console)
        findings += training_findings(proposal, _memory(proposal))
    return DoctorReport(
        data=printable(os.fsencode(source.name)),
        images=len(source),
        checked=len(indices),
        usable=survey.usable,
        left=len(survey.left()),
        bad=survey.bad_kinds(),
        duplicates=survey.copies(survey.same_pixels),
        near_duplicates=survey.copies(survey.same_look),
        flat=survey.flat(),
        pictures=survey.pictures(),
        findings=in_order(findings),
        proposal=proposal,
        written=listed,
        seconds=round(seconds, 3),
    )


def _examine_all(
    source: ImageSource, indices: Sequence[int], workers: int, console: Console
) -> Survey:
    survey = Survey(partial(name_within, source))
    with CheckProgress(console, total=len(indices)) as progress:
        for done, examined in enumerate(examine(source, indices, workers=workers), start=1):
            survey.add(examined)
            progress.show(done, survey.bad)
    return survey


def _write(
    path: Path, source: FileSource, survey: Survey
) -> tuple[WrittenList | None, list[Finding]]:
    """Write the images worth training on, if any; say which could not be written."""
    wanted = [i for i in survey.left().tolist() if not survey.is_flat_in_such_a_folder(i)]
    lines, left_out = list_lines(path, source, wanted)
    findings = []
    if left_out:
        what = f"{left_out} good images are not in {path}"
        advice = "A line holds no line break: rename these files."
        findings.append(Finding("warning", what, advice))
    if not lines:
        return None, findings
    write_bytes(path, b"".join(lines))
    return WrittenList(str(path), len(lines)), findings


def _propose(
    data: str | Path, folder: str, survey: Survey, images: int, bad_images: int
) -> Proposal:
    """Choose what is to be changed in the recipe, and write the command."""
    pictures = survey.pictures()
    assert pictures is not None, "there are images to train on"
    settings: dict[str, Any] = {}
    if bad_images > DataConfig().tolerated_bad_images:
        settings["data.tolerated_bad_images"] = bad_images
    facts = Facts(
        images=images,
        short_side_px=int(pictures.short_side_px.median),
        device="cuda" if torch.cuda.is_available() else "cpu",
    )
    config = apply_settings(make_config(DEFAULT_RECIPE, facts), settings)
    options = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    return Proposal(
        recipe=DEFAULT_RECIPE,
        settings=settings,
        command=shell_line(["patchwise", "train", str(data), "--out", folder, *options]),
        config=asdict(config),
        forecast=None,
    )


def _with_forecast(proposal: Proposal, data: str | Path, console: Console) -> Proposal:
    """Try what is proposed; where that fails, say why instead."""
    console.print("trying to train ...")
    try:
        config, cost = forecast_training(data, settings=proposal.settings, quiet=True)
    except PatchwiseError as error:
        return replace(proposal, problem=one_line(str(error)))
    return replace(proposal, config=asdict(config), forecast=cost)


def _new_folder(data: str | Path) -> str:
    """Return a folder for the run that is not there yet, named after the images."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(data).expanduser().absolute().stem).strip("-")
    name, number = f"runs/{name or 'first'}", 2
    folder = name
    while Path(folder).exists():
        folder, number = f"{name}-{number}", number + 1
    return folder


def _memory(proposal: Proposal) -> int:
    if proposal.config["train"]["device"] == "cuda":
        return int(torch.cuda.get_device_properties(0).total_memory)
    return usable_memory()
