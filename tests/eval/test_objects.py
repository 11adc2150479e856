"""Objects of patches: against loops over the masks' pixels."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from patchwise.data.synthetic import Scenes
from patchwise.eval.objects import NOTHING, find_objects, scored_images
from patchwise.models.backbone import BackboneOutput
from patchwise.normalisation import normalise
from patchwise.ops.foreground import foreground_mask
from tests.eval.tiny import ColourBlocks, Sighted, colour_data, subject_of
from tests.small_runs import other_pixels, small_vit

SCENES = Scenes(40)
IDS = [7, 0, 39, *range(8, 40)]  # more than one block of masks


def most(pixels: np.ndarray, least: float) -> int | None:
    """The value of enough pixels; None if there is no such value."""
    counts = Counter(sorted(pixels.flatten().tolist()))  # of equally many the lowest value
    value, count = counts.most_common(1)[0]
    return value if count >= least * pixels.size else None


@pytest.mark.parametrize("least", [0.5, 0.9])
def test_masks_of_scenes_say_which_patch_is_whose(least: float) -> None:
    found = find_objects(subject_of(Sighted()), SCENES, IDS, size_px=64, least_share=least)
    assert found is not None
    assert found.origin == "masks"
    assert found.instance.shape == (len(IDS), 64)
    for row, index in enumerate(IDS[:6]):
        scene = SCENES.scenes(np.array([index]))
        for patch in range(64):
            y, x = 8 * (patch // 8), 8 * (patch % 8)
            parts = [
                most(mask[0, y : y + 8, x : x + 8], least)
                for mask in (scene.semantic, scene.instance)
            ]
            known = all(parts)  # neither None nor 0, the background
            assert (found.instance[row, patch] != NOTHING) == known
            assert found.category[row, patch] == (parts[0] if known else NOTHING)


@pytest.mark.parametrize(("data", "size_px"), [(SCENES, 64), (colour_data(), 32)])
def test_no_two_images_share_an_instance(data: Any, size_px: int) -> None:
    found = find_objects(subject_of(Sighted()), data, range(6), size_px=size_px, least_share=0.5)
    assert found is not None
    sets = [set(row.tolist()) - {NOTHING} for row in found.instance]
    assert sum(map(len, sets)) == len(set().union(*sets)) > 6


def test_labels_say_which_class_a_patch_has() -> None:
    data = replace(colour_data(), background=0)
    found = find_objects(subject_of(Sighted()), data, [3, 1], size_px=32, least_share=0.5)
    assert found is not None
    assert found.origin == "labels"
    label = torch.from_numpy(np.stack([data.test.label(3), data.test.label(1)])).long()
    expected = label[:, 4::8, 4::8].flatten(1)  # blocks are larger than patches
    assert torch.equal(found.category, torch.where(expected == 0, NOTHING, expected))
    unscored = replace(data, background=None, scored=(0, 2))
    found = find_objects(subject_of(Sighted()), unscored, [3, 1], size_px=32, least_share=0.5)
    assert found is not None
    assert torch.equal(found.category, torch.where(expected == 1, NOTHING, expected))


def test_patches_without_labels_are_of_no_class() -> None:
    data = replace(colour_data(), test=ColourBlocks(2, unlabelled=0.7))
    found = find_objects(subject_of(Sighted()), data, [0, 1], size_px=32, least_share=0.5)
    assert found is not None
    assert (found.category == NOTHING).all()


def test_without_labels_it_is_what_the_model_looks_at() -> None:
    images = scored_images(colour_data())
    subject = replace(subject_of(small_vit().eval()), batch=2)
    found = find_objects(subject, images, [4, 2, 5], size_px=32, least_share=0.5)
    assert found is not None
    assert found.origin == "attention"
    pixels = torch.from_numpy(np.stack([images.read(i) for i in (4, 2, 5)])).movedim(-1, 1)
    with torch.no_grad():
        seen = small_vit().eval()(normalise(pixels.float() / 255), attention=True)
    assert seen.attention is not None
    mask = foreground_mask(seen.attention, seen.grid)
    image = torch.tensor([0, 1, 2])[:, None].expand_as(mask)
    assert torch.equal(found.instance, torch.where(mask, image, NOTHING))
    assert torch.equal(found.category, found.instance)
    subject = replace(subject, backbone=other_pixels(small_vit().eval()))
    same = find_objects(subject, images, [4, 2, 5], size_px=32, least_share=0.5)
    assert same is not None
    assert torch.equal(same.instance, found.instance), "normalised as the model's own"


def test_a_model_that_does_not_tell_where_it_looks_gives_none() -> None:
    images = scored_images(colour_data())
    found = find_objects(subject_of(Sighted()), images, [0], size_px=32, least_share=0.5)
    assert found is None


def test_labelled_images_are_those_that_are_scored() -> None:
    data = colour_data()
    assert np.array_equal(scored_images(data).read(0), data.test.read(0)[0])
    assert scored_images(SCENES) is SCENES


class Gone(Sighted):
    """Raises if it is asked."""

    def __call__(self, images: Tensor, *, attention: bool = False) -> BackboneOutput:
        raise AssertionError


def test_masks_and_labels_need_no_model() -> None:
    for data in (SCENES, colour_data()):
        assert find_objects(subject_of(Gone()), data, [0], size_px=64, least_share=0.5) is not None
