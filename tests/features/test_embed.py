"""Writing features, by one process and by many, some of which are killed."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from patchwise.data.source import open_source
from patchwise.errors import DataError, RangeError
from patchwise.features import embed as embed_module
from patchwise.features.claims import Claims
from patchwise.features.content import Request
from patchwise.features.embed import embed_source
from patchwise.features.notes import Notes
from patchwise.features.store import open_store
from patchwise.features.subject import ModelIdentity
from patchwise.features.transform import Squash, Whole
from patchwise.features.windows import Windows
from patchwise.models.backbone import BackboneOutput
from tests.data.numbered import Numbered
from tests.eval.tiny import Sighted
from tests.features.stored import Counting, Photos, heard_subject

COUNT = 200  # in parts of 32, the last of 8


def contents(store: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (store / "parts").iterdir()}


def start(store: Path, log: Path, *fatal: str) -> subprocess.Popen[str]:
    module = "tests.features.embedding_process"
    process = subprocess.Popen(
        [sys.executable, "-m", module, str(store), str(COUNT), str(log), *fatal],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process writes that nothing disturbs."""
    path = tmp_path_factory.mktemp("alone")
    heard = heard_subject()
    embed_source(heard.subject, Request(Photos(COUNT), Whole(8)), path)
    assert heard.backbone.seen == COUNT
    return contents(path)


def test_two_processes_write_the_files_of_one_and_none_twice(
    tmp_path: Path, alone: dict[str, bytes]
) -> None:
    store, log = tmp_path / "store", tmp_path / "log"
    processes = [start(store, log) for _ in range(2)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
    seen = [line.split() for line in log.read_text().splitlines()]
    assert {pid for pid, _ in seen} == {str(process.pid) for process in processes}
    assert sum(int(images) for _, images in seen) == COUNT
    assert contents(store) == alone


@pytest.mark.parametrize("fsync", [1, 5, 17])  # index, a part, another
def test_a_killed_run_goes_on(tmp_path: Path, alone: dict[str, bytes], fsync: int) -> None:
    store, log = tmp_path / "store", tmp_path / "log"
    process = start(store, log, str(fsync))
    process.communicate("go\n", timeout=300)
    assert process.returncode == -9
    kept = [name for name in contents(store) if name.endswith("grids.npy")] if fsync > 1 else []
    assert len(kept) == (fsync > 10)
    if fsync > 1:
        assert any(name.endswith(".partial") for name in contents(store))
        assert not open_store(store).complete
    heard = heard_subject()
    embedded = embed_source(heard.subject, Request(Photos(COUNT), Whole(8)), store)
    assert embedded.complete
    assert heard.backbone.seen == COUNT - 32 * len(kept)
    assert contents(store) == alone


def test_what_another_process_gives_up_is_taken_over(tmp_path: Path) -> None:
    subject, request = heard_subject().subject, Request(Photos(70), Whole(8))
    embed_source(subject, request, tmp_path).file_of(1, "grids.npy").unlink()
    with Claims(tmp_path / "parts") as other:
        assert other.take(1)
        told: list[str] = []

        def say(text: str) -> None:
            told.append(text)
            if text == "waiting for what other processes are embedding":
                assert not open_store(tmp_path).complete
                other.give_back(1, done=False)

        heard = heard_subject()
        assert embed_source(replace(heard.subject, notes=Notes(say)), request, tmp_path).complete
    assert heard.backbone.seen == 32
    assert len(told) == 2


def test_what_is_complete_costs_nothing(tmp_path: Path) -> None:
    request = Request(Photos(40), Squash(16))
    first, second = heard_subject(), heard_subject(batch=7)
    embed_source(first.subject, request, tmp_path)
    before = contents(tmp_path)
    embed_source(second.subject, request, tmp_path)
    assert second.backbone.seen == 0
    assert contents(tmp_path) == before
    assert [text.partition(" in ")[0] for text in first.told] == ["embedded 40 images"]
    assert not second.told


@pytest.mark.parametrize("workers", [0, 2])
def test_images_of_one_size_are_seen_together(tmp_path: Path, workers: int) -> None:
    sizes: list[int] = []

    class Noting(Counting):
        def __call__(self, images: Tensor, *, attention: bool = False) -> BackboneOutput:
            sizes.append(len(images))
            return super().__call__(images)

    heard = heard_subject(batch=8)
    subject = replace(heard.subject, backbone=Noting(), workers=workers)
    store = embed_source(subject, Request(Photos(96), Whole(8)), tmp_path)
    assert max(sizes) <= 8
    assert sum(sizes) == 96
    assert np.mean(sizes) > 2.5  # there are 9 sizes; one after the other they would make some 1.1
    plain = embed_source(heard.subject, Request(Photos(96), Whole(8)), tmp_path / "plain")
    np.testing.assert_allclose(np.asarray(store.cls), np.asarray(plain.cls), rtol=2e-3)


def test_parts_are_small_where_features_are_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = heard_subject().subject
    request = Request(Photos(40), Squash(32))
    monkeypatch.setattr(embed_module, "_PART_BYTES", 2 * 3 * 17 * 10)
    assert embed_source(subject, request, tmp_path / "a").part_images == 10
    alone = embed_source(subject, replace(request, patches=False), tmp_path / "b")
    assert alone.part_images == 32
    assert not list((tmp_path / "b").rglob("*patches*"))
    assert alone.image(3).patches is None


def test_windows_are_those_of_the_request(tmp_path: Path) -> None:
    class Placed(Sighted):
        """The row of each patch in what is shown."""

        def __call__(self, images: Tensor, *, attention: bool = False) -> BackboneOutput:
            seen = super().__call__(images)
            rows = torch.arange(seen.patches.shape[1]) // seen.grid[1]
            patches = rows[None, :, None].expand(seen.patches.shape).float()
            return BackboneOutput(patches.mean(dim=1), patches, seen.grid)

    subject = replace(heard_subject().subject, backbone=Placed())
    request = Request(Photos(3), Squash(32), Windows(16, 16))
    patches = embed_source(subject, request, tmp_path).image(1).patches
    assert patches is not None
    assert patches[:, 0, 0].tolist() == [0, 1, 0, 1]


def test_files_are_named_by_their_paths(tmp_path: Path) -> None:
    for name in ("b/2.png", "a.png"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 30)).save(tmp_path / "images" / name)
    source = open_source(tmp_path / "images")
    store = embed_source(heard_subject().subject, Request(source, Whole(8)), tmp_path / "store")
    assert [store.image(index).name for index in range(2)] == ["a.png", "b/2.png"]
    assert store.image(0).patches is not None
    assert store.image(0).patches.shape == (4, 2, 3)  # type: ignore[union-attr]


