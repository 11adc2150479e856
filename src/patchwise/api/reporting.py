"""One page that shows what a run has done."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from patchwise.api.validation import read_evaluations
from patchwise.configs.run import RunConfig
from patchwise.data.images import ImageProblem, ResizeRule, centre_crop, collate, resize_image
from patchwise.data.segmentation import SCENES_SEED
from patchwise.data.source import ImageSource, open_source
from patchwise.data.synthetic import CATEGORIES, Scenes, render_scenes
from patchwise.errors import CheckpointError, DataError
from patchwise.eval.squares import class_shares
from patchwise.files import write_text
from patchwise.models.weights import load_backbone
from patchwise.pictures.attention import attention_figure
from patchwise.pictures.clusters import clusters_figure
from patchwise.pictures.figure import Figure
from patchwise.pictures.gallery import Gallery, look
from patchwise.pictures.nearest import nearest_figure
from patchwise.pictures.pca import pca_figure
from patchwise.pictures.storage import read_figures, write_figures
from patchwise.pictures.views import view_figures
from patchwise.randomness import random_order
from patchwise.reporting.page import run_page
from patchwise.reporting.record import RunRecord
from patchwise.training.folder import RunFolder, read_json

_SEARCHED, _SHOWN, _VIEWED = 100, 6, 2  # images
_LOCAL_VIEWS = 2
_SCENES_FROM = 100_000  # ids of the scenes that are shown: no evaluation uses them
_PICTURES_VERSION = 1  # raised when the same run would give other pictures


def report(run: str | Path, *, out: str | Path | None = None) -> Path:
    """Write one HTML file that shows what a run has done; it needs nothing else to be read.

    Pictures are computed into the run's folder where they are missing or of older weights.

    Args:
        run: Folder of the run; complete or not.
        out: The file; ``report.html`` in the run's folder if None.

    Returns:
        Where the report is.

    Raises:
        PatchwiseError: There is no run, or its images or weights cannot be read.
    """
    folder = RunFolder(Path(run).expanduser())
    record = _read_record(folder)
    source = open_source(record.data["data"])
    if source.fingerprint() != record.data["fingerprint"]:
        raise CheckpointError(
            f"report: data must be the images of the run ({record.data['images']} images of "
            f"{record.data['data']}), got {len(source)} images of {source.name} that differ from "
            f"them; restore them"
        )
    figures = _figures(folder, record, source)
    path = folder.path / "report.html" if out is None else Path(out).expanduser()
    try:
        write_text(path, run_page(record, figures))
    except OSError as error:
        raise DataError(f"report: out must be a file that can be written, got {error}") from error
    return path


def _read_record(folder: RunFolder) -> RunRecord:
    if not folder.config.exists() or not folder.backbone.exists():
        raise CheckpointError(
            f"report: run must be the folder of a run with a backbone, got '{folder.path}', which "
            f"has {'no checkpoint yet' if folder.config.exists() else 'no config.toml'}"
        )
    config, data = folder.read()
    results = read_json(folder.results, {"train"}) if folder.results.exists() else {}
    return RunRecord(
        name=folder.path.resolve().name,
        config=config,
        config_text=folder.config.read_text(encoding="utf-8"),
        data=data,
        log=_whole_lines(folder.log) if folder.log.exists() else [],
        version=folder.version.read_text(encoding="utf-8") if folder.version.exists() else "",
        results=results.get("train"),
        evaluations=read_evaluations(folder) if results else (),
    )


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a log; the last one may be cut off if the run was, or is at work."""
    lines = path.read_text(encoding="utf-8").splitlines()
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise CheckpointError(
                    f"report: every line of {path} must be JSON, got line {number}: {error}"
                ) from error
    return found


def _figures(folder: RunFolder, record: RunRecord, source: ImageSource) -> list[Figure]:
    """Return the figures of a run: those in its folder, or new ones."""
    key = _key(folder, record)
    pictures = folder.path / "pictures"
    figures = read_figures(pictures, source=key)
    if figures is None:
        figures = [*_view_figures(source, record.config), *_feature_figures(folder, record, source)]
        write_figures(figures, pictures, source=key)
    return figures


