"""What every layout of weights must do, with the file of every family."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from patchwise.errors import WeightsError
from patchwise.models.weights import read_backbone
from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.layout import Loaded
from patchwise.models.weights.load import LAYOUTS, recognise
from tests.models.weights.published import FAMILIES, Published

families = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
FOLDERS = {"huggingface", "timm-folder"}  # with their config.json, saved by those libraries
GRIDS = [(4, 4), (6, 6), (2, 5), (7, 3)]


def read(contents: dict[str, Any]) -> Loaded:
    file = WeightsFile(Path("weights"), contents)
    return recognise(file).read(file)


def renamed(weights: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {f"{n}_" if n == name else n: weight for n, weight in weights.items()}


def test_there_is_a_file_of_every_layout() -> None:
    assert {family.layout for family in FAMILIES} == set(LAYOUTS) - {"patchwise"} - FOLDERS


@families
def test_every_file_is_recognised_as_its_family(family: Published) -> None:
    file = WeightsFile(Path("weights"), family.contents())
    assert recognise(file) is LAYOUTS[family.layout]


@families
@torch.no_grad()
def test_features_are_those_of_the_weights(family: Published, tmp_path: Path) -> None:
    backbone = family.backbone
    loaded = read_backbone(family.write(tmp_path))
    assert loaded.backbone.config == family.backbone.config
    assert not loaded.backbone.training
    for rows, columns in GRIDS:
        images = torch.randn(2, 3, rows * backbone.patch_px, columns * backbone.patch_px)
        ours, theirs = loaded.backbone(images), backbone(images)
        assert theirs.patches.std() > 0.3, "features are large beside the tolerance"
        torch.testing.assert_close(ours.cls, theirs.cls, atol=1e-5, rtol=0)
        torch.testing.assert_close(ours.patches, theirs.patches, atol=1e-5, rtol=0)


@families
def test_a_named_layout_reads_the_same(family: Published, tmp_path: Path) -> None:
    path = family.write(tmp_path)
    for loaded in (
        read_backbone(path, layout=family.layout),
        read_backbone(f"{family.layout}:{path}"),
    ):
        assert loaded.backbone.config == family.backbone.config


@families
def test_what_is_left_out_is_said(family: Published) -> None:
    assert sorted(read(family.contents()).left_out) == sorted(family.left_out)


@families
@pytest.mark.bad_input
def test_every_missing_or_renamed_weight_is_named(family: Published) -> None:
    mapped = family.mapped
    for name in mapped:
        rest = {other: weight for other, weight in mapped.items() if other != name}
        if name in family.untold:
            assert read(family.contents(rest)).vit.config.registers == 0
        else:
            with pytest.raises(WeightsError, match=re.escape(f"{name}'")):
                read(family.contents(rest))
        with pytest.raises(WeightsError, match=re.escape(f"{name}_'")):
            read(family.contents(renamed(mapped, name)))


@families
@pytest.mark.bad_input
def test_every_unknown_weight_is_named(family: Published) -> None:
    mapped = family.mapped
    for extra in ("adapter.weight", "blocks.0.attn.lora.weight", "norm.weight.more"):
        name = f"{'module.base_encoder.' if family.layout == 'mocov3' else ''}{extra}"
        with pytest.raises(WeightsError, match=f"left over '(module.)?{re.escape(name)}'$"):
            read(family.contents({**mapped, name: torch.ones(2)}))


@families
@pytest.mark.bad_input
def test_every_renamed_companion_is_named(family: Published) -> None:
    for name in family.companions or {}:
        changed = Published(
            family.name, family.layout, family.config, family.rename,
            renamed(family.companions or {}, name), family.wrap, prototypes=family.prototypes,
        )  # fmt: skip
        with pytest.raises(WeightsError, match=re.escape(f"{name}_'")):
            read(changed.contents())


@families
@pytest.mark.bad_input
def test_every_wrong_shape_is_named(family: Published) -> None:
    mapped = family.mapped
    for name, weight in mapped.items():
        for bad in (weight[None], weight.flatten()[:1]):
            if name == "rope_embed.periods" and bad.ndim == 1:
                continue  # more heads, and narrower ones
            with pytest.raises(WeightsError, match=re.escape(name.split(".")[-1])):
                read(family.contents({**mapped, name: bad}))
