"""transformers' Dinov2, with and without registers."""

from pathlib import Path

import pytest
import torch

from patchwise.errors import WeightsError
from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.folder import read_folder
from patchwise.models.weights.huggingface_dinov2 import read_huggingface_dinov2
from tests.models.weights.peers import (
    TRANSFORMERS,
    check_every_key_counts,
    check_features,
    transformers_peer,
    with_options,
    without_options,
)

NAMES = [name for name in TRANSFORMERS if name.startswith("Dinov2")]
REGISTERS = "Dinov2WithRegisters"


def saved(name: str, folder: Path) -> WeightsFile:
    transformers_peer(name).save(folder)
    return read_folder(folder)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> WeightsFile:
    return saved(REGISTERS, tmp_path_factory.mktemp("registers"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("published", [True, False])
def test_features_are_those_of_transformers(name: str, published: bool, tmp_path: Path) -> None:
    check_features(transformers_peer(name, published=published), tmp_path)


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["Dinov2, SwiGLU", "Dinov2, classifier", REGISTERS])
@pytest.mark.parametrize("published", [True, False])
def test_every_key_counts(name: str, published: bool, tmp_path: Path) -> None:
    transformers_peer(name, published=published).save(tmp_path)
    check_every_key_counts(tmp_path, "huggingface")


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        ("Dinov2", ("embeddings.mask_token",)),
        (
            "Dinov2, classifier",
            ("classifier.*", "dinov2.embeddings.mask_token"),
        ),
        (f"{REGISTERS}, none", ("embeddings.mask_token", "embeddings.register_tokens")),
    ],
)
def test_what_is_left_out_is_said(name: str, left_out: tuple[str, ...], tmp_path: Path) -> None:
    assert read_huggingface_dinov2(saved(name, tmp_path)).left_out == left_out


def test_options_that_are_missing_are_those_of_transformers(file: WeightsFile) -> None:
    bare = without_options(file, "layer_norm_eps", "qkv_bias", "hidden_act", "use_swiglu_ffn")
    assert read_huggingface_dinov2(bare).vit.config == (read_huggingface_dinov2(file).vit.config)


def test_training_leaves_no_trace(file: WeightsFile) -> None:
    changed = with_options(file, drop_path_rate=0.5, hidden_dropout_prob=0.5, layerscale_value=7.0)
    images = torch.randn(1, 3, 16, 16)
    plain, other = (read_huggingface_dinov2(f).vit for f in (file, changed))
    assert torch.equal(plain(images).patches, other.train()(images).patches)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("hidden_act", "quick_gelu", r"hidden_act .* must be 'gelu' \(the exact GELU\), got 'quic"),
        ("mlp_ratio", 3, r"mlp.fc1.weight \(96, 48\) for \(144, 48\)"),
        ("mlp_ratio", 0, "mlp_ratio .* must be a positive number, got 0"),
        ("use_swiglu_ffn", True, "missing 'encoder.layer.0.mlp.weights_in.weight'"),
        ("use_swiglu_ffn", 1, "use_swiglu_ffn .* must be true or false, got 1"),
        ("num_register_tokens", 4, r"'embeddings.register_tokens \(1, 3, 48\) for \(1, 4, 48\)'"),
        ("num_register_tokens", 0, "left over 'embeddings.register_tokens'"),
        ("model_type", "dinov2", "left over 'embeddings.register_tokens'"),
        ("qkv_bias", False, "left over 'encoder.layer.0.attention.attention.key.bias'"),
        ("patch_size", [4, 2], r"patch_size .* must be the side of a square, got \[4, 2\]"),
    ],
)
def test_other_options_are_refused_by_name(
    option: str, value: object, message: str, file: WeightsFile
) -> None:
    with pytest.raises(WeightsError, match=message):
        read_huggingface_dinov2(with_options(file, **{option: value}))


def test_the_activation_of_a_gated_layer_is_never_the_option(tmp_path: Path) -> None:
    """As in transformers, where it is SiLU whatever hidden_act says."""
    file = with_options(saved("Dinov2, SwiGLU", tmp_path), hidden_act="relu")
    assert read_huggingface_dinov2(file).vit.config.mlp == "swiglu"
