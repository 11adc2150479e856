"""From what a user names to a model."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from patchwise.api.models import open_subject
from patchwise.errors import ConfigError, DataError, RangeError, WeightsError
from patchwise.eval.baselines import RawPatches
from patchwise.features.subject import DEFAULT_MEMORY_BYTES, identify
from patchwise.models.adapted import Adapted, fixed_images
from patchwise.models.filtered_vit import FilteredViT
from patchwise.models.vit import ViT
from patchwise.models.weights import save_backbone
from tests.eval.tiny import Sighted
from tests.models.test_adapted import Patches, tokens
from tests.models.weights.peers import largest_difference, make_peer
from tests.models.weights.published import FAMILIES
from tests.small_runs import small_filtered, small_vit

CODE = """
import torch
from torch.nn import Conv2d, Module
from torch.nn.functional import avg_pool2d

def tokens(images):
    return avg_pool2d(images, 16).flatten(2).mT

class Wide(Module):
    def __init__(self, width=5):
        super().__init__()
        torch.manual_seed(0)
        self.cut = Conv2d(3, width, 16, 16)

    def forward(self, images):
        assert not self.training
        return self.cut(images).flatten(2).mT
"""


def test_a_file_and_the_same_model_are_one(tmp_path: Path) -> None:
    vit = small_vit()
    save_backbone(vit, tmp_path / "vit.safetensors")
    from_file = open_subject(tmp_path / "vit.safetensors", device="cpu")
    assert from_file.identity.name == "vit.safetensors"
    assert from_file.identity.sha256 == open_subject(vit).identity.sha256
    assert open_subject(vit, name="mine").identity == identify(vit, "mine")


def test_how_a_published_file_was_read_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    family = next(family for family in FAMILIES if family.name == "Mugs")
    path = family.write(tmp_path)
    subject = open_subject(path.name, device="cpu")
    assert subject.identity == identify(family.backbone, path.name)
    said = "weights read as Mugs' backbone; left out 'relation_blocks.*'"
    assert capsys.readouterr().err == f"{path.name}: {said}\n"
    save_backbone(family.backbone, tmp_path / "ours.safetensors")
    open_subject("ours.safetensors", device="cpu")
    assert capsys.readouterr().err == ""


def test_the_layout_may_be_named_before_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(FAMILIES[0].contents(), tmp_path / "weights.pth")
    rules = {}
    for name in ("weights.pth", "timm:weights.pth", f"timm:{tmp_path / 'weights.pth'}"):
        subject = open_subject(name, device="cpu")
        assert subject.identity.name == "weights.pth"
        assert isinstance(subject.backbone, ViT)
        rules[name.split(":")[0]] = subject.backbone.config.interpolation
    assert rules == {"weights.pth": "dino", "timm": "size-antialias"}


def test_the_folder_of_a_run_stands_for_its_backbone(tmp_path: Path) -> None:
    vit = small_vit()
    (tmp_path / "run").mkdir()
    save_backbone(vit, tmp_path / "run" / "backbone.safetensors")
    for name in (tmp_path / "run", str(tmp_path / "run") + "/"):
        found = open_subject(name, device="cpu")
        assert found.identity == identify(vit, "run/backbone.safetensors")


def test_a_folder_of_another_library_is_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    peer = make_peer("transformers", "Dinov2")
    peer.save(tmp_path / "small")
    monkeypatch.setattr("patchwise.models.weights.load.download", lambda _: tmp_path / "small")
    for name, said in [("small", "small/model.safetensors"), ("hub:a/small", "hub:a/small")]:
        found = open_subject(str(tmp_path / name) if name == "small" else name, device="cpu")
        assert isinstance(found.backbone, ViT)
        assert max(largest_difference(peer, found.backbone, (4, 8))) < 1e-5
        assert found.identity.name == said
        assert f"{said}: weights read as a Dinov2 of tra" in capsys.readouterr().err


def test_a_filtered_backbone_is_one_by_object_by_file_and_by_run(tmp_path: Path) -> None:
    backbone = small_filtered()
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "backbone.safetensors"
    save_backbone(backbone, path)
    found = [open_subject(model, device="cpu") for model in (path, tmp_path / "run")]
    found.append(open_subject(backbone))
    assert {subject.identity.sha256 for subject in found} == {identify(backbone, "").sha256}
    assert identify(backbone, "").sha256 != identify(backbone.vit, "").sha256
    expected = backbone(fixed_images(2, 32)).patches
    for subject in found:
        assert isinstance(subject.backbone, FilteredViT)
        assert torch.equal(subject.backbone(fixed_images(2, 32)).patches, expected)


def test_code_is_named_and_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "code.py").write_text(CODE)
    function = open_subject("code.py:tokens")
    assert function.identity.name == "code.py:tokens (CLS: mean of patches)"
    wide = open_subject("code.py:Wide", device="cpu")
    assert wide.backbone.dim == 5
    again = open_subject("code.py:Wide", device="cpu")
    assert wide.identity == again.identity
    assert wide.identity.sha256 != function.identity.sha256


def test_a_module_is_put_into_eval_mode() -> None:
    assert not open_subject(small_vit().train()).backbone.training  # type: ignore[attr-defined]
    module = Patches()
    adapted: Any = open_subject(module).backbone
    assert not adapted.function.training


def test_functions_are_named_by_themselves() -> None:
    assert open_subject(tokens).identity.name == "tokens (CLS: mean of patches)"
    assert open_subject(tokens, name="mine").identity.name == "mine"
    assert open_subject(Patches()).identity.name == "Patches (CLS: mean of patches)"

    def both(images: Tensor) -> tuple[Tensor, Tensor]:
        return tokens(images)[:, 0], tokens(images)

    assert open_subject(both).identity.name.endswith("both")


def test_a_backbone_of_any_kind_is_taken_as_it_is() -> None:
    sighted = Sighted()
    subject = open_subject(sighted)
    assert subject.backbone is sighted
    assert subject.identity.name == "Sighted"
    assert subject.identity.sha256 is not None


def test_one_that_returns_tokens_alone_is_adapted() -> None:
    class Tokens(Sighted):
        def __call__(self, images: Tensor, *, attention: bool = False) -> Any:
            return super().__call__(images).patches

    subject = open_subject(Tokens())
    assert isinstance(subject.backbone, Adapted)
    assert subject.backbone.patch_px == 8
    assert subject.backbone(fixed_images(1, 32)).grid == (4, 4)


def test_raw_pixels_name_themselves() -> None:
    assert open_subject(RawPatches(8)).identity.name == "raw RGB patches of 8 px"
    assert open_subject(RawPatches(8), name="pixels").identity.name == "pixels"


def test_means_are_kept_with_the_model(tmp_path: Path) -> None:
    plain = open_subject(Sighted())
    assert (plain.stores, plain.memory_bytes, plain.batch) == (None, DEFAULT_MEMORY_BYTES, 32)
    given = open_subject(Sighted(), features=tmp_path, memory="1 MiB", batch=5)
    assert (given.stores, given.memory_bytes, given.batch) == (tmp_path, 2**20, 5)
    assert open_subject(given) is given


def test_the_generator_of_torch_is_left_alone() -> None:
    state = torch.random.get_rng_state()

    def drawing(images: Tensor) -> Tensor:
        torch.rand(1)
        return tokens(images)

    open_subject(drawing)
    assert torch.equal(torch.random.get_rng_state(), state)


class Half(nn.Module):
    """A backbone by its word, but not in float32."""

    dim, patch_px, device = 3, 8, torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, dtype=torch.bfloat16))

    def forward(self, images: Tensor, *, attention: bool = False) -> Any:
        return Sighted()(images)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("model", "options", "error", "message"),
    [
        (small_filtered().half(), {}, DataError, r"must be float32, got torch\.float16"),
        (small_vit().half(), {}, DataError, r"must be float32, got torch\.float16"),
        (Half(), {}, DataError, r"must be float32, got torch\.bfloat16; give model.float\(\)"),
        (3, {}, DataError, "model must be a weights file, .* got int 3"),
        (Patches, {}, DataError, "got type <class 'tests.models.test_adapted.Patches'>"),
        ("nowhere.safetensors", {}, WeightsError, "nowhere.safetensors', which does not exist"),
        ("nowhere", {}, WeightsError, "nowhere', which does not exist"),
        ("math:pi", {}, DataError, "got float 3.14"),
        (Sighted(), {"device": "gpu"}, ConfigError, "device must be one .* got 'gpu': Expected"),
        (Sighted(), {"memory": "much"}, ConfigError, "memory: the limit must be a size"),
        (Sighted(), {"batch": 0}, RangeError, "batch must be positive, got 0"),
        (Sighted(), {"features": __file__}, DataError, "features must be a folder, got the file"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    model: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        open_subject(model, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.bad_input
def test_a_folder_must_hold_weights(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"must hold backbone.safetensors, .*got an empty folde"):
        open_subject(tmp_path)


@pytest.mark.bad_input
def test_an_open_model_is_not_opened_again() -> None:
    with pytest.raises(ConfigError, match=r"must be left out for a model that is open, got 'Sigh"):
        open_subject(open_subject(Sighted()), name="other")
