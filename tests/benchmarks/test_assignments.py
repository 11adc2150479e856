"""What is timed is the same thing."""

import torch
from benchmarks.assignments import Inputs, loss, ours, plain


def test_both_forms_of_sinkhorn_agree() -> None:
    inputs = Inputs(images=2, queued=50)
    torch.testing.assert_close(ours(inputs), plain(inputs), rtol=1e-3, atol=1e-6)


def test_the_loss_reaches_every_crop() -> None:
    inputs = Inputs(images=2, queued=0)
    assert loss(inputs).isfinite()
    for crop in inputs.student:
        assert crop.grad is not None
        assert crop.grad.any()
