"""transformers' ViT, ViTMAE and ViTMSN."""

from pathlib import Path

import pytest
import torch

from patchwise.errors import WeightsError
from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.folder import read_folder
from patchwise.models.weights.huggingface_vit import read_huggingface_vit
from tests.models.weights.peers import (
    TRANSFORMERS,
    check_every_key_counts,
    check_features,
    transformers_peer,
    with_options,
    without_options,
)

NAMES = [name for name in TRANSFORMERS if name.startswith("ViT")]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> WeightsFile:
    folder = tmp_path_factory.mktemp("vit")
    transformers_peer("ViT").save(folder)
    return read_folder(folder)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("published", [True, False])
def test_features_are_those_of_transformers(name: str, published: bool, tmp_path: Path) -> None:
    check_features(transformers_peer(name, published=published), tmp_path)


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["ViT", "ViT, eps and biases", "ViT, classifier"])
@pytest.mark.parametrize("published", [True, False])
def test_every_key_counts(name: str, published: bool, tmp_path: Path) -> None:
    transformers_peer(name, published=published).save(tmp_path)
    check_every_key_counts(tmp_path, "huggingface")


def test_what_is_left_out_is_said(file: WeightsFile, tmp_path: Path) -> None:
    assert read_huggingface_vit(file).left_out == ("pooler.*",)
    transformers_peer("ViT, classifier").save(tmp_path)
    loaded = read_huggingface_vit(read_folder(tmp_path))
    assert loaded.left_out == ("classifier.*",)


def test_options_that_are_missing_are_those_of_transformers(file: WeightsFile) -> None:
    bare = without_options(file, "layer_norm_eps", "qkv_bias", "hidden_act", "num_channels")
    assert read_huggingface_vit(bare).vit.config.norm_eps == 1e-12
    msn = read_huggingface_vit(with_options(bare, model_type="vit_msn"))
    assert msn.vit.config.norm_eps == 1e-6
    assert msn.vit.config.qkv_bias == "full"


def test_training_leaves_no_trace(file: WeightsFile) -> None:
    changed = with_options(file, hidden_dropout_prob=0.5, attention_probs_dropout_prob=0.5)
    images = torch.randn(1, 3, 16, 16)
    plain, other = (read_huggingface_vit(f).vit for f in (file, changed))
    assert torch.equal(plain(images).patches, other.train()(images).patches)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("hidden_act", "gelu_new", r"hidden_act in config.json of .* be 'gelu' \(the exact GELU\)"),
        ("hidden_act", "relu", "got 'relu'"),
        ("hidden_size", 96, r"'embeddings.cls_token \(1, 1, 48\) for \(1, 1, 96\)'"),
        ("num_hidden_layers", 3, "missing 'encoder.layer.2.layernorm_before.weight'"),
        ("num_hidden_layers", 1, "left over 'encoder.layer.1"),
        (
            "num_attention_heads",
            5,
            "must describe a possible ViT, got ViTConfig: dim must be a mul",
        ),
        ("intermediate_size", 50, r"intermediate.dense.weight \(96, 48\) for \(50, 48\)"),
        ("patch_size", 8, "embeddings.patch_embeddings.projection.weight"),
        ("image_size", 28, r"'embeddings.position_embeddings \(1, 37, 48\) for \(1, 50, 48\)'"),
        ("num_channels", 1, r"num_channels in config.json of .* must be 3 \(RGB images\), got 1"),
        ("qkv_bias", False, "left over 'encoder.layer.0.attention.attention.key.bias'"),
        ("qkv_bias", "yes", "qkv_bias .* must be true or false, got 'yes'"),
        ("head_dim", 8, r"head_dim .* must be 16 \(hidden_size / num_attention_heads\), got 8"),
    ],
)
def test_other_options_are_refused_by_name(
    option: str, value: object, message: str, file: WeightsFile
) -> None:
    with pytest.raises(WeightsError, match=message):
        read_huggingface_vit(with_options(file, **{option: value}))


def test_options_that_change_features_without_a_shape_are_honoured(file: WeightsFile) -> None:
    images = torch.randn(1, 3, 24, 24)
    plain = read_huggingface_vit(file).vit(images).patches
    for option in ({"layer_norm_eps": 0.1}, {"num_attention_heads": 6}):
        changed = read_huggingface_vit(with_options(file, **option)).vit(images).patches
        assert (changed - plain).abs().max() > 1e-2