@pytest.mark.bad_input
def test_a_store_of_other_features_is_left_alone(tmp_path: Path) -> None:
    heard = heard_subject()
    request = Request(Photos(9), Squash(16))
    embed_source(heard.subject, request, tmp_path)
    before = contents(tmp_path)
    others = {
        "weights": (replace(heard.subject, identity=ModelIdentity("m", "d" * 64)), request),
        "data": (heard.subject, replace(request, source=Photos(10))),
        "size": (heard.subject, replace(request, transform=Squash(32))),
        "patches": (heard.subject, replace(request, patches=False)),
    }
    for name, (subject, other) in others.items():
        with pytest.raises(DataError, match=rf"with others: they differ in {name} \([^()]*\); cho"):
            embed_source(subject, other, tmp_path)
    both = replace(request, source=Photos(10), transform=Whole(8))
    with pytest.raises(DataError, match=r"differ in data \(.*\), transform \(.*\); choose another"):
        embed_source(heard.subject, both, tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.bad_input
def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    request, subject = Request(Photos(9), Squash(16)), heard_subject().subject
    (tmp_path / "thesis.tex").write_text("all of it")
    with pytest.raises(
        DataError, match=f"must be a store, or empty, got '{tmp_path}' with 1 files"
    ):
        embed_source(subject, request, tmp_path)
    with pytest.raises(DataError, match="out must be a folder that can be written, got"):
        embed_source(subject, request, tmp_path / "thesis.tex")


@pytest.mark.bad_input
@pytest.mark.parametrize("part", ["cls", "patches"])
def test_what_float16_cannot_hold_is_refused(tmp_path: Path, part: str) -> None:
    class Large(Sighted):
        def __call__(self, images: Tensor, *, attention: bool = False) -> BackboneOutput:
            output = super().__call__(images)
            large = getattr(output, part).clone()
            large[-1, ..., 0] = -70000.0
            return replace(output, **{part: large})

    subject = replace(heard_subject().subject, backbone=Large())
    with pytest.raises(RangeError, match=r"in \[-65504, 65504\], .* got 70000 in 'photo 4'"):
        embed_source(subject, Request(Photos(5), Squash(16)), tmp_path)
    assert not open_store(tmp_path).parts_there()


@pytest.mark.bad_input
def test_no_image_is_left_out(tmp_path: Path) -> None:
    subject = heard_subject().subject
    with pytest.raises(DataError, match="every image of 'numbered' must be readable, got image 5"):
        embed_source(subject, Request(Numbered(9, frozenset({5})), Squash(16)), tmp_path)
    whole = embed_source(subject, Request(Numbered(9), Squash(16)), tmp_path)
    assert whole.complete
