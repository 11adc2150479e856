"""Whose features are asked for."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from patchwise.configs.normalisation import IMAGENET, Normalisation
from patchwise.features.subject import identify, identify_by_features
from patchwise.models.adapted import Adapted, adapt, fixed_images
from patchwise.models.backbone import BackboneOutput
from tests.small_runs import small_vit


def test_weights_are_told_apart_by_every_bit() -> None:
    vit, same = small_vit(), small_vit()
    assert identify(vit, "a").sha256 == identify(same, "b").sha256
    with torch.no_grad():
        same.pos_embed[0, 0, 0] += 1e-6
    assert identify(vit, "a").sha256 != identify(same, "a").sha256
    same = small_vit()
    same.config = replace(same.config, pixel_mean=(0.5, 0.5, 0.5))
    assert identify(vit, "a").sha256 != identify(same, "a").sha256
    assert identify(vit.half(), "a").sha256 != identify(small_vit(), "a").sha256


class Layers(nn.Module):
    """The same weights, but features of another depth."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.depth = depth
        self.first = nn.Conv2d(3, 4, 16, 16)
        self.second = nn.Conv2d(4, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        seen = self.first(images)
        return (seen if self.depth == 1 else self.second(seen)).flatten(2).mT  # type: ignore[no-any-return]


def test_a_function_is_known_by_its_features() -> None:
    def scaled(factor: float) -> Adapted:
        return adapt(lambda images: factor * avg_pool2d(images, 16).flatten(2).mT)

    one = identify_by_features(scaled(1.0), "mine")
    assert one.name == "mine"
    assert one.sha256 is not None
    assert one.sha256 == identify_by_features(scaled(1.0), "other").sha256
    assert one.sha256 != identify_by_features(scaled(1.0 + 1e-6), "mine").sha256


def test_cls_counts_too() -> None:
    def with_cls(factor: float) -> Adapted:
        patches = [avg_pool2d(fixed_images(2, 224), 16).flatten(2).mT]
        return adapt(lambda images: (factor * patches[0][: len(images), 0],
                                     patches[0][: len(images)]))  # fmt: skip

    shas = {identify_by_features(with_cls(f), "m").sha256 for f in (1.0, 2.0)}
    assert len(shas) == 2


def test_a_module_is_known_by_its_weights_and_by_what_it_shows_of_them() -> None:
    known = {d: identify_by_features(adapt(Layers(d).eval()), "m").sha256 for d in (1, 2)}
    assert known[1] != known[2]
    assert known[1] == identify_by_features(adapt(Layers(1).eval()), "n").sha256
    changed = Layers(1).eval()
    with torch.no_grad():
        changed.second.weight[0, 0] += 1e-6  # not even used
    assert known[1] != identify_by_features(adapt(changed), "m").sha256


class Colours:
    """A function that is a backbone."""

    dim, patch_px, device = 3, 16, torch.device("cpu")

    def __call__(self, images: Tensor, *, attention: bool = False) -> BackboneOutput:
        return BackboneOutput(
            images.mean(dim=(2, 3)), avg_pool2d(images, 16).flatten(2).mT, (14, 14)
        )


class ColoursModule(Colours, nn.Module):
    """A module that is one."""


def test_how_images_are_normalised_belongs_to_the_model() -> None:
    for kind in (Colours, ColoursModule):
        shas = []
        for used in (None, IMAGENET, Normalisation((0.5,) * 3, (0.5,) * 3)):
            backbone: Any = kind()
            if used is not None:
                backbone.normalisation = used
            shas.append(identify_by_features(backbone, "m").sha256)
        assert shas[0] == shas[1] != shas[2]


def test_the_noise_of_a_device_makes_no_other_module() -> None:
    class Noisy(Layers):
        noise = 0.0

        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) * (1 + self.noise)

    found = set()
    for noise in (0.0, 1e-6, -1e-6):
        module = Noisy(1).eval()
        module.noise = noise
        found.add(identify_by_features(adapt(module), "m").sha256)
    assert len(found) == 1
