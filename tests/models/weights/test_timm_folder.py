"""Folders of timm."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from patchwise.errors import WeightsError
from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.folder import read_folder
from patchwise.models.weights.timm_folder import is_timm_folder, read_timm_folder
from tests.models.weights.peers import (
    TIMM,
    check_every_key_counts,
    check_features,
    make_peer,
    with_arguments,
    with_options,
)

NAMES = [name for name in TIMM if not name.startswith("DINOv3")]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> WeightsFile:
    folder = tmp_path_factory.mktemp("timm")
    make_peer("timm", "ViT").save(folder)
    return read_folder(folder)


@pytest.mark.parametrize("name", NAMES)
def test_features_are_those_of_timm(name: str, tmp_path: Path) -> None:
    check_features(make_peer("timm", name), tmp_path)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "name", ["ViT, classifier", "ViT, registers placed", "DINOv2, registers", "DINOv2, SwiGLU"]
)
def test_every_key_counts(name: str, tmp_path: Path) -> None:
    make_peer("timm", name).save(tmp_path)
    check_every_key_counts(tmp_path, "timm-folder")


def test_it_is_known_by_its_config(file: WeightsFile) -> None:
    assert is_timm_folder(file)
    assert is_timm_folder(WeightsFile(Path("x"), {}, config={"architecture": "resnet50"}))
    assert not is_timm_folder(with_options(WeightsFile(Path("x"), {}), model_type="vit"))


def test_heads_are_those_of_the_arguments(file: WeightsFile) -> None:
    assert read_timm_folder(file).vit.config.heads == 3
    other = read_timm_folder(with_arguments(file, num_heads=6)).vit
    assert other.config.heads == 6
    bare = with_options(file, model_args={})
    with pytest.raises(WeightsError, match=r"dim of .* must be one of 192, .*got 48; the number"):
        read_timm_folder(bare)


def test_arguments_of_training_and_of_the_classifier_change_nothing(file: WeightsFile) -> None:
    changed = with_arguments(file, drop_path_rate=0.5, num_classes=3, global_pool="avg")
    images = torch.randn(1, 3, 16, 16)
    plain, other = (read_timm_folder(f).vit for f in (file, changed))
    assert torch.equal(plain(images).patches, other.train()(images).patches)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"act_layer": "quick_gelu"}, "change no feature, or num_heads, reg_tokens, got act_layer"),
        ({"norm_layer": "rmsnorm", "qk_norm": True}, "got norm_layer, qk_norm"),
        ({"rope_temperature": 50.0}, "got rope_temperature"),
        ({"num_heads": 5}, "must hold a possible ViT .* dim must be a multiple of heads"),
        ({"reg_tokens": 2}, "must hold 2 registers under 'reg_token', as its .* got 0"),
        ({"num_heads": None}, "num_heads .* must be a whole number, got None"),
    ],
)
def test_other_arguments_are_refused_by_name(
    arguments: dict[str, object], message: str, file: WeightsFile
) -> None:
    with pytest.raises(WeightsError, match=message):
        read_timm_folder(with_arguments(file, **arguments))


@pytest.mark.bad_input
@pytest.mark.parametrize("arguments", [["num_heads"], [], [1], "num_heads", 3, None])
def test_arguments_that_are_no_table_are_refused(arguments: object, file: WeightsFile) -> None:
    with pytest.raises(WeightsError, match=r"model_args in config.json of .*, got"):
        read_timm_folder(with_options(file, model_args=arguments))


@pytest.mark.bad_input
@pytest.mark.parametrize("config", [{}, {"architecture": None}, {"architecture": 3}])
def test_an_architecture_that_is_not_named_is_said(
    config: dict[str, object], file: WeightsFile
) -> None:
    """As of a weights file without its folder, which the user calls one of a folder."""
    with pytest.raises(WeightsError, match=r"must come with its config.json, .*, got (None|3); "):
        read_timm_folder(replace(file, config=config))
