"""The pictures of a run: of which images, and in which order."""

from collections.abc import Sequence
from pathlib import PurePath

import numpy as np
import torch
from jaxtyping import Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from patchwise.configs.run import RunConfig
from patchwise.data.images import ImageProblem, ResizeRule, centre_crop, collate, resize_image
from patchwise.data.reader import Nearby, NearestIds
from patchwise.data.segmentation import SCENES_SEED
from patchwise.data.source import ImageSource
from patchwise.data.synthetic import SceneBatch, Scenes, render_scenes
from patchwise.errors import DataError
from patchwise.eval.squares import class_shares
from patchwise.models.backbone import Backbone
from patchwise.pictures.attention import attention_figure
from patchwise.pictures.clusters import clusters_figure
from patchwise.pictures.correspondences import correspondences_figure
from patchwise.pictures.dispersion import dispersion_figure
from patchwise.pictures.figure import Figure
from patchwise.pictures.gallery import Gallery, look
from patchwise.pictures.nearest import nearest_figure
from patchwise.pictures.pca import pca_figure
from patchwise.pictures.prototypes import prototype_maps_figure, prototypes_figure
from patchwise.pictures.views import view_figures
from patchwise.randomness import random_order

_SEARCHED, _SHOWN, _VIEWED = 100, 6, 2  # images
_PAIRS, _SHOWN_PAIRS = 32, 4  # of an image and its neighbour
_LOCAL_VIEWS = 2
_SCENES_FROM = 100_000  # ids of the scenes that are shown: no evaluation uses them


def run_figures(
    config: RunConfig,
    source: ImageSource,
    before: Backbone,
    after: Backbone,
    *,
    neighbours: NearestIds | None = None,
) -> list[Figure]:
    """Return all figures of a run.

    Args:
        config: Of the run.
        source: Its images.
        before: The backbone that training began with, in evaluation mode.
        after: What it has become; it may be of another width, and have an object-aware filter.
        neighbours: Of the images of the source, if the run trained with them.

    Raises:
        DataError: No image can be read.
    """
    seed = config.train.seed
    gallery = _gallery(source, config)
    first, second = look(before, gallery), look(after, gallery)
    figures = _view_figures(source, config)
    dispersion = dispersion_figure(gallery, first, second)
    if dispersion is not None:
        figures.append(dispersion)
    figures += [
        pca_figure(gallery, first, second),
        nearest_figure(gallery, first, second, seed=seed),
        clusters_figure(gallery, first, second, seed=seed),
        attention_figure(gallery, first, second),
    ]
    if second.prototypes is not None:
        figures.append(prototypes_figure(gallery, second.prototypes, second.grid))
        figures.append(prototype_maps_figure(gallery, second.prototypes, second.grid))
    if neighbours is not None:
        figures.append(_pair_figure(source, config, (before, after), neighbours))
    return figures


def _pair_figure(
    source: ImageSource,
    config: RunConfig,
    backbones: tuple[Backbone, Backbone],
    neighbours: NearestIds,
) -> Figure:
    pairs = _pairs(source, config, neighbours)
    before, after = (look(backbone, pairs) for backbone in backbones)
    how = (
        f"A pair is an image of the run and one of its {neighbours.shape[1]} nearest images, drawn "
        f"by seed as training draws them."
    )
    return correspondences_figure(pairs, before, after, how=how, seed=config.train.seed)


def _pairs(source: ImageSource, config: RunConfig, neighbours: NearestIds) -> Gallery:
    """Return images of the run, then a neighbour of each."""
    seed = config.train.seed
    ids = _read_some(source, _PAIRS, seed)[1]
    others = Nearby(neighbours, seed).candidates(np.array(ids), 0)[:, 0].tolist()
    both = [*ids, *others]
    side_px = _side_px(source, config)
    names = tuple(_name(source, index) for index in both)
    origin = f"those of the run itself, {side_px} px from their middle, drawn by seed {seed}"
    shown = min(_SHOWN_PAIRS, len(ids))
    if isinstance(source, Scenes):
        origin = f"synthetic scenes of the run itself, {side_px} px, drawn by seed {seed}"
        scenes = render_scenes(np.array(both), size_px=side_px, seed=source.seed)
        return _of_scenes(scenes, names, shown, origin, config.backbone.patch_px)
    images = [_middle(source.read(index), side_px) for index in both]
    return Gallery(np.stack(images), names, shown, origin)


def _view_figures(source: ImageSource, config: RunConfig) -> list[Figure]:
    method, patch_px = config.method, config.backbone.patch_px
    images, ids = _read_some(source, _VIEWED, config.train.seed)
    rule = ResizeRule(base_px=method.views.base_px, base=method.views.base)
    batch = collate([resize_image(image, rule) for image in images], ids, epoch=0)
    names = [_name(source, index) for index in ids]
    return view_figures(
        batch, names, method, patch_px=patch_px, seed=config.train.seed, most_local=_LOCAL_VIEWS
    )


def _gallery(source: ImageSource, config: RunConfig) -> Gallery:
    """Return images to look at: held-out scenes for scenes, otherwise images of the run."""
    side_px, seed = _side_px(source, config), config.train.seed
    if isinstance(source, Scenes):
        numbers = _SCENES_FROM + random_order(10 * _SEARCHED, seed)[:_SEARCHED]
        scenes = render_scenes(numbers, size_px=side_px, seed=SCENES_SEED)
        names = tuple(f"scene {number}" for number in numbers)
        origin = f"synthetic scenes of {side_px} px that no training uses, drawn by seed {seed}"
        return _of_scenes(scenes, names, _SHOWN, origin, config.backbone.patch_px)
    images, ids = _read_some(source, _SEARCHED, seed)
    return Gallery(
        images=np.stack([_middle(image, side_px) for image in images]),
        names=tuple(_name(source, index) for index in ids),
        shown=min(_SHOWN, len(ids)),
        origin=f"those of the run itself, {side_px} px from their middle, drawn by seed {seed}",
    )


def _of_scenes(
    scenes: SceneBatch, names: tuple[str, ...], shown: int, origin: str, patch_px: int
) -> Gallery:
    """Return a gallery of scenes, with what each patch shows."""
    categories = _majority(torch.from_numpy(scenes.semantic), patch_px)
    objects = _majority(torch.from_numpy(scenes.instance), patch_px)
    first = 256 * torch.arange(len(objects))[:, None]  # numbers are bytes, unique in an image
    objects = torch.where(objects > 0, first + objects, 0)
    return Gallery(scenes.images, names, shown, origin, categories, objects)


def _side_px(source: ImageSource, config: RunConfig) -> int:
    """Return the side of the images that are looked at: that of global views, if scenes have it."""
    side_px = config.method.views.global_px
    if isinstance(source, Scenes):
        patch_px = config.backbone.patch_px
        return min(128, max(64, side_px)) // patch_px * patch_px
    return side_px


def _middle(image: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    return centre_crop(image, resize_px=round(side_px * 256 / 224), crop_px=side_px)


def _majority(masks: UInt8[Tensor, "B H W"], patch_px: int) -> Int[Tensor, "B N"]:
    """Return the number 1, 2, ... that covers at least half of each patch; 0 if none does."""
    shares = class_shares(masks, patch_px=patch_px, classes=1 + max(1, int(masks.max())))
    most, number = shares[..., 1:].max(dim=-1)
    return torch.where(most >= 0.5, number + 1, 0)


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
