"""What all of transformers' ViTs have in their config.json."""

from pathlib import Path
from typing import Any

import pytest

from patchwise.configs.backbone import ViTConfig
from patchwise.errors import WeightsError
from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.options import Options
from patchwise.models.weights.transformers_config import make_config, read_options

SIZES: dict[str, Any] = {
    "hidden_size": 96,
    "num_hidden_layers": 5,
    "num_attention_heads": 3,
    "patch_size": 14,
    "image_size": 518,
}


def config_of(**values: object) -> ViTConfig:
    return make_config(Options(Path("x"), SIZES | values), norm_eps=1e-12, hidden_dim=192)


def test_all_options_become_the_architecture() -> None:
    expected = ViTConfig(
        dim=96, depth=5, heads=3, patch_px=14, image_px=518, mlp_ratio=2.0, norm_eps=1e-12
    )
    assert config_of() == expected
    assert config_of(patch_size=[14, 14], image_size=[518, 518], num_channels=3) == expected
    assert config_of(head_dim=32) == expected
    assert config_of(layer_norm_eps=1e-5).norm_eps == 1e-5


def test_fields_of_a_family_are_handed_on() -> None:
    options = Options(Path("x"), SIZES)
    config = make_config(options, norm_eps=1.0, hidden_dim=90, registers=2, mlp="swiglu")
    assert (config.registers, config.mlp, config.hidden_dim) == (2, "swiglu", 90)


def test_pixels_that_fill_no_patch_are_not_counted() -> None:
    """As many positions are stored as whole patches fit."""
    assert config_of(image_size=520).image_px == 518


def test_the_options_are_those_beside_the_weights() -> None:
    file = WeightsFile(Path("m/model.safetensors"), {}, config={"a": 1})
    assert read_options(file, "a test") == Options(file.path, {"a": 1})


@pytest.mark.bad_input
def test_weights_alone_do_not_say_what_they_are() -> None:
    message = r"must come with its config.json \(read as a test\), got none; give the folder"
    with pytest.raises(WeightsError, match=message):
        read_options(WeightsFile(Path("x"), {}), "a test")


@pytest.mark.bad_input
@pytest.mark.parametrize("name", SIZES)
def test_every_size_must_be_there(name: str) -> None:
    values = {other: value for other, value in SIZES.items() if other != name}
    with pytest.raises(WeightsError, match=f"option {name} in config.json .* got no such option"):
        make_config(Options(Path("x"), values), norm_eps=1.0, hidden_dim=4)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_channels": 4}, r"num_channels .* must be 3 \(RGB images\), got 4"),
        ({"head_dim": 64}, r"head_dim .* must be 32 \(hidden_size / num_attention_heads\), got 64"),
        ({"num_attention_heads": 5}, "possible ViT, got ViTConfig: dim must be a multiple of hea"),
        ({"num_attention_heads": 0}, "must describe a possible ViT, got"),
        ({"hidden_size": 0}, "must describe a possible ViT, got"),
        ({"num_hidden_layers": 0}, "possible ViT, got ViTConfig: depth must be a whole number"),
        ({"image_size": 13}, "possible ViT, got ViTConfig: image_px must be a whole number"),
    ],
)
def test_impossible_options_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        config_of(**values)
