"""Whose features are asked for."""

import torch

from patchwise.features.subject import identify
from tests.small_runs import small_vit


def test_weights_are_told_apart_by_every_bit() -> None:
    vit, same = small_vit(), small_vit()
    assert identify(vit, "a").sha256 == identify(same, "b").sha256
    with torch.no_grad():
        same.pos_embed[0, 0, 0] += 1e-6
    assert identify(vit, "a").sha256 != identify(same, "a").sha256
    assert identify(vit.half(), "a").sha256 != identify(small_vit(), "a").sha256
