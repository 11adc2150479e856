"""The contract's own parts."""

import pytest
from torch import nn

from patchwise.methods.method import decay_groups
from tests.small_runs import step_at


def test_progress_and_epoch() -> None:
    step = step_at(25, total=100)
    assert step.progress == pytest.approx(0.25)
    assert step.epoch == pytest.approx(2.5)


def test_matrices_are_decayed_and_vectors_are_not() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    decayed, undecayed = decay_groups(module, "part", rate_scale=10.0, frozen_epochs=2.0)
    assert list(decayed.parameters) == ["part.0.weight"]
    assert list(undecayed.parameters) == ["part.0.bias", "part.1.weight", "part.1.bias"]
    assert decayed.decayed
    assert not undecayed.decayed
    assert decayed.rate_scale == undecayed.rate_scale == 10.0
    assert decayed.frozen_epochs == undecayed.frozen_epochs == 2.0


def test_untrained_parameters_and_empty_groups_are_left_out() -> None:
    norm = nn.LayerNorm(3)
    norm.bias.requires_grad_(False)
    (group,) = decay_groups(norm, "norm")
    assert list(group.parameters) == ["norm.weight"]
