"""transformers' DINOv3ViT."""

from pathlib import Path

import pytest
import torch

from patchwise.errors import WeightsError
from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.folder import read_folder
from patchwise.models.weights.huggingface_dinov3 import read_huggingface_dinov3
from tests.models.weights.peers import (
    TRANSFORMERS,
    check_every_key_counts,
    check_features,
    transformers_peer,
    with_options,
    without_options,
)

NAMES = [name for name in TRANSFORMERS if name.startswith("DINOv3")]


def saved(name: str, folder: Path) -> WeightsFile:
    transformers_peer(name).save(folder)
    return read_folder(folder)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> WeightsFile:
    return saved("DINOv3ViT", tmp_path_factory.mktemp("dinov3"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("published", [True, False])
def test_features_are_those_of_transformers(name: str, published: bool, tmp_path: Path) -> None:
    check_features(transformers_peer(name, published=published), tmp_path)


@pytest.mark.bad_input
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("published", [True, False])
def test_every_key_counts(name: str, published: bool, tmp_path: Path) -> None:
    transformers_peer(name, published=published).save(tmp_path)
    check_every_key_counts(tmp_path, "huggingface")


@pytest.mark.parametrize("prefix", ["model.", "dinov3_vit."])
def test_models_for_a_task_hold_the_same_weights(prefix: str, file: WeightsFile) -> None:
    contents = {f"{prefix}{name}": tensor for name, tensor in file.contents.items()}
    head = {"classifier.weight": torch.ones(2, 48), "classifier.bias": torch.ones(2)}
    loaded = read_huggingface_dinov3(WeightsFile(file.path, contents | head, config=file.config))
    assert set(loaded.left_out) == {f"{prefix}embeddings.mask_token", "classifier.*"}
    images = torch.randn(1, 3, 16, 24)
    plain = read_huggingface_dinov3(file).vit
    assert torch.equal(loaded.vit(images).patches, plain(images).patches)


def test_options_that_are_missing_are_those_of_transformers(file: WeightsFile) -> None:
    names = ("query_bias", "key_bias", "value_bias", "proj_bias", "mlp_bias")
    more = ("use_gated_mlp", "layer_norm_eps", "rope_theta", "hidden_act")
    bare = read_huggingface_dinov3(without_options(file, *names, *more)).vit
    whole = read_huggingface_dinov3(file).vit
    assert bare.config == whole.config
    assert bare.config.norm_eps == 1e-5
    assert torch.equal(bare.rope_embed.periods, whole.rope_embed.periods)


def test_training_leaves_no_trace(file: WeightsFile) -> None:
    changed = with_options(
        file, drop_path_rate=0.5, attention_dropout=0.5, pos_embed_rescale=3.0, pos_embed_shift=1.0
    )
    images = torch.randn(1, 3, 16, 16)
    plain, other = (read_huggingface_dinov3(f).vit for f in (file, changed))
    assert torch.equal(plain(images).patches, other.train()(images).patches)


def test_the_periods_are_those_of_the_base(file: WeightsFile) -> None:
    changed = with_options(file, rope_theta=16)
    periods = read_huggingface_dinov3(changed).vit.rope_embed.periods
    torch.testing.assert_close(periods, torch.tensor([1.0, 2.0, 4.0, 8.0]))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("hidden_act", "silu", r"hidden_act .* must be 'gelu' \(the exact GELU\), got 'silu'"),
        ("use_gated_mlp", True, r"must be 'silu' \(where the MLP is gated\), got 'gelu'"),
        ("proj_bias", False, r"proj_bias .* must be True \(a bias\), got False"),
        ("mlp_bias", False, "mlp_bias .* got False"),
        ("key_bias", True, "missing 'layer.0.attention.k_proj.bias'"),
        ("query_bias", False, r"query_bias, key_bias, value_bias .* got \(False, False, True\)"),
        ("value_bias", False, r"got \(True, False, False\)"),
        ("num_register_tokens", 0, "left over 'embeddings.register_tokens'"),
        ("num_register_tokens", -1, "num_register_tokens .* must be a whole number, got -1"),
        ("rope_theta", 0, "rope_theta .* must be a positive number, got 0"),
        ("rope_theta", None, "rope_theta .* must be a positive number, got None"),
        ("intermediate_size", 72, r"mlp.up_proj.weight \(96, 48\) for \(72, 48\)"),
        ("num_attention_heads", 8, "heads of a multiple of 4 channels"),
    ],
)
def test_other_options_are_refused_by_name(
    option: str, value: object, message: str, file: WeightsFile
) -> None:
    with pytest.raises(WeightsError, match=message):
        read_huggingface_dinov3(with_options(file, **{option: value}))


@pytest.mark.bad_input
def test_a_gated_gelu_is_refused(tmp_path: Path) -> None:
    file = without_options(saved("DINOv3ViT, gated", tmp_path), "hidden_act")
    with pytest.raises(WeightsError, match=r"where the MLP is gated.*got 'gelu'"):
        read_huggingface_dinov3(file)
