"""MAE's encoders."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from patchwise.errors import WeightsError
from patchwise.models.vit import ViT
from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.load import LAYOUTS, recognise
from patchwise.models.weights.mae import is_mae, read_mae
from tests.models.weights.published import WIDE, mae_decoder


def file_of(dim: int, heads: int) -> WeightsFile:
    vit = ViT(replace(WIDE, dim=dim, heads=heads, mlp_ratio=4 / dim))
    return WeightsFile(Path("x.pth"), {"model": dict(vit.state_dict())})


@pytest.mark.parametrize(("dim", "heads"), [(768, 12), (1024, 16), (1280, 16)])
def test_heads_are_those_of_the_published_sizes(dim: int, heads: int) -> None:
    config = read_mae(file_of(dim, heads)).vit.config
    assert config.heads == heads
    assert config.interpolation == "size"


def test_the_decoder_alone_is_no_encoder() -> None:
    assert not is_mae(WeightsFile(Path("x.pth"), {"model": mae_decoder()}))
    assert not is_mae(WeightsFile(Path("x.pth"), {"model": torch.ones(2)}))


@pytest.mark.bad_input
def test_small_models_under_the_same_name_are_refused() -> None:
    """Those of DeiT and, converted, of MoCo-v3: their heads differ."""
    with pytest.raises(WeightsError, match=r"must be one of 768, 1024, 1280 .*, got 384"):
        read_mae(file_of(384, 6))


@pytest.mark.bad_input
def test_a_fine_tuned_model_is_refused() -> None:
    """It normalises after pooling: its patches have no norm."""
    weights = dict(file_of(768, 12).contents["model"])  # type: ignore[call-overload]
    for kind in ("weight", "bias"):
        weights[f"fc_norm.{kind}"] = weights.pop(f"norm.{kind}")
    file = WeightsFile(Path("x.pth"), {"model": weights})
    assert recognise(file) is LAYOUTS["mae"]
    with pytest.raises(WeightsError, match=r"missing 'norm.weight', .*left over 'fc_norm.weight'"):
        read_mae(file)


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["decoder_head.weight", "mask_token.more", "decoder_blocks.0.x"])
def test_other_parts_are_named(name: str) -> None:
    weights = dict(file_of(768, 12).contents["model"])  # type: ignore[call-overload]
    with pytest.raises(WeightsError, match=f"got left over '{name}'$"):
        read_mae(WeightsFile(Path("x.pth"), {"model": {**weights, name: torch.ones(2)}}))
