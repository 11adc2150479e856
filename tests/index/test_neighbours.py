"""Neighbours of images: against brute force, with bad images, and kept for the next time."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from patchwise.configs.neighbours import NeighboursConfig
from patchwise.data.bad_images import BadImages
from patchwise.data.images import ImageProblem, ResizeRule
from patchwise.data.loader import BatchStream
from patchwise.errors import ConfigError, DataError
from patchwise.features.subject import ModelIdentity, Subject
from patchwise.features.transform import Squash
from patchwise.index.kept import Neighbours
from patchwise.index.neighbours import find_neighbours
from patchwise.models.backbone import BackboneOutput
from patchwise.normalisation import normalise
from tests.features.stored import Counting, Heard, Photos, heard_subject

CONFIG = NeighboursConfig(k=3, size="square:16")
COUNT = 40


@dataclass
class Damaged(Photos):
    """Photographs of which some are bad, and some are copies of others."""

    bad: frozenset[int] = frozenset()
    copies: dict[int, int] = field(default_factory=dict)

    def read(self, index: int) -> NDArray[np.uint8]:
        if index in self.bad:
            raise ImageProblem(f"Damaged: {index} must be good, got bad", reason="truncated")
        index = self.copies.get(index, index)
        tint = np.random.default_rng((self.seed, index)).random(3)
        return (super().read(index) * tint).astype(np.uint8)


class OwnCLS(Counting):
    """Has a CLS that says nothing."""

    def __call__(self, images: torch.Tensor, *, attention: bool = False) -> BackboneOutput:
        output = super().__call__(images)
        return dataclasses.replace(output, cls=torch.ones_like(output.cls))


def brute_force(source: Damaged, k: int) -> tuple[list[list[int]], list[list[float]]]:
    """Read, squash, look, average and sort, one image after the other; in float64."""
    backbone = Counting()
    features: dict[int, torch.Tensor] = {}
    for index in sorted(set(range(len(source))) - source.bad):
        pixels = torch.from_numpy(Squash(16)(source.read(index))).movedim(-1, 0)[None]
        patches = backbone(normalise(pixels.float() / 255)).patches[0].double()
        features[index] = F.normalize(torch.stack([*patches]).mean(dim=0), dim=0)
    ids, cosines = [], []
    for own, feature in features.items():
        found = {other: float(feature @ key) for other, key in features.items() if other != own}
        ids.append(sorted(found, key=lambda other: (-round(found[other], 5), other))[:k])
        cosines.append([found[other] for other in ids[-1]])
    return ids, cosines


def found(
    source: Photos, cache: Path | None = None, config: NeighboursConfig = CONFIG, **options: int
) -> tuple[Neighbours, Heard]:
    heard = heard_subject(batch=options.get("batch", 5))
    heard.backbone = OwnCLS()
    workers = options.get("workers", 0)
    subject = dataclasses.replace(heard.subject, backbone=heard.backbone, workers=workers)
    tolerated = options.get("tolerated", 10)
    return find_neighbours(subject, source, config, cache=cache, tolerated=tolerated), heard


def same(one: Neighbours, other: Neighbours) -> bool:
    return (
        np.array_equal(one.ids, other.ids)
        and np.array_equal(one.cosines, other.cosines, equal_nan=True)
        and (one.bad, one.lacking, one.recall) == (other.bad, other.lacking, other.recall)
    )


@pytest.mark.parametrize("k", [1, 3, 39])
def test_they_are_those_of_brute_force(k: int) -> None:
    source = Damaged(COUNT, copies={9: 4, 30: 4})
    neighbours, heard = found(source, config=dataclasses.replace(CONFIG, k=k))
    ids, cosines = brute_force(source, k)
    assert neighbours.ids.shape == (COUNT, k)
    assert neighbours.ids.dtype == np.int64
    np.testing.assert_allclose(neighbours.cosines, cosines, atol=5e-4)  # of features in float16
    exact = brute_force(source, COUNT - 1)  # whose order shows through rounding, where it is clear
    for row, (order, values) in enumerate(zip(*exact, strict=True)):
        for place, image in enumerate(neighbours.ids[row].tolist()):
            assert abs(values[order.index(image)] - values[place]) < 1e-3
    assert (neighbours.ids[:, 0] == np.array(ids)[:, 0]).mean() > 0.9
    assert heard.backbone.seen == COUNT
    assert neighbours.ids[[4, 9, 30], 0].tolist() == [9, 4, 4]
    assert not (neighbours.ids == np.arange(COUNT)[:, None]).any()


def test_neither_batch_nor_workers_matter() -> None:
    one, _ = found(Damaged(COUNT, bad=frozenset({3})))
    two, _ = found(Damaged(COUNT, bad=frozenset({3})), batch=7, workers=2)
    assert np.array_equal(one.ids, two.ids)
    np.testing.assert_allclose(one.cosines, two.cosines, atol=1e-3)
    assert one.bad == two.bad


def test_a_bad_image_is_nobodys_neighbour_and_has_those_of_the_next(tmp_path: Path) -> None:
    source = Damaged(COUNT, bad=frozenset({0, 11, 12, 39}))  # first and last are glanced at
    neighbours, _ = found(source, tmp_path)
    assert [bad.index for bad in neighbours.bad] == [0, 11, 12, 39]
    assert not np.isin(neighbours.ids, list(source.bad)).any()
    assert np.isnan(neighbours.cosines).all(axis=1).nonzero()[0].tolist() == [0, 11, 12, 39]
    for bad, stands_for in ((0, 1), (11, 13), (12, 13), (39, 1)):
        assert neighbours.ids[bad].tolist() == neighbours.ids[stands_for].tolist()
    good = sorted(set(range(COUNT)) - source.bad)
    assert np.allclose(neighbours.cosines[good], brute_force(source, 3)[1], atol=5e-4)
    again, heard = found(source, tmp_path)
    assert same(again, neighbours)
    assert heard.backbone.seen == 0


def test_a_stream_takes_them_as_they_are() -> None:
    source = Damaged(COUNT, bad=frozenset({11}))
    neighbours, _ = found(source)
    stream = BatchStream(
        source, batch=8, seed=0, resize=ResizeRule(base_px=16), neighbours=neighbours.ids
    )
    bad = BadImages("photos")
    for loaded in stream.batches(bad, stop_step=2 * stream.steps_per_epoch):
        assert loaded.neighbours is not None
        pairs = zip(loaded.images.ids.tolist(), loaded.neighbours.ids.tolist(), strict=True)
        assert all(other in neighbours.ids[image] for image, other in pairs)
    assert [image.index for image in bad._found.values()] == [11]


def test_what_was_found_is_used_again_if_all_agrees(tmp_path: Path) -> None:
    first, heard = found(Damaged(COUNT), tmp_path)
    assert heard.backbone.seen == COUNT
    second, heard = found(Damaged(COUNT), tmp_path)
    assert same(first, second)
    assert heard.backbone.seen == 0
    assert heard.told == ["neighbours of 40 images of 'photos' are there already"]
    other, heard = found(Damaged(COUNT), tmp_path, dataclasses.replace(CONFIG, k=5))
    assert heard.backbone.seen == 0  # features are the same
    assert np.array_equal(other.ids[:, :3], first.ids)


def test_what_was_found_by_anything_else_is_not_used(tmp_path: Path) -> None:
    found(Damaged(COUNT), tmp_path)
    for source, config in (
        (Damaged(COUNT - 1), CONFIG),
        (Damaged(COUNT, seed=1), CONFIG),  # other images of equal names and sizes
        (Damaged(COUNT), dataclasses.replace(CONFIG, size="square:24")),
    ):
        neighbours, heard = found(source, tmp_path, config)
        assert heard.backbone.seen == len(source)
        assert same(neighbours, found(source, None, config)[0])
    heard = heard_subject()
    stranger = dataclasses.replace(heard.subject, identity=ModelIdentity("other", "d" * 64))
    find_neighbours(stranger, Damaged(COUNT), CONFIG, cache=tmp_path)
    assert heard.backbone.seen == COUNT
    limited = dataclasses.replace(CONFIG, duplicate_cosine=0.9)
    assert not same(found(Damaged(COUNT), tmp_path, limited)[0], found(Damaged(COUNT))[0])


def test_a_damaged_file_is_made_again_and_that_is_said(tmp_path: Path) -> None:
    first, _ = found(Damaged(COUNT), tmp_path)
    (file,) = tmp_path.glob("neighbours-*.safetensors")
    whole = file.read_bytes()
    for damaged in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[:50], b""):
        file.write_bytes(damaged)
        again, heard = found(Damaged(COUNT), tmp_path)
        assert same(first, again)
        assert heard.told[0].startswith(f"'{file}' is not used, but made again: it is damaged")
        assert file.read_bytes() == whole


def test_an_interrupted_search_goes_on(tmp_path: Path) -> None:
    class Stopping(Counting):
        def __call__(self, images: torch.Tensor, *, attention: bool = False) -> BackboneOutput:
            if self.seen >= 36:
                raise KeyboardInterrupt
            return super().__call__(images, attention=attention)

    stopping = dataclasses.replace(heard_subject().subject, backbone=Stopping(), batch=4)
    with pytest.raises(KeyboardInterrupt):
        find_neighbours(stopping, Damaged(COUNT), CONFIG, cache=tmp_path)
    neighbours, heard = found(Damaged(COUNT), tmp_path, batch=4)
    assert heard.backbone.seen == COUNT - 32  # a part was done
    assert same(neighbours, found(Damaged(COUNT), batch=4)[0])


def test_without_a_cache_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found(Damaged(COUNT, bad=frozenset({3})))
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_told_apart_is_not_kept(tmp_path: Path) -> None:
    heard = heard_subject()
    unknown: Subject = dataclasses.replace(heard.subject, identity=ModelIdentity("unknown", None))
    find_neighbours(unknown, Damaged(COUNT), CONFIG, cache=tmp_path)
    assert not list(tmp_path.iterdir())
    assert heard.told[0] == "neighbours by unknown are not kept: it cannot be told from others"


def test_many_images_are_searched_in_cells() -> None:
    config = dataclasses.replace(CONFIG, exact_images=30, cells=3, probes=3)
    neighbours, heard = found(Damaged(COUNT), config=config)
    assert neighbours.recall == 1.0
    assert "sorting 40 images into at most 3 groups of like ones" in heard.told


@pytest.mark.bad_input
def test_too_few_images_are_an_error() -> None:
    for source in (Damaged(3), Damaged(4, bad=frozenset({2}))):
        with pytest.raises(DataError, match=r"at least 4 good images for 3 neighbours .* got 3"):
            found(source)
    neighbours, _ = found(Damaged(4))
    assert [sorted(row) for row in neighbours.ids.tolist()] == [
        [other for other in range(4) if other != own] for own in range(4)
    ]


@pytest.mark.bad_input
@pytest.mark.parametrize("workers", [0, 2])
def test_too_many_bad_images_are_an_error(tmp_path: Path, workers: int) -> None:
    source = Damaged(COUNT, bad=frozenset({5, 6, 21}))
    with pytest.raises(DataError, match=r"at most 1 bad images, got [23] so far.*(\n.*)*photo 5"):
        found(source, tmp_path, tolerated=1, workers=workers)
    found(source, tmp_path, tolerated=3)
    with pytest.raises(DataError, match="at most 2 bad images, got 3"):  # also of what is kept
        found(source, tmp_path, tolerated=2)


@pytest.mark.bad_input
def test_a_size_or_a_folder_that_cannot_be_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neighbours: size must be a multiple of the model's"):
        found(Damaged(COUNT), config=dataclasses.replace(CONFIG, size="square:13"))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="neighbours: cache must be a folder that can be written"):
        found(Damaged(COUNT), tmp_path / "file")
