"""Choosing what fits, with made-up needs; and that the choice changes no gradient."""

from dataclasses import replace

import pytest
import torch

from patchwise.configs.run import RunConfig
from patchwise.errors import ConfigError
from patchwise.training.fit import fit_memory, parse_bytes
from patchwise.training.loop import Training
from patchwise.training.probe import Need
from tests.small_runs import run_config
from tests.training.test_loop import build, stream, student_of

MIB = 2**20


def made_up(config: RunConfig, images: int) -> Need:
    """100 MiB, and 50 an image; 20 if activations are computed again; 10 view by view."""
    each = 10 if config.method.views_per_pass else 20 if config.train.recompute else 50
    slower = {50: 1.0, 20: 1.3, 10: 2.0}[each]
    return Need((100 + each * images) * MIB, 0.1 + slower * images)


def fitted(limit_mib: float, batch: int = 12) -> RunConfig:
    said: list[str] = []
    found = fit_memory(
        run_config(batch=batch), int(limit_mib / 0.93 * MIB), said.append, measured=made_up
    )
    assert len(said) == 3
    assert found.need == made_up(found.config, found.images)
    return found.config


@pytest.mark.parametrize(
    ("limit_mib", "images", "recompute", "views_per_pass"),
    [
        (702, 12, False, 0),
        (698, 6, False, 0),
        (402, 6, False, 0),
        (202, 2, False, 0),
        (152, 1, False, 0),  # slow, but faster than computing anything again
        (148, 2, True, 0),
        (122, 1, True, 0),
        (118, 1, True, 1),
    ],
)
def test_the_fastest_of_what_fits_is_taken(
    limit_mib: float, images: int, recompute: bool, views_per_pass: int
) -> None:
    config = fitted(limit_mib)
    assert (config.train.recompute, config.method.views_per_pass) == (recompute, views_per_pass)
    assert config.train.accumulate == 12 // images


@pytest.mark.bad_input
def test_what_is_needed_at_least_is_said() -> None:
    with pytest.raises(ConfigError, match=r"must be at least .* 0\.12 GiB, got 0\.10 GiB; lower"):
        fit_memory(run_config(), 100 * MIB, lambda _: None, measured=made_up)


def test_what_turns_out_larger_than_it_seemed_is_not_taken() -> None:
    def bent(config: RunConfig, images: int) -> Need:
        need = made_up(config, images)
        return replace(need, bytes=need.bytes + 1000 * MIB) if images > 6 else need

    found = fit_memory(run_config(batch=12), 2000 * MIB, lambda _: None, measured=bent)
    assert found.images == 12
    found = fit_memory(run_config(batch=12), 1000 * MIB, lambda _: None, measured=bent)
    assert found.images == 6


def test_what_kills_its_process_does_not_fit() -> None:
    def deadly(config: RunConfig, images: int) -> Need | None:
        return made_up(config, images) if images < 4 else None

    found = fit_memory(run_config(batch=12), 2000 * MIB, lambda _: None, measured=deadly)
    assert found.images == 1  # nothing is known of two and three


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GiB", 2**33), ("7.5 GB", 7_500_000_000), ("900mib", 900 * MIB), (" 1MB ", 10**6)],
)
def test_sizes_are_read_with_their_units(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.bad_input
@pytest.mark.parametrize("text", ["8", "GiB", "8 G", "-8GiB", "0GiB", "eight GiB"])
def test_what_is_no_size_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match=f"a size such as 8GiB or 900MiB, got {text!r}"):
        parse_bytes(text)
    with pytest.raises(ConfigError, match=r"^memory: the limit must be a size"):
        parse_bytes(text, caller="memory")


def step_of(config: RunConfig) -> Training:
    """A run after its first step, whose gradients are still there."""
    training = build(config)
    training.step(next(stream()))
    return training


@pytest.mark.parametrize("parts", [1, 2, 4])
@pytest.mark.parametrize("views_per_pass", [0, 1])
@pytest.mark.parametrize("recompute", [False, True])
def test_the_gradient_is_that_of_the_plain_step(
    parts: int, views_per_pass: int, recompute: bool
) -> None:
    """With stochastic depth, which must be drawn alike."""
    plain = run_config()
    assert plain.backbone.drop_path > 0
    changed = run_config(accumulate=parts, recompute=recompute)
    method = replace(changed.method, views_per_pass=views_per_pass)
    one, other = step_of(plain), step_of(replace(changed, method=method))
    wrong = step_of(run_config(seed=1))
    for a, b, c in zip(*(student_of(x).parameters() for x in (one, other, wrong)), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert c.grad is not None
        size = a.grad.norm()
        assert (a.grad - b.grad).norm() <= 1e-4 * size
        assert (a.grad - c.grad).norm() > 1e-2 * size
    torch.testing.assert_close(
        one.method.state_dict()["centre"], other.method.state_dict()["centre"]
    )
