"""timm's DINOv3."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from patchwise.errors import WeightsError
from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.folder import read_folder
from patchwise.models.weights.timm_dinov3 import is_timm_dinov3, read_timm_dinov3
from tests.models.weights.peers import (
    TIMM_DINOV3,
    Peer,
    check_every_key_counts,
    check_features,
    timm_peer,
    with_options,
)


def peer_of(name: str, patch_px: int = 4) -> Peer:
    architecture, arguments = TIMM_DINOV3[name]
    return timm_peer(architecture, patch_px, **arguments)


def with_arguments(file: WeightsFile, **arguments: object) -> WeightsFile:
    return with_options(file, model_args={**file.config["model_args"], **arguments})


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> WeightsFile:
    folder = tmp_path_factory.mktemp("dinov3")
    peer_of("DINOv3, biases").save(folder)
    return read_folder(folder)


@pytest.mark.parametrize("name", TIMM_DINOV3)
def test_features_are_those_of_timm(name: str, tmp_path: Path) -> None:
    check_features(peer_of(name), tmp_path)


@pytest.mark.bad_input
@pytest.mark.parametrize("name", TIMM_DINOV3)
def test_every_key_counts(name: str, tmp_path: Path) -> None:
    peer_of(name).save(tmp_path)
    check_every_key_counts(tmp_path, "timm-dinov3")


@pytest.mark.parametrize(
    ("architecture", "heads"),
    [("vit_small_patch16_dinov3", 2), ("vit_7b_patch16_dinov3.lvd1689m", 1)],
)
def test_heads_are_those_of_the_architecture(architecture: str, heads: int) -> None:
    """Where model_args do not name them; width and depth are read off the shapes."""
    timm: Any = pytest.importorskip("timm")
    peer = timm.create_model(
        architecture.partition(".")[0], embed_dim=128, depth=1, num_heads=heads
    )
    config = {"architecture": architecture}
    loaded = read_timm_dinov3(WeightsFile(Path("x"), peer.state_dict(), config=config))
    assert loaded.backbone.config.heads == heads


def test_periods_are_those_of_the_base(file: WeightsFile) -> None:
    changed = read_timm_dinov3(with_arguments(file, rope_temperature=16.0))
    periods = changed.backbone.rope_embed.periods
    torch.testing.assert_close(periods, torch.tensor([1.0, 2.0, 4.0, 8.0]))


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    peer_of("DINOv3, classifier").save(tmp_path)
    assert set(read_timm_dinov3(read_folder(tmp_path)).left_out) == {"head.weight", "head.bias"}


@pytest.mark.parametrize(
    ("architecture", "ours"),
    [
        ("vit_small_patch16_dinov3", True),
        ("vit_large_patch16_dinov3_qkvb", True),
        ("vit_small_patch16_dinov3.lvd1689m", True),
        ("vit_small_patch14_dinov2", False),
        ("convnext_small.dinov3", False),
        (None, False),
    ],
)
def test_it_is_known_by_its_architecture(architecture: str | None, ours: bool) -> None:
    assert is_timm_dinov3(WeightsFile(Path("x"), {}, config={"architecture": architecture})) is ours
    assert not is_timm_dinov3(WeightsFile(Path("x"), {"reg_token": torch.ones(1)}))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"act_layer": "relu"}, "must be arguments that change no feature .*, got act_layer"),
        ({"rope_rotate_half": False, "qk_norm": True}, "got qk_norm, rope_rotate_half"),
        ({"num_heads": 5}, "must hold a possible ViT .* dim must be a multiple of heads"),
        ({"num_heads": "3"}, "num_heads .* must be a whole number, got '3'"),
        ({"num_reg_tokens": 4}, r"'reg_token \(1, 2, 48\) for \(1, 4, 48\)'"),
        ({"num_reg_tokens": 0}, "left over 'reg_token'"),
    ],
)
def test_other_arguments_are_refused_by_name(
    arguments: dict[str, object], message: str, file: WeightsFile
) -> None:
    with pytest.raises(WeightsError, match=message):
        read_timm_dinov3(with_arguments(file, **arguments))


@pytest.mark.bad_input
def test_arguments_that_are_no_table_are_refused(file: WeightsFile) -> None:
    with pytest.raises(WeightsError, match=r"model_args in config.json of .*, got"):
        read_timm_dinov3(with_options(file, model_args=["num_heads"]))


@pytest.mark.bad_input
@pytest.mark.parametrize("shape", [(48, 1, 4, 4), (48, 48)])
def test_other_patches_are_refused(shape: tuple[int, ...], file: WeightsFile) -> None:
    contents = {**file.contents, "patch_embed.proj.weight": torch.ones(shape)}
    with pytest.raises(
        WeightsError, match=r"must have shape \(D, 3, patch, patch\) .*, got \(48, "
    ):
        read_timm_dinov3(replace(file, contents=contents))


def test_the_folder_is_what_timm_saves(file: WeightsFile) -> None:
    config = json.loads((file.path.parent / "config.json").read_text())
    assert config["architecture"] == "vit_small_patch16_dinov3_qkvb"
