"""The global feature against its definition."""

import dataclasses

import torch

from patchwise.features.subject import ModelIdentity, Subject
from patchwise.index.mean_patches import MeanPatches, with_mean_patches
from tests.small_runs import small_vit


@torch.no_grad()
def test_it_is_the_mean_of_the_patches_of_unit_length() -> None:
    vit = small_vit().eval()
    vit.norm.weight.copy_(torch.rand(vit.dim, generator=torch.Generator().manual_seed(1)) ** 4)
    images = torch.randn(3, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    mean = MeanPatches(vit)
    found, plain = mean(images, attention=True), vit(images)
    for cls, patches in zip(found.cls, plain.patches.double(), strict=True):
        total = sum(patches)
        torch.testing.assert_close(cls.double(), total / total.norm(), atol=1e-6, rtol=0)
    assert torch.equal(found.patches, plain.patches)
    assert found.grid == plain.grid
    assert found.attention is not None
    assert (mean.dim, mean.patch_px, mean.device) == (vit.dim, vit.patch_px, vit.device)


def test_a_subject_is_told_from_the_one_it_was_made_of() -> None:
    subject = Subject(small_vit(), ModelIdentity("vit", "a" * 64), batch=7)
    mean = with_mean_patches(subject)
    assert isinstance(mean.backbone, MeanPatches)
    assert mean.batch == 7
    assert mean.identity.sha256 not in {None, "a" * 64}
    other = dataclasses.replace(subject, identity=ModelIdentity("vit", "b" * 64))
    assert with_mean_patches(other).identity.sha256 != mean.identity.sha256
    unknown = dataclasses.replace(subject, identity=ModelIdentity("vit", None))
    assert with_mean_patches(unknown).identity.sha256 is None
