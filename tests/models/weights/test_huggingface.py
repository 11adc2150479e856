"""Which model of transformers a folder holds."""

from pathlib import Path

import pytest
import torch

from patchwise.errors import WeightsError
from patchwise.models.weights.files import WeightsFile, read_weights_file
from patchwise.models.weights.folder import read_folder
from patchwise.models.weights.huggingface import is_huggingface, read_huggingface
from patchwise.models.weights.load import load_backbone
from tests.models.weights.peers import transformers_peer, with_options


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("ViTMAE", "a ViT of transformers"),
        ("ViTMSN", "a ViT of transformers"),
        ("Dinov2", "a Dinov2 of transformers"),
        ("Dinov2WithRegisters", "a Dinov2 of transformers"),
        ("DINOv3ViT", "a DINOv3 ViT of transformers"),
    ],
)
def test_config_json_says_which(name: str, layout: str, tmp_path: Path) -> None:
    transformers_peer(name).save(tmp_path)
    file = read_folder(tmp_path)
    assert is_huggingface(file)
    assert is_huggingface(WeightsFile(Path("x"), {}, config=file.config))
    assert read_huggingface(file).layout == layout


def test_files_of_others_are_not_taken() -> None:
    contents = {"patch_embed.proj.weight": torch.ones(1), 3: torch.ones(1)}
    assert not is_huggingface(WeightsFile(Path("x"), contents))
    assert not is_huggingface(WeightsFile(Path("x"), contents, config={"architecture": "vit"}))


@pytest.mark.bad_input
def test_a_file_of_transformers_without_its_config_is_known(tmp_path: Path) -> None:
    transformers_peer("Dinov2").save(tmp_path)
    assert is_huggingface(read_weights_file(tmp_path / "model.safetensors"))
    with pytest.raises(WeightsError, match=r"must come with its config.json .* give the folder"):
        load_backbone(tmp_path / "model.safetensors")


@pytest.mark.bad_input
@pytest.mark.parametrize("kind", ["clip_vision_model", "deit", None, ["vit"], 3])
def test_other_models_are_refused_by_name(kind: object) -> None:
    file = with_options(WeightsFile(Path("x"), {}), model_type=kind)
    with pytest.raises(WeightsError, match=r"must be one of vit, .*, dinov3_vit, got "):
        read_huggingface(file)
