"""The views of one image, as PNG and HTML."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import patchwise
from patchwise.configs.loader import dump_toml
from patchwise.data.synthetic import render_scenes
from patchwise.errors import ConfigError, DataError
from tests.small_runs import run_config

FEW = {"method.views.local_count": 1}


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    path = tmp_path / "<b>one<&.png"
    Image.fromarray(render_scenes(np.array([3]), size_px=128).images[0, :96]).save(path)
    return path


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def test_a_png_holds_the_views(photograph: Path, tmp_path: Path) -> None:
    path = patchwise.views(photograph, out=tmp_path / "views.png", settings=FEW)
    pixels = read(path)
    assert pixels.shape[1] > 1000
    assert pixels.std() > 20
    small = patchwise.views(photograph, out=tmp_path / "small.png", settings=FEW, tile_px=100)
    assert read(small).shape[1] < pixels.shape[1]


def test_a_page_holds_views_matches_and_settings(photograph: Path, tmp_path: Path) -> None:
    path = patchwise.views(photograph, out=tmp_path / "views.html", settings=FEW, seed=7)
    page = path.read_text(encoding="utf-8")
    assert '<section id="views">' in page
    assert '<section id="matches">' in page
    assert "&lt;b&gt;one&lt;&amp;.png" in page
    assert "seed = 7" in page
    assert "recoloured" in page


def test_seed_and_settings_change_what_is_drawn(photograph: Path, tmp_path: Path) -> None:
    def drawn(name: str, **options: int) -> bytes:
        settings = {**FEW, **{f"method.views.{n}": v for n, v in options.items() if n != "seed"}}
        seed = options.get("seed", 0)
        return patchwise.views(
            photograph, out=tmp_path / name, settings=settings, seed=seed
        ).read_bytes()

    assert drawn("a.png") == drawn("b.png")
    assert drawn("a.png") != drawn("c.png", seed=1)
    assert drawn("a.png") != drawn("d.png", jitter_prob=0)


def test_the_settings_of_a_run_can_be_taken(photograph: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(dump_toml(run_config(seed=11)))
    page = patchwise.views(photograph, out=tmp_path / "v.html", config=config).read_text()
    assert "global_px = 32" in page
    assert "seed = 11" in page


def test_a_recipe_without_patches_shows_views_alone(photograph: Path, tmp_path: Path) -> None:
    settings = {**FEW, "method.matching": "none"}
    page = patchwise.views(photograph, out=tmp_path / "v.html", settings=settings).read_text()
    assert 'id="matches"' not in page


@pytest.mark.bad_input
def test_what_cannot_be_shown_is_refused(photograph: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"out must end in \.png or \.html, got '.*v\.jpg'"):
        patchwise.views(photograph, out=tmp_path / "v.jpg")
    with pytest.raises(DataError, match="nowhere"):
        patchwise.views(tmp_path / "nowhere.png", out=tmp_path / "v.png")
    with pytest.raises(ConfigError, match=r"multiple of backbone\.patch_px"):
        patchwise.views(photograph, out=tmp_path / "v.png", settings={"method.views.global_px": 33})
    with pytest.raises(DataError, match="can be written"):
        patchwise.views(photograph, out=tmp_path / "nowhere" / "v.png", settings=FEW)
    assert not list(tmp_path.glob(".*partial"))
