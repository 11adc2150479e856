"""A backbone with one head, or two."""

from dataclasses import replace

import pytest
import torch

from patchwise.configs.methods import Matching
from patchwise.methods.headed import HeadedBackbone
from tests.small_runs import PWSELF_CONFIG, small_vit


def headed(*, shared_head: bool = True, matching: Matching = "thinned") -> HeadedBackbone:
    torch.manual_seed(0)
    config = replace(PWSELF_CONFIG, shared_head=shared_head, matching=matching)
    return HeadedBackbone(small_vit(), config)


@pytest.mark.parametrize("shared", [True, False])
def test_every_token_gets_the_vector_of_its_head(shared: bool) -> None:
    student, tokens = headed(shared_head=shared), torch.randn(2, 5, 32)
    found = student.bottleneck(tokens)
    heads = [student.heads[0]] + 4 * [student.heads[-1]]
    for position, head in enumerate(heads):
        torch.testing.assert_close(found[:, position], head.bottleneck(tokens[:, position]))
    assert (len(student.heads) == 1) == shared


def test_without_patches_there_is_one_head() -> None:
    assert len(headed(shared_head=False, matching="none").heads) == 1


def test_saving_memory_changes_no_vector_and_no_gradient() -> None:
    found = []
    for checkpointed in (False, True):
        student = headed()
        student.backbone.checkpointed = checkpointed
        torch.manual_seed(1)
        vectors = student.answer(student.head, torch.randn(6, 32, requires_grad=True))
        vectors[:, 0].sum().backward()  # type: ignore[no-untyped-call]
        found.append([vectors.detach(), *(p.grad for p in student.head.mlp.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