def _key(folder: RunFolder, record: RunRecord) -> str:
    """Return a digest of everything that the pictures depend on."""
    parts = {
        "version": _PICTURES_VERSION,
        "weights": [_digest(folder.initial), _digest(folder.backbone)],
        "config": record.config_text,
        "data": record.data["fingerprint"],
    }
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _view_figures(source: ImageSource, config: RunConfig) -> list[Figure]:
    method, patch_px = config.method, config.backbone.patch_px
    images, ids = _read_some(source, _VIEWED, config.train.seed)
    rule = ResizeRule(base_px=method.views.base_px, base=method.views.base)
    batch = collate([resize_image(image, rule) for image in images], ids, epoch=0)
    names = [_name(source, index) for index in ids]
    return view_figures(
        batch, names, method, patch_px=patch_px, seed=config.train.seed, most_local=_LOCAL_VIEWS
    )


def _feature_figures(folder: RunFolder, record: RunRecord, source: ImageSource) -> list[Figure]:
    seed = record.config.train.seed
    gallery = _gallery(source, record.config)
    before, after = (
        look(load_backbone(path).eval(), gallery) for path in (folder.initial, folder.backbone)
    )
    return [
        pca_figure(gallery, before, after),
        nearest_figure(gallery, before, after, seed=seed),
        clusters_figure(gallery, before, after, seed=seed),
        attention_figure(gallery, before, after),
    ]


def _gallery(source: ImageSource, config: RunConfig) -> Gallery:
    """Return images to look at: held-out scenes for scenes, otherwise images of the run."""
    patch_px, side_px = config.backbone.patch_px, config.method.views.global_px
    seed = config.train.seed
    if isinstance(source, Scenes):
        side_px = min(128, max(64, side_px)) // patch_px * patch_px
        numbers = _SCENES_FROM + random_order(10 * _SEARCHED, seed)[:_SEARCHED]
        scenes = render_scenes(numbers, size_px=side_px, seed=SCENES_SEED)
        return Gallery(
            images=scenes.images,
            names=tuple(f"scene {number}" for number in numbers),
            shown=_SHOWN,
            origin=f"synthetic scenes of {side_px} px that no training uses, drawn by seed {seed}",
            categories=_majority(torch.from_numpy(scenes.semantic), patch_px),
        )
    resize_px = round(side_px * 256 / 224)
    images, ids = _read_some(source, _SEARCHED, seed)
    cropped = [centre_crop(image, resize_px=resize_px, crop_px=side_px) for image in images]
    return Gallery(
        images=np.stack(cropped),
        names=tuple(_name(source, index) for index in ids),
        shown=min(_SHOWN, len(ids)),
        origin=f"those of the run itself, {side_px} px from their middle, drawn by seed {seed}",
    )


def _majority(semantic: UInt8[Tensor, "B H W"], patch_px: int) -> Int[Tensor, "B N"]:
    """Return the category 1, 2, ... that covers at least half of each patch; 0 if none does."""
    shares = class_shares(semantic, patch_px=patch_px, classes=1 + len(CATEGORIES))
    most, category = shares[..., 1:].max(dim=-1)
    return torch.where(most >= 0.5, category + 1, 0)


def _read_some(
    source: ImageSource, count: int, seed: int
) -> tuple[Sequence[NDArray[np.uint8]], list[int]]:
    """Read up to ``count`` images in an order drawn by seed, passing over bad ones."""
    images: list[NDArray[np.uint8]] = []
    ids: list[int] = []
    for index in map(int, random_order(len(source), seed)):
        if len(images) == count:
            break
        try:
            images.append(source.read(index))
            ids.append(index)
        except ImageProblem:
            continue  # the run has counted and named it
    if not images:
        raise DataError(f"report: {source.name!r} must hold readable images, got none")
    return images, ids


def _name(source: ImageSource, index: int) -> str:
    return PurePath(source.describe(index)).name
