"""Features on the disk."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from patchwise.errors import DataError, RangeError
from patchwise.features.content import Request
from patchwise.features.embed import embed_source
from patchwise.features.look import look
from patchwise.features.store import FeatureStore, open_store
from patchwise.features.transform import Whole
from tests.eval.tiny import Sighted
from tests.features.stored import Photos, assert_near, heard_subject

COUNT = 70  # in parts of 32, 32 and 6


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    request = Request(Photos(COUNT), Whole(8))
    return embed_source(heard_subject().subject, request, tmp_path_factory.mktemp("store"))


def test_every_image_has_the_features_of_its_own_shape(store: FeatureStore) -> None:
    grids = set()
    for index in range(COUNT):
        pixels = torch.from_numpy(Whole(8)(Photos(COUNT).read(index))).movedim(-1, 0)[None]
        exact, stored = look(Sighted(), pixels), store.image(index)
        assert stored.patches is not None
        assert stored.patches.shape == (*exact.grid, 3)
        assert_near(torch.tensor(stored.patches.reshape(-1, 3)).float(), exact.patches[0])
        assert_near(torch.tensor(stored.cls).float(), exact.cls[0])
        assert stored.name == f"photo {index}"
        grids.add(exact.grid)
    assert len(grids) > 4


def test_sizes_are_known(store: FeatureStore) -> None:
    assert (len(store), store.dim, store.part_count, store.complete) == (COUNT, 3, 3, True)
    assert store.cls.shape == (COUNT, 3)
    assert [len(part) for part in store.parts()] == [32, 32, 6]
    assert [part.first for part in store.parts()] == [0, 32, 64]


def test_nothing_is_copied_until_it_is_asked_for(store: FeatureStore) -> None:
    part = next(store.parts())
    for array in (part.cls, part.patches, store.image(40).patches):
        assert array is not None
        assert isinstance(array, np.memmap)
        assert array.dtype == np.float16
        assert not array.flags.owndata
        assert not array.flags.writeable


def test_rows_of_all_parts_are_one_array(store: FeatureStore) -> None:
    every = np.concatenate([part.cls for part in store.parts()])
    rows = store.cls
    np.testing.assert_array_equal(np.asarray(rows), every)
    for key in (3, -1, 40, slice(None), slice(30, 66, 7), slice(5, 5), [69, 0, 33, 33, -2],
                np.array([[1, 64], [32, 2]]), np.arange(COUNT) % 3 == 0):  # fmt: skip
        np.testing.assert_array_equal(rows[key], every[key])
    assert np.asarray(rows, np.float32).dtype == np.float32
    assert len(rows) == COUNT
    with pytest.raises(IndexError):
        rows[[0, COUNT]]


def test_one_part_is_plain_numpy(store: FeatureStore) -> None:
    """What docs/features.md says of the files, without this library."""
    parts = store.path / "parts"
    cls, patches, grids = (
        np.load(parts / f"00001.{what}.npy") for what in ("cls", "patches", "grids")
    )
    assert cls.shape == (32, 3)
    starts = np.concatenate([[0], grids.prod(1).cumsum()])
    assert starts[-1] == len(patches)
    image = store.image(32 + 5)
    np.testing.assert_array_equal(
        image.patches, patches[starts[5] : starts[6]].reshape(*grids[5], 3)
    )
    assert json.loads((parts / "00001.names.json").read_text())[5] == image.name


def test_the_example_of_the_docs_runs(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "STORE").symlink_to(store.path)
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "features.md").read_text(encoding="utf-8")
    found: dict[str, Any] = {}
    exec(page.partition("```python\n")[2].partition("```")[0], found)
    assert found["cls"].shape == (COUNT, 3)
    assert found["name"] == "photo 7"
    assert found["patches"].ndim == 3


@pytest.mark.bad_input
def test_an_image_that_is_not_there(store: FeatureStore) -> None:
    for index in (-1, COUNT):
        with pytest.raises(RangeError, match=rf"index must lie in \[0, {COUNT}\), got {index}"):
            store.image(index)


@pytest.mark.bad_input
def test_what_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must be a folder with a whole store\.json, got"):
        open_store(tmp_path)
    (tmp_path / "store.json").write_text('{"format": 2}')
    with pytest.raises(DataError, match="must be 1, got 2; another version of patchwise wrote it"):
        open_store(tmp_path)
    for text in ('{"format": 1}', "{", "[]", '{"format": 1, "content": 3, "part_images": 4}'):
        (tmp_path / "store.json").write_text(text)
        with pytest.raises(DataError, match="open_store: "):
            open_store(tmp_path)


@pytest.mark.bad_input
def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    request = Request(Photos(40), Whole(8))
    written = embed_source(heard_subject().subject, request, tmp_path)
    file = written.file_of(1, "patches.npy")
    whole = file.read_bytes()
    other = np.zeros((3, 3), np.float16)
    for damage in (lambda: file.write_bytes(whole[:-8]), lambda: np.save(file, other), file.unlink):
        damage()
        store = open_store(tmp_path)
        store.image(31)
        with pytest.raises(DataError, match=f"part 1 of '{tmp_path}' must be there and whole, got"):
            store.image(32)
