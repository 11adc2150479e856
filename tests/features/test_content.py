"""Which features are the same."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from patchwise.features.content import Content, Glance, Request, describe, differences
from patchwise.features.subject import ModelIdentity
from patchwise.features.transform import CentreCrop, Squash, Whole
from patchwise.features.windows import Windows
from tests.features.stored import Photos, heard_subject

SUBJECT = heard_subject().subject
REQUEST = Request(Photos(9), Squash(32))


def test_all_that_counts_is_told() -> None:
    content = describe(SUBJECT, replace(REQUEST, windows=Windows(16, 8)))
    assert content.model == ModelIdentity("counting", "c" * 64)
    assert (content.data.name, content.data.count) == ("photos", 9)
    assert content.transform == {"kind": "Squash", "size_px": 32, "words": "squashed to 32 px"}
    assert (content.windows, content.layer, content.precision) == (
        Windows(16, 8),
        "last",
        "float32",
    )
    assert (content.patches, content.dim, content.patch_px) == (True, 3, 8)
    assert [glance.image for glance in content.data.glances] == [0, 4, 8]


def changed(name: str) -> Content:
    requests = {
        "data": replace(REQUEST, source=Photos(10)),
        "size": replace(REQUEST, transform=Squash(16)),
        "transform": replace(REQUEST, transform=CentreCrop(32, 32)),
        "windows": replace(REQUEST, windows=Windows(16, 8)),
    }
    if name == "weights":
        return describe(replace(SUBJECT, identity=ModelIdentity("counting", "d" * 64)), REQUEST)
    if name == "layer":
        return replace(describe(SUBJECT, REQUEST), layer="11")
    if name == "precision":
        with torch.autocast("cpu", torch.bfloat16):
            return describe(SUBJECT, REQUEST)
    return describe(SUBJECT, requests[name])


WORDS = {
    "weights": "weights (counting dddddddd, wanted counting cccccccc)",
    "data": "data (10 images of 'photos' photos 1, wanted 9 images of 'photos' photos 9)",
    "size": "size (squashed to 16 px, wanted squashed to 32 px)",
    "transform": "transform (short side 32 px, centre 32 px, wanted squashed to 32 px)",
    "windows": "windows (in windows of 16 px, one every 8 px, wanted whole images)",
    "layer": "layer (11, wanted last)",
    "precision": "precision (bfloat16, wanted float32)",
}


@pytest.mark.parametrize("name", list(WORDS))
def test_each_difference_is_named(name: str) -> None:
    wanted, held = describe(SUBJECT, REQUEST), changed(name)
    assert differences(held, wanted) == [WORDS[name]]
    assert held.digest() != wanted.digest()


def test_differences_add_up_and_names_are_none() -> None:
    wanted = describe(SUBJECT, REQUEST)
    renamed = replace(
        wanted,
        model=replace(wanted.model, name="other"),
        data=replace(wanted.data, name="/elsewhere"),
    )
    assert differences(renamed, wanted) == []
    assert renamed.digest() == wanted.digest()
    assert len(differences(replace(renamed, layer="3", windows=Windows(8, 8)), wanted)) == 2
    whole = [
        describe(SUBJECT, replace(REQUEST, transform=Whole(8, 32, up))) for up in (True, False)
    ]
    assert len(differences(*whole)) == 1


def test_other_images_in_files_of_the_same_names_and_sizes_are_other_images() -> None:
    wanted, held = (describe(SUBJECT, replace(REQUEST, source=Photos(9, seed))) for seed in (0, 1))
    assert held.data.sha256 == wanted.data.sha256
    assert [text.partition(" ")[0] for text in differences(held, wanted)] == ["data"]
    assert held.digest() != wanted.digest()


def test_a_decoder_may_differ_a_little() -> None:
    glance = Glance(3, 40, 30, 100, 110, 120)
    assert glance.agrees(Glance(3, 40, 30, 102, 108, 120))
    for other in [
        (3, 40, 30, 103, 110, 120),
        (3, 40, 30, 100, 110, 117),
        (3, 40, 31, 100, 110, 120),
    ]:
        assert not glance.agrees(Glance(*other))


def test_content_is_plain_values() -> None:
    content = describe(SUBJECT, replace(REQUEST, windows=Windows(16, 8)))
    adapter: TypeAdapter[Any] = TypeAdapter(Content)
    assert adapter.validate_json(adapter.dump_json(content)) == content
