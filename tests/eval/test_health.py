"""Health of features: of backbones whose health is known."""

import itertools
from dataclasses import replace
from statistics import fmean

import pytest
import torch
from torch import Tensor

from patchwise.data.synthetic import Scenes
from patchwise.errors import RangeError
from patchwise.eval.baselines import RawPatches
from patchwise.eval.health import HealthFeatures
from patchwise.eval.results import headline
from patchwise.models.backbone import BackboneOutput
from patchwise.normalisation import normalise
from patchwise.randomness import random_order
from tests.eval.tiny import Sighted, colour_data, subject_of
from tests.small_runs import small_vit

PROTOCOL = HealthFeatures("health/features", size_px=64, images=24)
SCENES = Scenes(40)


class Made:
    """Features that are made, not seen."""

    dim, patch_px, device = 16, 8, torch.device("cpu")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.generator = torch.Generator().manual_seed(0)

    def __call__(self, images: Tensor, *, attention: bool = False) -> BackboneOutput:
        count = len(images)
        noise = torch.randn(count, 64, 16, generator=self.generator)
        fixed = torch.randn(1, 64, 16, generator=torch.Generator().manual_seed(1))
        patches = {
            "noise": noise,
            "alike": torch.ones_like(noise),
            "place": fixed.expand_as(noise),
            "spikes": noise
            / noise.norm(dim=-1, keepdim=True)
            * (1 + 9.0 * (torch.arange(64) < 8))[:, None],
        }[self.kind]
        return BackboneOutput(patches.mean(dim=1), patches, (8, 8))


def test_noise_fills_its_space_and_tells_nothing_of_objects() -> None:
    result = PROTOCOL.run(subject_of(Made("noise")), SCENES)
    assert result.patch_rank > 15.5
    assert result.position_bias < 0.02
    assert result.class_ratio == pytest.approx(1, abs=0.02)
    assert result.instance_ratio == pytest.approx(1, abs=0.05)
    assert headline(result) == ("patch rank", result.patch_rank)


def test_collapsed_features_have_rank_one() -> None:
    result = PROTOCOL.run(subject_of(Made("alike")), SCENES)
    assert result.patch_rank == pytest.approx(1, abs=1e-3)
    assert result.image_rank == pytest.approx(1, abs=1e-3)
    assert result.within_class == pytest.approx(0, abs=1e-6)


def test_features_of_the_place_are_all_bias() -> None:
    assert PROTOCOL.run(subject_of(Made("place")), SCENES).position_bias == pytest.approx(1)


def test_long_patches_are_counted() -> None:
    assert PROTOCOL.run(subject_of(Made("spikes")), SCENES).high_norm_share == pytest.approx(8 / 64)


def test_patches_of_one_object_are_nearer_than_those_of_others() -> None:
    result = PROTOCOL.run(subject_of(RawPatches(8)), SCENES)
    assert result.instance_ratio is not None
    assert result.instance_ratio < 0.9


class Plain:
    """Scenes without their masks."""

    name = "plain"

    def __len__(self) -> int:
        return len(SCENES)

    read, describe, fingerprint = SCENES.read, SCENES.describe, SCENES.fingerprint


def test_without_masks_objects_are_what_the_model_looks_at() -> None:
    result = PROTOCOL.run(subject_of(small_vit().eval()), Plain())
    assert result.objects == "attention"
    assert result.within_instance is not None
    assert result.between_classes is not None
    assert result.within_class is None
    assert 1 < result.patch_rank <= 32


def test_without_masks_and_attention_there_is_no_dispersion() -> None:
    result = PROTOCOL.run(subject_of(RawPatches(8)), Plain())
    assert (result.within_instance, result.between_classes) == (None, None)
    assert result.objects is None


@pytest.mark.parametrize("kept", [16, 6])
def test_distances_are_means_over_pairs_of_patches(kept: int) -> None:
    """By a loop over all pairs, from the labels of pixels; of all 16 patches, or of some places."""
    data = colour_data()
    protocol = HealthFeatures("p", size_px=32, images=5, patches=5 * kept)
    result = protocol.run(replace(subject_of(Sighted()), batch=2), data)
    places = random_order(16, 0, 1)[:kept].tolist()
    assert result.objects == "labels"
    chosen = random_order(len(data.test), 0, 0)[:5].tolist()
    patches = []
    for image in chosen:
        pixels, label = data.test.read(image)
        seen = Sighted()(normalise(torch.from_numpy(pixels).movedim(-1, 0)[None].float() / 255))
        classes = label[4::8, 4::8].flatten().tolist()
        patches += [(image, classes[place], seen.patches[0, place]) for place in places]
    sums: dict[str, list[float]] = {"object": [], "class": [], "other": []}
    for (image_a, class_a, a), (image_b, class_b, b) in itertools.combinations(patches, 2):
        kind = "other" if class_a != class_b else "object" if image_a == image_b else "class"
        sums[kind].append(1 - float(torch.nn.functional.cosine_similarity(a, b, dim=0)))
    assert result.within_instance == pytest.approx(fmean(sums["object"]), abs=1e-5)
    assert result.within_class == pytest.approx(fmean(sums["class"]), abs=1e-5)
    assert result.between_classes == pytest.approx(fmean(sums["other"]), abs=1e-5)


def test_few_patches_stand_for_all_and_lie_at_the_same_places() -> None:
    few = replace(PROTOCOL, patches=24 * 16)
    in_parts = replace(subject_of(Made("place")), batch=5)
    assert few.run(in_parts, SCENES).position_bias == pytest.approx(1)
    rank = few.run(subject_of(Made("noise")), SCENES).patch_rank
    assert 14 < rank < PROTOCOL.run(subject_of(Made("noise")), SCENES).patch_rank
    spread = PROTOCOL.run(subject_of(RawPatches(8)), SCENES)
    some = few.run(subject_of(RawPatches(8)), SCENES)
    assert some.within_class == pytest.approx(spread.within_class, rel=0.1)
    assert some.within_class != spread.within_class


def test_the_result_says_what_it_is_about() -> None:
    vit = small_vit().eval()
    results = [replace(PROTOCOL, seed=seed).run(subject_of(vit), SCENES) for seed in (0, 0, 1)]
    assert results[0].fingerprint.data.test == 24
    assert results[0].patch_rank == results[1].patch_rank != results[2].patch_rank
    protocols = {result.fingerprint.protocol for result in results}
    other = replace(PROTOCOL, high_norm_times=3.0).run(subject_of(vit), SCENES)
    assert len(protocols | {other.fingerprint.protocol}) == 3


@pytest.mark.bad_input
def test_settings_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(RangeError, match="high_norm_times must lie in"):
        replace(PROTOCOL, high_norm_times=0.5)
