"""What CoTAP tells of its health, in cases that can be worked out by hand."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from patchwise.methods.cotap_health import filter_health, image_health, patch_health
from patchwise.methods.taught import TaughtImages, TaughtPatches
from tests.small_runs import small_filtered, small_vit

K = 4


def patches(choices: list[int], foreground: list[bool]) -> tuple[TaughtPatches, Tensor]:
    """One image, one view of 2 x 2 patches; the teacher chooses prototype 0 everywhere."""
    student = torch.eye(K)[choices].reshape(1, 1, 2, 2, K)
    teacher = torch.eye(K)[[0, 0, 0, 0]].reshape(1, 1, 2, 2, K)
    return TaughtPatches(teacher, teacher, torch.tensor(foreground).reshape(1, 1, 2, 2)), student


def test_only_the_foreground_tells_of_patches() -> None:
    taught, student = patches([0, 1, 1, 2], [True, True, False, False])
    found = {name: float(value) for name, value in patch_health(taught, student).items()}
    assert found == {
        "mask_area": 0.5,
        "agreement": 0.5,
        "prototype_use": pytest.approx(1 / K),
        "assignment_entropy": 0,
    }


def test_assignments_tell_which_prototypes_are_used_and_how_surely() -> None:
    taught, student = patches([0, 0, 0, 0], [True] * 4)
    for spread, entropy in ((torch.eye(K), 0), (torch.full((K, K), 1 / K), 1)):
        assigned = replace(taught, assignments=spread.reshape(1, 1, 2, 2, K))
        found = patch_health(assigned, student)
        assert float(found["prototype_use"]) == pytest.approx(1)
        assert float(found["assignment_entropy"]) == pytest.approx(entropy)
        assert float(found["agreement"]) == 1


def test_of_images_all_global_views_count() -> None:
    scores = torch.eye(K)[[0, 1, 2, 3]].reshape(2, 2, K)
    student = torch.eye(K)[[0, 1, 2, 0]].reshape(2, 2, K)
    found = image_health(TaughtImages(scores, torch.eye(K)[[0, 0, 1, 1]].reshape(2, 2, K)), student)
    assert float(found["image_agreement"]) == 0.75
    assert float(found["image_prototype_use"]) == pytest.approx(2 / K)
    assert float(found["image_assignment_entropy"]) == 0


def test_prototypes_of_a_filter_are_read_more_or_less_evenly() -> None:
    assert filter_health(small_vit(), torch.rand(2, 3, 32, 32)) == {}
    backbone = small_filtered()
    even = backbone.filter.prototypes[:1].expand(3, -1, -1, -1).clone()
    backbone.filter.set_prototypes(even)
    images = torch.rand(6, 3, 32, 32)
    assert float(filter_health(backbone, images)["filter_use"]) == pytest.approx(1)


def test_a_few_images_tell_it() -> None:
    backbone = small_filtered()
    images = torch.rand(6, 3, 32, 32)
    first = filter_health(backbone, images)["filter_use"]
    assert torch.equal(first, filter_health(backbone, images[:4])["filter_use"])
    assert 1 / 3 <= float(first) <= 1
