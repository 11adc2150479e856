"""From what a user names to a model."""

from pathlib import Path

import pytest

from patchwise.api.models import open_subject
from patchwise.errors import DataError
from patchwise.eval.baselines import RawPatches
from patchwise.features.subject import identify
from patchwise.models.weights import save_backbone
from tests.small_runs import small_vit


def test_a_file_and_the_same_model_are_one(tmp_path: Path) -> None:
    vit = small_vit()
    save_backbone(vit, tmp_path / "vit.safetensors")
    from_file = open_subject(tmp_path / "vit.safetensors", device="cpu")
    assert from_file.identity.name == "vit.safetensors"
    assert from_file.identity.sha256 == open_subject(vit).identity.sha256
    assert open_subject(vit, name="mine").identity == identify(vit, "mine")


def test_a_module_is_put_into_eval_mode() -> None:
    assert not open_subject(small_vit().train()).backbone.training  # type: ignore[attr-defined]


def test_raw_pixels_name_themselves() -> None:
    assert open_subject(RawPatches(8)).identity.name == "raw RGB patches of 8 px"
    assert open_subject(RawPatches(8), name="pixels").identity.name == "pixels"


@pytest.mark.bad_input
def test_half_precision_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"weights of the model must be float32, got torch\.float16"
    ):
        open_subject(small_vit().half())
