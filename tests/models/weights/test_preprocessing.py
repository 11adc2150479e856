"""How images are normalised for published weights: against what the libraries make of an image."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from patchwise.configs.backbone import ViTConfig
from patchwise.configs.normalisation import IMAGENET, Normalisation
from patchwise.errors import WeightsError
from patchwise.models.backbone import prepare
from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.folder import read_folder
from patchwise.models.weights.load import load_backbone, read_backbone
from patchwise.models.weights.preprocessing import (
    HALF,
    read_preprocessor,
    read_pretrained_cfg,
    with_normalisation,
)
from tests.models.weights.peers import make_peer, transformers_peer

BLACK, WHITE = torch.zeros(1, 3, 24, 24), torch.full((1, 3, 24, 24), 255)
PIXELS = torch.cat([BLACK, WHITE, torch.arange(3 * 24 * 24).reshape(1, 3, 24, 24) % 256])
PIXELS = PIXELS.to(torch.uint8)
OWN = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
# Model here, its processor there, and what that is told.
PROCESSED: list[tuple[str, str, dict[str, Any]]] = [
    ("ViT", "ViTImageProcessor", {}),
    ("ViT", "ViTImageProcessor", OWN),
    ("ViT", "ViTImageProcessor", {"do_normalize": False}),
    ("ViTMAE", "ViTImageProcessor", OWN),
    ("ViTMSN", "ViTImageProcessor", OWN),
    ("Dinov2", "BitImageProcessor", {}),
    ("Dinov2WithRegisters", "BitImageProcessor", OWN),
    ("DINOv3ViT", "DINOv3ViTImageProcessor", {}),
    ("DINOv3ViT", "DINOv3ViTImageProcessor", OWN),
]


def described(**options: object) -> WeightsFile:
    return WeightsFile(Path("m/model.safetensors"), {}, preprocessing={"do_resize": 1} | options)


def timm_file(**config: object) -> WeightsFile:
    return WeightsFile(Path("m/model.safetensors"), {}, config={"architecture": "x"} | config)


@pytest.mark.parametrize(("model", "name", "options"), PROCESSED)
def test_images_are_those_of_the_processor_of_transformers(
    model: str, name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    processor = getattr(transformers, name)(do_resize=False, do_center_crop=False, **options)
    transformers_peer(model).save(tmp_path)
    processor.save_pretrained(tmp_path)
    theirs: Tensor = processor(list(PIXELS), return_tensors="pt")["pixel_values"]
    ours = prepare(load_backbone(tmp_path), PIXELS)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["ViT", "DINOv2", "DINOv3"])
@pytest.mark.parametrize("own", [True, False])
def test_images_are_those_that_timm_would_make(name: str, own: bool, tmp_path: Path) -> None:
    make_peer("timm", name).save(tmp_path)
    if own:
        config = json.loads((tmp_path / "config.json").read_text())
        config["pretrained_cfg"] |= {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
        (tmp_path / "config.json").write_text(json.dumps(config))
    timm = pytest.importorskip("timm")
    config = json.loads((tmp_path / "config.json").read_text())
    used = timm.data.resolve_data_config(pretrained_cfg=config["pretrained_cfg"])
    mean, std = (torch.tensor(used[key])[:, None, None] for key in ("mean", "std"))
    ours = prepare(load_backbone(tmp_path), PIXELS)
    torch.testing.assert_close(ours, (PIXELS / 255 - mean) / std, atol=1e-5, rtol=1e-5)


def test_timms_own_models_differ_in_it(tmp_path: Path) -> None:
    for name, expected in (("ViT", HALF), ("DINOv2", IMAGENET)):
        make_peer("timm", name).save(tmp_path)
        assert load_backbone(tmp_path).normalisation == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ViT", HALF),
        *((name, IMAGENET) for name in ("ViTMAE", "ViTMSN", "Dinov2", "DINOv3ViT")),
        ("Dinov2WithRegisters", IMAGENET),
    ],
)
def test_without_a_word_it_is_that_of_the_published_models(
    name: str, expected: Normalisation, tmp_path: Path
) -> None:
    transformers_peer(name).save(tmp_path)
    assert read_folder(tmp_path).preprocessing == {}
    assert read_backbone(tmp_path).vit.normalisation == expected


def test_what_a_preprocessor_says_is_taken_over() -> None:
    own = Normalisation((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    for absent in (IMAGENET, HALF):
        assert read_preprocessor(described(**OWN), absent=absent) == own
        nothing = replace(described(), preprocessing={})
        assert read_preprocessor(nothing, absent=absent) == absent
    assert read_preprocessor(replace(described(), preprocessing={})) == IMAGENET
    one_for_all = described(image_mean=0.5, image_std=0.5, do_rescale=True, do_normalize=True)
    assert read_preprocessor(one_for_all) == HALF
    in_float32 = float(torch.tensor(1 / 255))
    assert read_preprocessor(described(**OWN, rescale_factor=in_float32)) == own


def test_without_normalisation_pixels_stay_as_they_are() -> None:
    found = read_preprocessor(described(**OWN, do_normalize=False))
    assert found == Normalisation((0, 0, 0), (1, 1, 1))
    assert read_preprocessor(described(do_normalize=False)) == found


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"do_rescale": False}, r"do_rescale in P must be True \(pixels in \[0, 1\]\), got False"),
        ({"rescale_factor": 1 / 127.5}, r"rescale_factor in P must be 1/255 \(.*\), got 0.0078"),
        ({"rescale_factor": 1.0}, r"rescale_factor in P must be 1/255 \(.*\), got 1.0"),
        ({"rescale_factor": 1.0, "do_normalize": False}, "rescale_factor in P must be 1/255"),
        ({"rescale_factor": "1/255"}, "rescale_factor in P must be a positive number"),
        ({"do_rescale": False, "do_normalize": False}, "do_rescale in P must be True"),
        ({"do_normalize": "no"}, "do_normalize in P must be true or false, got 'no'"),
        ({"image_mean": [123.7, 116.3, 103.5]}, r"image_mean in P must be three numbers in \[0, 1"),
        ({"image_std": [0.5, 0.5, 0.0]}, r"image_std in P must be three numbers in \(0, 1\]"),
        ({"image_std": [0.5, 0.5]}, r"image_std in P must be three numbers in \(0, 1\]"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(
    options: dict[str, object], message: str
) -> None:
    named = message.replace("P", r"preprocessor_config\.json of 'm/model\.safetensors'")
    with pytest.raises(WeightsError, match=f"load_backbone: option {named}"):
        read_preprocessor(described(**OWN | options))


@pytest.mark.bad_input
@pytest.mark.parametrize("name", OWN)
def test_half_of_it_is_not_enough(name: str) -> None:
    rest = {other: value for other, value in OWN.items() if other != name}
    with pytest.raises(WeightsError, match=rf"option {name} in .*, got no such option"):
        read_preprocessor(described(**rest))


def test_what_timm_leaves_out_is_imagenets() -> None:
    assert read_pretrained_cfg(WeightsFile(Path("m.pth"), {})) == IMAGENET
    assert read_pretrained_cfg(timm_file()) == read_pretrained_cfg(timm_file(pretrained_cfg={}))
    assert read_pretrained_cfg(timm_file(pretrained_cfg={"tag": "dino"})) == IMAGENET
    mean, std = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
    only_mean = read_pretrained_cfg(timm_file(pretrained_cfg={"mean": mean}))
    assert only_mean == Normalisation((0.1, 0.2, 0.3), IMAGENET.std)
    only_std = read_pretrained_cfg(timm_file(pretrained_cfg={"std": std}))
    assert only_std == Normalisation(IMAGENET.mean, (0.4, 0.5, 0.6))


def test_old_files_of_timm_say_it_at_the_top() -> None:
    table: dict[str, object] = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    own = Normalisation((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert read_pretrained_cfg(timm_file(**table)) == own
    assert read_pretrained_cfg(timm_file(**table, pretrained_cfg={})) == IMAGENET


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"pretrained_cfg": [1]}, r"pretrained_cfg in config.json of .* a table of options, got "),
        ({"pretrained_cfg": None}, r"pretrained_cfg in config.json of .* a table of options, got "),
        ({"pretrained_cfg": {"mean": [127, 127, 127]}}, "option mean in config.json of .* must be"),
        ({"pretrained_cfg": {"std": [0, 1, 1]}}, r"option std in .* three numbers in \(0, 1\]"),
    ],
)
def test_other_tables_of_timm_are_refused(config: dict[str, object], message: str) -> None:
    with pytest.raises(WeightsError, match=f"^load_backbone: {message}"):
        read_pretrained_cfg(timm_file(**config))


def test_nothing_else_of_the_architecture_changes() -> None:
    config = ViTConfig(registers=2, pixel_mean=(0.0, 0.0, 0.0))
    changed = with_normalisation(config, HALF)
    assert changed.normalisation == HALF
    assert with_normalisation(changed, config.normalisation) == config
