"""The nearest images of each image, by global features of a frozen backbone."""

import contextlib
import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from torch.nn import functional as F

from patchwise.configs.neighbours import NeighboursConfig
from patchwise.data.bad_images import BadImage
from patchwise.data.source import ImageSource
from patchwise.errors import DataError
from patchwise.features.content import Content, Request, describe
from patchwise.features.embed import embed_source
from patchwise.features.store import FeatureStore
from patchwise.features.subject import Subject
from patchwise.features.transform import parse_size
from patchwise.features.vectors import Vectors
from patchwise.index.forgiving import Forgiving
from patchwise.index.kept import Neighbours, read_neighbours, write_neighbours
from patchwise.index.mean_patches import with_mean_patches
from patchwise.index.search import nearest_others

_FORMAT = 1  # raised when the same images would get other neighbours


def find_neighbours(
    subject: Subject,
    source: ImageSource,
    settings: NeighboursConfig,
    *,
    cache: Path | None = None,
    tolerated: int = 10,
) -> Neighbours:
    """Return the k nearest images of each image of a source.

    1. Feature: the mean of a frozen backbone's patch features, of unit length; see `MeanPatches`.
    2. Neighbours: the k other images of highest cosine; see `nearest_others`.

    With ``cache`` both are kept in that folder: features as a store, to which any number of
    processes may write at the same time, and with which an interrupted search goes on; neighbours
    in one file. They are used again if weights, images and settings agree.

    Args:
        subject: Whose features; its memory bounds what is held besides blocks of a fixed size.
        source: The images.
        settings: Of the search.
        cache: Folder; None: nothing is kept.
        tolerated: As many images may be bad. They have no feature, and are nobody's neighbours.

    Raises:
        DataError: There are too few images, too many bad ones, or the folder cannot be written.

    Source: Wen et al. 2025, arXiv:2509.09429 (CoTAP), with neighbours as published code of the tool
        it uses finds them: DINO ViT-B at 224 px, spatial mean, cosine.
    Differs: the image itself is never among its neighbours; theirs may return it. Whether images
        are squashed or cut to 224 px is not published; here they are squashed.
    """
    _check_count(len(source), settings.k, source.name)
    transform = parse_size(settings.size, subject.backbone.patch_px, caller="neighbours")
    if cache is not None and subject.identity.sha256 is None:
        subject.notes.say_once(
            f"neighbours by {subject.identity.name} are not kept: it cannot be told from others"
        )
        cache = None
    with _folder(cache) as folder:
        forgiving = Forgiving(source, folder / f"bad-{_short(source.fingerprint())}", tolerated)
        request = Request(forgiving, transform, patches=False)
        mean = with_mean_patches(subject)
        with _naming_bad_images(forgiving):
            content = describe(mean, request)
        found_by = _found_by(content, settings)
        path = folder / f"neighbours-{_short(found_by)}.safetensors"
        if path.exists():
            try:
                return _tolerable(read_neighbours(path, found_by=found_by), forgiving, subject)
            except (OSError, ValueError) as error:
                subject.notes.say(f"'{path}' is not used, but made again: {error}")
        with _naming_bad_images(forgiving):
            store = embed_source(mean, request, folder / f"features-{content.digest()}")
        found = _search(subject, store, forgiving.bad_images(), settings)
        if cache is not None:
            _write(found, path, found_by)
        return found


def _check_count(good: int, k: int, name: str) -> None:
    if good <= k:
        raise DataError(
            f"neighbours: {name!r} must hold at least {k + 1} good images for {k} neighbours of "
            f"each, got {good}; ask for fewer neighbours or add images"
        )


def _search(
    subject: Subject, store: FeatureStore, bad: tuple[BadImage, ...], settings: NeighboursConfig
) -> Neighbours:
    """Find the neighbours of all images by their stored features."""
    is_good = np.ones(len(store), bool)
    is_good[[image.index for image in bad]] = False
    good = np.flatnonzero(is_good)
    _check_count(len(good), settings.k, store.content.data.name)
    share = subject.memory_bytes // 2  # the other half is for the copy of an inexact search
    with Vectors(len(good), store.dim, memory_bytes=share, dtype=torch.float32) as keys:
        for first in range(0, len(good), keys.block):
            rows = torch.from_numpy(store.cls[good[first : first + keys.block]]).float()
            keys.write(first, F.normalize(rows, dim=1))
        found = nearest_others(
            keys,
            settings,
            device=subject.backbone.device,
            memory_bytes=share,
            say=subject.notes.say,
        )
    # A bad image has the row of the next good one, which training shows in its place.
    row = np.searchsorted(good, np.arange(len(store))) % len(good)
    cosines: Float32[np.ndarray, "N k"] = found.cosines.numpy()[row]
    cosines[~is_good] = np.nan
    return Neighbours(good[found.index.numpy()][row], cosines, bad, found.lacking, found.recall)


def _found_by(content: Content, settings: NeighboursConfig) -> str:
    """Return all that neighbours depend on, as text."""
    values = {
        "format": _FORMAT,
        "features": content.digest(),
        "weights": content.model.sha256,
        "data": content.data.sha256,
        **dataclasses.asdict(settings),
    }
    return json.dumps(values, sort_keys=True)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _tolerable(found: Neighbours, source: Forgiving, subject: Subject) -> Neighbours:
    """Return what was kept, if no more images are bad than are tolerated now."""
    source.check(found.bad)
    subject.notes.say(f"neighbours of {len(found)} images of {source.name!r} are there already")
    return found


def _write(found: Neighbours, path: Path, found_by: str) -> None:
    try:
        write_neighbours(found, path, found_by=found_by)
    except OSError as error:
        raise DataError(
            f"neighbours: cache must be a folder that can be written, got {error}"
        ) from error


@contextlib.contextmanager
def _folder(cache: Path | None) -> Iterator[Path]:
    """Give the folder where features are written; one that is soon removed, if none is named."""
    if cache is not None:
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(
                f"neighbours: cache must be a folder that can be written, got {error}"
            ) from error
        yield cache
        return
    with tempfile.TemporaryDirectory(prefix="patchwise-") as temporary:
        yield Path(temporary)


@contextlib.contextmanager
def _naming_bad_images(source: Forgiving) -> Iterator[None]:
    """Where reading ends because too many images are bad, say which."""
    try:
        yield
    except DataError:
        source.bad_images()
        raise
