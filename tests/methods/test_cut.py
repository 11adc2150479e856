"""Parts of a loss, backward one at a time."""

import torch

from patchwise.methods.cut import Cut


def test_the_parts_gradients_are_that_of_the_whole() -> None:
    weight = torch.randn(4, 3, requires_grad=True)
    others = torch.randn(2, 3)
    (weight.sin() @ others[0]).square().sum().backward()  # type: ignore[no-untyped-call]
    (weight.sin() @ others[1]).exp().sum().backward()  # type: ignore[no-untyped-call]
    expected, weight.grad = weight.grad, None

    calls = []
    shared = weight.sin()
    shared.register_hook(lambda _: calls.append(1))  # type: ignore[no-untyped-call]
    cut = Cut(shared)
    (cut.leaf @ others[0]).square().sum().backward()  # type: ignore[no-untyped-call]
    (cut.leaf @ others[1]).exp().sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is None
    rest = cut.rest()
    assert rest == 0
    rest.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(weight.grad, expected)
    assert len(calls) == 1


def test_without_gradients_there_is_nothing_to_hand_on() -> None:
    weight = torch.randn(4, requires_grad=True)
    with torch.no_grad():
        cut = Cut(2 * weight)
        assert not cut.leaf.requires_grad
        assert cut.rest() == 0
    assert Cut(2 * weight).rest() == 0
