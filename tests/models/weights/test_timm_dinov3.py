"""timm's DINOv3."""

from pathlib import Path
from typing import Any

import pytest
import torch

from patchwise.errors import WeightsError
from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.folder import read_folder
from patchwise.models.weights.options import Options
from patchwise.models.weights.timm_dinov3 import is_timm_dinov3, read_timm_dinov3
from patchwise.models.weights.timm_folder import read_timm_folder
from tests.models.weights.peers import (
    TIMM,
    check_every_key_counts,
    check_features,
    make_peer,
    with_arguments,
)

NAMES = [name for name in TIMM if name.startswith("DINOv3")]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> WeightsFile:
    folder = tmp_path_factory.mktemp("dinov3")
    make_peer("timm", "DINOv3, biases").save(folder)
    return read_folder(folder)


@pytest.mark.parametrize("name", NAMES)
def test_features_are_those_of_timm(name: str, tmp_path: Path) -> None:
    check_features(make_peer("timm", name), tmp_path)


@pytest.mark.bad_input
@pytest.mark.parametrize("name", NAMES)
def test_every_key_counts(name: str, tmp_path: Path) -> None:
    make_peer("timm", name).save(tmp_path)
    check_every_key_counts(tmp_path, "timm-folder")


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
    file = WeightsFile(Path("x"), peer.state_dict(), config={"architecture": architecture})
    assert read_timm_dinov3(file, Options(file.path, {})).vit.config.heads == heads


def test_periods_are_those_of_the_base(file: WeightsFile) -> None:
    changed = read_timm_folder(with_arguments(file, rope_temperature=16.0))
    periods = changed.vit.rope_embed.periods
    torch.testing.assert_close(periods, torch.tensor([1.0, 2.0, 4.0, 8.0]))


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    make_peer("timm", "DINOv3, classifier").save(tmp_path)
    assert read_timm_folder(read_folder(tmp_path)).left_out == ("head.*",)


@pytest.mark.parametrize(
    ("architecture", "ours"),
    [
        ("vit_small_patch16_dinov3", True),
        ("vit_large_patch16_dinov3_qkvb", True),
        ("vit_small_patch16_dinov3.lvd1689m", True),
        ("vit_small_patch14_dinov2", False),
        ("convnext_small.dinov3", False),
        (None, False),
        (["vit_small_patch16_dinov3"], False),
    ],
)
def test_it_is_known_by_its_architecture(architecture: object, ours: bool) -> None:
    assert is_timm_dinov3(architecture) is ours


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"act_layer": "relu"}, "must be arguments that change no feature, or .*, got act_layer"),
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
        read_timm_folder(with_arguments(file, **arguments))
