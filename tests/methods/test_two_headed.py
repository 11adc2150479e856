"""Backbone and heads: features, samples, and precision."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from patchwise.methods.two_headed import TwoHeadedBackbone
from patchwise.models.filtered_vit import FilteredViT
from patchwise.models.sample_bank import pool_samples
from patchwise.models.vit import ViT
from tests.small_runs import COTAP_CONFIG, VIT, small_filtered, small_vit


def build(backbone: ViT | FilteredViT | None = None) -> TwoHeadedBackbone:
    backbone = backbone or small_filtered()
    torch.manual_seed(1)
    return TwoHeadedBackbone(backbone, COTAP_CONFIG)


def pixels(count: int = 2, side: int = 32) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_heads_are_as_wide_as_the_features() -> None:
    for made, dim in ((build(), 64), (build(small_vit()), 32)):
        for head, prototypes in ((made.patch_head, 12), (made.image_head, 10)):
            assert head.prototypes.shape == (prototypes, 16)
            shapes = [tuple(p.shape) for p in head.mlp.parameters()]
            assert shapes == [(32, dim), (32,), (32, 32), (32,), (16, 32)]  # no third bias
        assert isinstance(made.vit, ViT)


def test_samples_are_what_enters_the_last_block() -> None:
    made = build(FilteredViT(ViT(replace(VIT, registers=2)), 3))
    output, samples = made.encode(pixels(), sampled=True)
    assert samples is not None
    with torch.no_grad():
        tokens, grid = made.vit.before_last_block(pixels())
        expected = pool_samples(tokens[:, 3:], grid)
        plain = made.backbone(pixels())
    torch.testing.assert_close(samples, expected)
    assert not samples.requires_grad
    torch.testing.assert_close(output.patches, plain.patches)
    torch.testing.assert_close(output.cls, plain.cls)


def test_without_a_filter_and_unasked_there_are_none() -> None:
    for made, sampled in ((build(), False), (build(small_vit()), True)):
        output, samples = made.encode(pixels(), sampled=sampled)
        assert samples is None
        torch.testing.assert_close(output.patches, made.backbone(pixels()).patches)


def test_samples_cost_no_other_draw_of_stochastic_depth() -> None:
    backbone = FilteredViT(ViT(replace(VIT, drop_path=0.5)), 3)
    made = build(backbone).train()
    found = []
    for sampled in (False, True):
        torch.manual_seed(3)
        found.append(made.encode(pixels(8), sampled=sampled)[0].patches)
    assert torch.equal(found[0], found[1])


def test_scores_lie_by_view_image_and_place() -> None:
    made = build()
    images = pixels(6)
    with torch.no_grad():
        output = made.backbone(images)
        patches, cls = made.patch_scores(output, 3), made.image_scores(output, 3)
        assert patches.shape == (2, 3, 4, 4, 12)
        assert cls.shape == (2, 3, 10)
        for view in range(2):
            for image in range(3):
                alone = made.backbone(images[3 * view + image][None])
                expected = made.patch_head(alone.patches[0]).reshape(4, 4, 12)
                torch.testing.assert_close(patches[view, image], expected)
                torch.testing.assert_close(cls[view, image], made.image_head(alone.cls)[0])


def test_computing_again_changes_nothing() -> None:
    gradients = []
    for again in (False, True):
        made = build()
        made.vit.checkpointed = again
        output, _ = made.encode(pixels(), sampled=True)
        loss = made.patch_scores(output, 2).square().sum() + made.image_scores(output, 2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        gradients.append({n: p.grad for n, p in made.named_parameters() if p.grad is not None})
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("half", [False, True])
def test_scores_and_samples_are_in_full_precision(half: bool) -> None:
    made = build()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        output, samples = made.encode(pixels(), sampled=True)
        scores = [made.patch_scores(output, 2), made.image_scores(output, 2)]
    assert samples is not None
    assert [x.dtype for x in (*scores, samples)] == [torch.float32] * 3
    double = build().double()
    output, samples = double.encode(pixels().double(), sampled=True)
    assert samples is not None
    assert samples.dtype == double.patch_scores(output, 2).dtype == torch.float64
