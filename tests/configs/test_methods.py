"""Settings of methods: the papers' defaults, and what cannot be."""

import dataclasses
import re
import subprocess
import sys
from typing import Any

import pytest

from patchwise.configs.methods import (
    METHOD_CONFIGS,
    DINOConfig,
    DistillationConfig,
    MethodConfig,
    PWSelfConfig,
)
from patchwise.errors import ChoiceError, RangeError


@pytest.mark.parametrize("name", METHOD_CONFIGS)
def test_every_method_is_listed_under_its_own_name(name: str) -> None:
    assert METHOD_CONFIGS[name]().name == name


def test_the_methods_share_their_defaults() -> None:
    """PW-Self is compared with DINO: nothing but the method may differ."""
    dino, pwself = DINOConfig(), PWSelfConfig()
    for field in dataclasses.fields(DistillationConfig):
        assert getattr(dino, field.name) == getattr(pwself, field.name)


def test_defaults_are_the_published_ones_but_for_the_matcher() -> None:
    config = PWSelfConfig()
    assert (config.prototypes, config.head_hidden_dim, config.bottleneck_dim) == (65536, 2048, 256)
    assert (config.student_temperature, config.teacher_temperature) == (0.1, 0.04)
    assert (config.teacher_momentum, config.centre_momentum) == (0.996, 0.9)
    assert (config.matching, config.cls_weight) == ("nearest", None)  # the paper's: thinned
    assert config.recolour_patches


@pytest.mark.parametrize("kind", METHOD_CONFIGS.values())
def test_every_option_has_a_help_text(kind: type[MethodConfig]) -> None:
    texts = [field.metadata["help"] for field in dataclasses.fields(kind)]
    assert all(text.endswith(".") for text in texts)
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("value", [None, 0.0, 0.5, 1.0])
def test_the_share_of_cls_may_be_none_or_a_share(value: float | None) -> None:
    assert PWSelfConfig(cls_weight=value).cls_weight == value


@pytest.mark.parametrize("name", ["teacher_momentum", "centre_momentum"])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_the_ends_of_momenta_are_allowed(name: str, value: Any) -> None:
    config = dataclasses.replace(DINOConfig(), **{name: value})
    assert getattr(config, name) == value


def test_importing_the_configuration_does_not_import_torch() -> None:
    code = "import sys, patchwise.configs.methods; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.bad_input
@pytest.mark.parametrize("kind", [DINOConfig, PWSelfConfig])
@pytest.mark.parametrize(
    "name",
    [
        "prototypes",
        "head_hidden_dim",
        "bottleneck_dim",
        "student_temperature",
        "teacher_temperature",
        "warmup_teacher_temperature",
    ],
)
def test_sizes_and_temperatures_must_be_positive(
    kind: type[DINOConfig] | type[PWSelfConfig], name: str
) -> None:
    change: dict[str, Any] = {name: 0}
    with pytest.raises(RangeError, match=rf"^{kind.__name__}: {name} must be positive, got 0$"):
        dataclasses.replace(kind(), **change)


@pytest.mark.bad_input
def test_an_unknown_matching_is_named_with_the_nearest() -> None:
    change: dict[str, Any] = {"matching": "thin"}
    message = "matching must be one of nearest, none, thinned, got 'thin'; did you mean 'thinned'?"
    with pytest.raises(ChoiceError, match=re.escape(message)):
        PWSelfConfig(**change)


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["teacher_warmup_epochs", "frozen_prototype_epochs"])
def test_lengths_must_not_be_negative(name: str) -> None:
    change: dict[str, Any] = {name: -1}
    with pytest.raises(RangeError, match=rf"^DINOConfig: {name} must lie in \[0.0, .*, got -1$"):
        dataclasses.replace(DINOConfig(), **change)


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["teacher_momentum", "centre_momentum", "cls_weight"])
@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_shares_must_lie_between_0_and_1(name: str, value: Any) -> None:
    message = rf"^PWSelfConfig: {name} must lie in \[0.0, 1.0\], got {value}$"
    with pytest.raises(RangeError, match=message):
        dataclasses.replace(PWSelfConfig(), **{name: value})
