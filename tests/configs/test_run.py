"""Settings of a run: what may be set, and what cannot be."""

import dataclasses
import subprocess
import sys
from typing import Any

import pytest

from patchwise.configs.run import DataConfig, OptimConfig, TrainConfig
from patchwise.errors import ChoiceError, ConfigError, RangeError

SECTIONS: list[type[Any]] = [DataConfig, OptimConfig, TrainConfig]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_option_has_a_help_text(section: type[Any]) -> None:
    texts = [field.metadata["help"] for field in dataclasses.fields(section)]
    assert all(text.endswith(".") for text in texts)
    assert len(set(texts)) == len(texts)


def test_defaults_are_the_published_ones() -> None:
    optim = OptimConfig()
    assert (optim.lr_per_256, optim.final_lr, optim.warmup_epochs) == (5e-4, 1e-6, 10)
    assert (optim.weight_decay, optim.final_weight_decay, optim.clip_norm) == (0.04, 0.4, 3.0)


def test_ends_of_ranges_are_allowed() -> None:
    assert DataConfig(workers=0, tolerated_bad_images=0).workers == 0
    assert OptimConfig(lr_per_256=1e-6, final_lr=1e-6, warmup_epochs=0, clip_norm=0).clip_norm == 0
    assert OptimConfig(warmup_epochs=1e6, weight_decay=0).warmup_epochs == 1e6
    assert TrainConfig(epochs=1e6).epochs == 1e6
    assert TrainConfig(epochs=0.01, batch=1, accumulate=1, seed=2**31 - 1).seed == 2**31 - 1


def test_importing_the_configuration_does_not_import_torch() -> None:
    code = "import sys, patchwise.configs.run; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.bad_input
def test_images_are_kept_where_there_is_such_a_place() -> None:
    with pytest.raises(ChoiceError, match="DataConfig: keep must be one of auto, device, none"):
        DataConfig(keep="disk")  # type: ignore[arg-type]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("section", "name", "value", "rule"),
    [
        (DataConfig, "workers", -1, "lie in [0, 1024]"),
        (DataConfig, "workers", 1025, "lie in [0, 1024]"),
        (DataConfig, "tolerated_bad_images", -1, "lie in [0, 1000000000.0]"),
        (OptimConfig, "lr_per_256", 0.0, "be positive"),
        (OptimConfig, "final_lr", 6e-4, "lie in [0.0, 0.0005]"),
        (OptimConfig, "final_lr", -1e-9, "lie in [0.0, 0.0005]"),
        (OptimConfig, "warmup_epochs", -1.0, "lie in [0.0, 1000000.0]"),
        (OptimConfig, "warmup_epochs", 1000001.0, "lie in [0.0, 1000000.0]"),
        (OptimConfig, "warmup_epochs", float("inf"), "lie in [0.0, 1000000.0]"),
        (OptimConfig, "weight_decay", -0.1, "lie in [0.0, 1000000000.0]"),
        (OptimConfig, "final_weight_decay", float("nan"), "lie in [0.0, 1000000000.0]"),
        (OptimConfig, "clip_norm", -3.0, "lie in [0.0, 1000000000.0]"),
        (TrainConfig, "epochs", float("inf"), "be positive"),
        (TrainConfig, "epochs", 0.0, "be positive"),
        (TrainConfig, "epochs", 1000001.0, "lie in [0.0, 1000000.0]"),
        (TrainConfig, "batch", 0, "be positive"),
        (TrainConfig, "accumulate", 0, "be positive"),
        (TrainConfig, "log_every_steps", 0, "be positive"),
        (TrainConfig, "checkpoint_every_steps", -5, "be positive"),
        (TrainConfig, "keep_checkpoints", 0, "be positive"),
        (TrainConfig, "val_every_epochs", 0.0, "be positive"),
        (TrainConfig, "seed", -1, "lie in [0, 2147483647]"),
        (TrainConfig, "seed", 2**31, "lie in [0, 2147483647]"),
    ],
)
def test_values_out_of_range_are_refused(
    section: type[Any], name: str, value: float, rule: str
) -> None:
    with pytest.raises(RangeError) as caught:
        section(**{name: value})
    assert str(caught.value) == f"{section.__name__}: {name} must {rule}, got {value}"


@pytest.mark.bad_input
def test_a_batch_must_split_evenly() -> None:
    TrainConfig(batch=12, accumulate=4)
    with pytest.raises(ConfigError) as caught:
        TrainConfig(batch=12, accumulate=5)
    assert str(caught.value) == (
        "TrainConfig: batch must be a multiple of accumulate, got batch 12 and accumulate 5"
    )
