"""What the projection head computes, against plain loops, and what it does not depend on."""

import math

import pytest
import torch
from torch import Tensor

from patchwise.errors import RangeError
from patchwise.models.heads import ProjectionHead

DIM, HIDDEN, BOTTLENECK, PROTOTYPES = 5, 7, 4, 6


@pytest.fixture
def head() -> ProjectionHead:
    """A head whose every weight matters."""
    torch.manual_seed(0)
    head = ProjectionHead(
        DIM, hidden_dim=HIDDEN, bottleneck_dim=BOTTLENECK, prototypes=PROTOTYPES
    ).double()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return head


@pytest.fixture
def tokens() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, DIM, generator=generator, dtype=torch.float64)


def plain_layer(weight: Tensor, bias: Tensor, values: list[float]) -> list[float]:
    return [
        sum(w * v for w, v in zip(row.tolist(), values, strict=True)) + b
        for row, b in zip(weight, bias.tolist(), strict=True)
    ]


def plain_gelu(value: float) -> float:
    return value * (1 + math.erf(value / math.sqrt(2))) / 2


def plain_unit(values: list[float]) -> list[float]:
    length = math.sqrt(sum(v * v for v in values))
    return [v / length for v in values]


def plain_bottleneck(head: ProjectionHead, token: Tensor) -> list[float]:
    values = token.tolist()
    weights = [head.get_parameter(f"mlp.{i}.{kind}") for i in (0, 2, 4) for kind in _KINDS]
    for layer in range(3):
        values = plain_layer(weights[2 * layer], weights[2 * layer + 1], values)
        values = [plain_gelu(v) for v in values] if layer < 2 else values
    return plain_unit(values)


_KINDS = ("weight", "bias")


def test_scores_are_the_cosines_of_a_plain_computation(
    head: ProjectionHead, tokens: Tensor
) -> None:
    found = head(tokens)
    assert found.shape == (2, 3, PROTOTYPES)
    prototypes = [plain_unit(row.tolist()) for row in head.prototypes]
    for image in range(2):
        for place in range(3):
            unit = plain_bottleneck(head, tokens[image, place])
            expected = [sum(a * b for a, b in zip(unit, p, strict=True)) for p in prototypes]
            assert found[image, place].tolist() == pytest.approx(expected)


def test_bottleneck_vectors_have_length_1(head: ProjectionHead, tokens: Tensor) -> None:
    lengths = head.bottleneck(tokens).norm(dim=-1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))


def test_the_two_calls_together_are_the_whole(head: ProjectionHead, tokens: Tensor) -> None:
    torch.testing.assert_close(head.scores(head.bottleneck(tokens)), head(tokens), rtol=0, atol=0)


def test_the_mean_of_scores_is_the_score_of_the_mean(head: ProjectionHead, tokens: Tensor) -> None:
    """The centre relies on it."""
    vectors = head.bottleneck(tokens)
    torch.testing.assert_close(head.scores(vectors.mean((0, 1))), head(tokens).mean((0, 1)))


def test_only_directions_of_prototypes_count(head: ProjectionHead, tokens: Tensor) -> None:
    before = head(tokens)
    with torch.no_grad():
        head.prototypes.mul_(torch.arange(1.0, PROTOTYPES + 1)[:, None])
    torch.testing.assert_close(head(tokens), before)


def test_gradients_do_not_change_the_length_of_prototypes(
    head: ProjectionHead, tokens: Tensor
) -> None:
    head(tokens)[..., 0].sum().backward()
    gradient = head.prototypes.grad
    assert gradient is not None
    assert gradient[0].norm() > 1e-3
    torch.testing.assert_close((gradient * head.prototypes).sum(-1), torch.zeros(6).double())
    assert (gradient[1:] == 0).all()


def test_a_token_is_its_own_affair(head: ProjectionHead, tokens: Tensor) -> None:
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(head(tokens[:, order]), head(tokens)[:, order])
    torch.testing.assert_close(head(tokens[:1, :1]), head(tokens)[:1, :1])


def test_initial_weights_are_the_authors() -> None:
    torch.manual_seed(0)
    head = ProjectionHead(64, hidden_dim=96, bottleneck_dim=64, prototypes=512)
    for layer in (0, 2, 4):
        weight = head.get_parameter(f"mlp.{layer}.weight").detach()
        assert float(weight.std()) == pytest.approx(0.02, rel=0.05)
        assert (head.get_parameter(f"mlp.{layer}.bias") == 0).all()
    bound = 1 / 8
    prototypes = head.prototypes.detach()
    assert float(prototypes.abs().max()) <= bound
    assert float(prototypes.std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert head.prototypes.shape == (512, 64)


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["dim", "hidden_dim", "bottleneck_dim", "prototypes"])
def test_sizes_must_be_positive(name: str) -> None:
    sizes = {"dim": 4, "hidden_dim": 4, "bottleneck_dim": 4, "prototypes": 4, name: 0}
    with pytest.raises(RangeError, match=rf"^ProjectionHead: {name} must be positive, got 0$"):
        ProjectionHead(
            sizes["dim"],
            hidden_dim=sizes["hidden_dim"],
            bottleneck_dim=sizes["bottleneck_dim"],
            prototypes=sizes["prototypes"],
        )
