"""Features that are wanted, among those that are stored."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from patchwise.errors import DataError
from patchwise.features.content import Request
from patchwise.features.embed import embed_source
from patchwise.features.find import find_store, list_stores
from patchwise.features.subject import ModelIdentity
from patchwise.features.transform import CentreCrop, Squash
from patchwise.features.windows import Windows
from tests.features.stored import Photos, heard_subject

REQUEST = Request(Photos(9), Squash(32))


def test_a_store_that_agrees_costs_no_look_at_any_image(tmp_path: Path) -> None:
    first, second = heard_subject(tmp_path), heard_subject(tmp_path, batch=2)
    written = find_store(first.subject, REQUEST, worth_it=True)
    photos = Photos(9, name="the same elsewhere")
    found = find_store(second.subject, replace(REQUEST, source=photos), worth_it=True)
    assert written is not None
    assert found == written
    assert (first.backbone.seen, second.backbone.seen) == (9, 0)
    assert photos.read_ids == [0, 4, 8]  # glanced at
    assert first.told[0] == f"features of 9 images of 'photos' are written to '{written.path}'"
    assert not second.told


def test_a_store_may_be_named_itself(tmp_path: Path) -> None:
    embed_source(heard_subject().subject, REQUEST, tmp_path / "mine")
    for stores in (tmp_path, tmp_path / "mine"):
        found = find_store(heard_subject(stores).subject, REQUEST, worth_it=True)
        assert found is not None
        assert found.path == tmp_path / "mine"
    other = replace(REQUEST, transform=Squash(16))
    beside = find_store(heard_subject(tmp_path / "mine").subject, other, worth_it=True)
    assert beside is not None
    assert beside.path.parent == tmp_path / "mine"
    assert len(list_stores(tmp_path / "mine")) == 2


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("data", replace(REQUEST, source=Photos(10))),
        ("data", replace(REQUEST, source=Photos(9, seed=1))),
        ("size", replace(REQUEST, transform=Squash(16))),
        ("transform", replace(REQUEST, transform=CentreCrop(32, 32))),
        ("windows", replace(REQUEST, windows=Windows(16, 8))),
    ],
)
def test_what_differs_is_computed_and_said(tmp_path: Path, name: str, other: Request) -> None:
    heard = heard_subject(tmp_path)
    first = find_store(heard.subject, REQUEST, worth_it=True)
    second = find_store(heard.subject, other, worth_it=True)
    assert first is not None
    assert second is not None
    assert second.path != first.path
    assert heard.backbone.seen >= len(REQUEST.source) + len(other.source)
    said = [text for text in heard.told if "' differ in " in text]
    assert len(said) == 1
    assert f": those in '{first.path}' differ in {name} (" in said[0]
    assert said[0].count(", wanted") == 1


def test_other_weights_and_another_precision_are_said(tmp_path: Path) -> None:
    heard = heard_subject(tmp_path)
    find_store(heard.subject, REQUEST, worth_it=True)
    with torch.autocast("cpu", torch.bfloat16):
        find_store(heard.subject, REQUEST, worth_it=True)
    assert "differ in precision (float32, wanted bfloat16)" in heard.told[2]
    trained = replace(heard.subject, identity=ModelIdentity("trained", "d" * 64))
    find_store(trained, REQUEST, worth_it=True)
    assert "differ in weights (counting cccccccc, wanted trained dddddddd)" in heard.told[4]
    assert heard.backbone.seen == 27


def test_the_nearest_is_named(tmp_path: Path) -> None:
    heard = heard_subject(tmp_path)
    for size in (8, 16):
        find_store(heard.subject, replace(REQUEST, transform=Squash(size)), worth_it=True)
    far = replace(REQUEST, source=Photos(11), transform=CentreCrop(16, 16))
    find_store(heard.subject, far, worth_it=True)
    near = replace(REQUEST, source=Photos(11), transform=Squash(16))
    find_store(heard.subject, near, worth_it=True)
    assert "transform (short side 16 px, centre 16 px, wanted squashed to 16 px)" in heard.told[-2]


def test_patches_serve_for_cls_but_not_the_other_way(tmp_path: Path) -> None:
    heard = heard_subject(tmp_path)
    alone = replace(REQUEST, patches=False)
    first = find_store(heard.subject, alone, worth_it=True)
    second = find_store(heard.subject, REQUEST, worth_it=True)
    assert first is not None
    assert second is not None
    assert (first.has_patches, second.has_patches) == (False, True)
    assert "differ in patches (CLS alone, wanted CLS and patches)" in heard.told[2]
    other = heard_subject(second.path)
    third = find_store(other.subject, alone, worth_it=True)
    assert third == second
    assert other.backbone.seen == 0


def test_a_store_that_was_begun_is_ended(tmp_path: Path) -> None:
    source = Photos(70)
    heard = heard_subject()
    begun = embed_source(heard.subject, replace(REQUEST, source=source), tmp_path / "begun")
    begun.file_of(1, "grids.npy").unlink()
    other = heard_subject(tmp_path)
    request = replace(REQUEST, source=source, patches=False)
    assert find_store(other.subject, request, worth_it=False) is None
    found = find_store(other.subject, request, worth_it=True)
    assert found is not None
    assert found.path == begun.path
    assert found.complete
    assert found.has_patches
    assert other.backbone.seen == 32


def test_nothing_is_written_for_little(tmp_path: Path) -> None:
    heard = heard_subject(tmp_path)
    assert find_store(heard.subject, REQUEST, worth_it=False) is None
    assert not list(tmp_path.iterdir())
    find_store(heard.subject, REQUEST, worth_it=True)
    assert find_store(heard.subject, REQUEST, worth_it=False) is not None


def test_without_a_folder_nothing_is_stored() -> None:
    heard = heard_subject()
    assert find_store(heard.subject, REQUEST, worth_it=True) is None
    assert not heard.told


def test_what_cannot_be_told_from_others_is_never_stored(tmp_path: Path) -> None:
    heard = heard_subject(tmp_path)
    subject = replace(heard.subject, identity=ModelIdentity("a function", None))
    for _ in range(2):
        assert find_store(subject, REQUEST, worth_it=True) is None
    assert heard.told == ["features of a function are not stored: it cannot be told from others"]
    assert not list(tmp_path.iterdir())


@pytest.mark.bad_input
def test_a_damaged_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "store.json").write_text("{")
    with pytest.raises(
        DataError, match=f"open_store: '{tmp_path}/a' must be a folder with a whole"
    ):
        find_store(heard_subject(tmp_path).subject, REQUEST, worth_it=True)
