"""Neighbours as users ask for them: found, described, shown."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import patchwise
from patchwise.api import describe_neighbours
from patchwise.configs.neighbours import NeighboursConfig
from patchwise.data.bad_images import BadImage
from patchwise.data.synthetic import render_scenes
from patchwise.errors import ConfigError, DataError
from patchwise.index.kept import Neighbours
from patchwise.models.backbone import BackboneOutput
from tests.features.stored import Counting, heard_subject
from tests.small_runs import small_vit

CONFIG = NeighboursConfig(k=3, size="square:32")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "<b>images"
    path.mkdir()
    for number, pixels in enumerate(render_scenes(np.arange(9)).images):
        Image.fromarray(pixels).save(path / f"{number}<&.png")
    (path / "5<&.png").write_bytes(b"no image")
    return path


def test_neighbours_are_found_shown_and_kept(folder: Path, tmp_path: Path) -> None:
    vit, out = small_vit(), tmp_path / "page.html"
    cache = tmp_path / "cache"
    found = patchwise.neighbours(folder, model=vit, settings=CONFIG, out=out, cache=cache)
    assert found.ids.shape == (9, 3)
    assert [bad.index for bad in found.bad] == [5]
    page = out.read_text(encoding="utf-8")
    assert "5&lt;&amp;.png" in page  # among the facts, not as a picture
    assert 'alt="5&lt;' not in page
    assert "0&lt;&amp;.png" in page
    assert "<script" not in page
    assert "<b>" not in page
    assert "7 neighbours" not in page
    assert "3 neighbours of each of 8 images" in page
    for name in ("drawn", "nearest", "loneliest", "hubs"):
        assert f'<section id="{name}">' in page
    assert len(list(cache.glob("neighbours-*.safetensors"))) == 1
    again = patchwise.neighbours(folder, model=vit, settings=CONFIG, workers=0, cache=cache)
    assert np.array_equal(found.ids, again.ids)


def test_one_image_can_be_written_too(tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    patchwise.neighbours("scenes:6", model=small_vit(), settings=CONFIG, out=out, rows=2)
    with Image.open(out) as image:
        assert image.width > 4 * 160
        assert np.array(image).std() > 20


def test_settings_default_to_the_papers() -> None:
    found = patchwise.neighbours("scenes:9", model=small_vit())
    assert found.ids.shape == (9, 7)


def test_the_model_sees_as_many_images_at_a_time_as_is_wanted() -> None:
    class Watched(Counting):
        most = 0

        def __call__(self, images: torch.Tensor, *, attention: bool = False) -> BackboneOutput:
            self.most = max(self.most, len(images))
            return super().__call__(images)

    watched = Watched()
    subject = dataclasses.replace(heard_subject().subject, backbone=watched)
    patchwise.neighbours("scenes:9", model=subject, settings=CONFIG, batch=4, workers=0)
    assert (watched.most, watched.seen) == (4, 9)


def test_what_was_found_is_described() -> None:
    ids = np.array([[1, 2], [0, 2], [1, 0], [1, 2]])
    cosines = np.array([[0.9, 0.5], [0.995, 0.6], [0.7, 0.6], [np.nan, np.nan]], np.float32)
    plain = Neighbours(ids, cosines)
    assert describe_neighbours(plain, "DATA").splitlines() == [
        "2 neighbours of each of 3 images of 'DATA'",
        "cosine with the nearest one: median 0.900, of nine in ten between 0.720 and 0.986; "
        "33.3% above 0.99",
        "neighbour of most: of 2 images; 0.0% of none",
    ]
    bad = BadImage(3, "DATA/3.jpg", "truncated", "cut short")
    told = describe_neighbours(dataclasses.replace(plain, bad=(bad,), lacking=2, recall=0.5), "D")
    assert told.splitlines()[3:] == [
        "2 images have fewer than 2 others that are no near-duplicates; near-duplicates make up "
        "for it",
        "search in groups; it found 50.0% of the true neighbours",
        "1 bad images are left out:",
        "  truncated: 'DATA/3.jpg'",
    ]


@pytest.mark.bad_input
def test_what_cannot_be_is_refused(folder: Path, tmp_path: Path) -> None:
    vit = small_vit()
    with pytest.raises(DataError, match=r"out must end in \.png or \.html, got '.*n\.jpg'"):
        patchwise.neighbours(folder, model=vit, out=tmp_path / "n.jpg")
    with pytest.raises(DataError, match="at most 0 bad images, got 1"):
        patchwise.neighbours(folder, model=vit, settings=CONFIG, tolerated=0, workers=0)
    with pytest.raises(ConfigError, match="neighbours: size must be one of"):
        patchwise.neighbours(folder, model=vit, settings=NeighboursConfig(size="large"))
    nowhere = tmp_path / "nowhere" / "n.html"
    with pytest.raises(DataError, match="out must be a file that can be written"):
        patchwise.neighbours("scenes:5", model=vit, settings=CONFIG, out=nowhere)
