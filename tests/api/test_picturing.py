"""Which pictures a run has, and of which images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchwise.api import picturing
from patchwise.api.picturing import run_figures
from patchwise.data.images import centre_crop
from patchwise.data.segmentation import SCENES_SEED
from patchwise.data.source import open_source
from patchwise.data.synthetic import Scenes, render_scenes
from patchwise.errors import DataError
from patchwise.pictures.figure import Figure
from patchwise.pictures.gallery import Gallery, Seen
from tests.small_runs import run_config, small_filtered, small_vit

ALWAYS = ["views", "matches", "dispersion", "pca", "nearest", "clusters", "attention"]


def cyclic(count: int) -> np.ndarray:
    """The next three images of each."""
    return (np.arange(count)[:, None] + np.arange(1, 4)) % count


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index, pixels in enumerate(render_scenes(np.arange(12), size_px=96).images):
        Image.fromarray(pixels[: 96 - index]).save(tmp_path / f"{index:02}.png")
    return tmp_path


def test_what_a_run_has_is_shown() -> None:
    config, source = run_config(), Scenes(12)
    vit, filtered = small_vit().eval(), small_filtered()
    plain = run_figures(config, source, vit, vit)
    assert [figure.name for figure in plain] == ALWAYS
    figures = run_figures(config, source, vit, filtered, neighbours=cyclic(12))
    assert [figure.name for figure in figures] == [
        *ALWAYS, "prototypes", "prototype-map", "correspondences",
    ]  # fmt: skip
    left = run_figures(config, source, vit, vit, neighbours=cyclic(12))
    assert [figure.name for figure in left] == [*ALWAYS, "correspondences"]


def paired(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Gallery, Seen, Seen]]:
    """Record what the figure of correspondences is made of."""
    asked = []

    def record(gallery: Gallery, before: Seen, after: Seen, *, how: str, seed: int) -> Figure:
        asked.append((gallery, before, after))
        assert "one of its 3 nearest images" in how
        return Figure("correspondences", "", "", "", ())

    monkeypatch.setattr(picturing, "correspondences_figure", record)
    return asked


def test_pairs_are_images_of_the_run_with_a_neighbour_each(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, source = paired(monkeypatch), open_source(folder)
    vit, filtered = small_vit().eval(), small_filtered()
    run_figures(run_config(), source, vit, filtered, neighbours=cyclic(12))
    gallery, before, after = asked[0]
    numbers = [int(name.removesuffix(".png")) for name in gallery.names]
    images, neighbours = numbers[:12], numbers[12:]
    assert sorted(images) == list(range(12))
    steps = {(other - image) % 12 for image, other in zip(images, neighbours, strict=True)}
    assert steps == {1, 2, 3}, "any of the neighbours, no other image"
    assert gallery.shown == 4
    side_px = run_config().method.views.global_px
    for place, number in enumerate(numbers):
        resize_px = round(side_px * 256 / 224)
        wanted = centre_crop(source.read(number), resize_px=resize_px, crop_px=side_px)
        assert (gallery.images[place] == wanted).all()
    assert (before.patches.shape[-1], after.patches.shape[-1]) == (32, 64)


def test_pairs_of_scenes_know_their_categories(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, vit = paired(monkeypatch), small_vit().eval()
    run_figures(run_config(), Scenes(12, seed=7), vit, vit, neighbours=cyclic(12))
    gallery = asked[0][0]
    numbers = np.array([int(name.removeprefix("scene ")) for name in gallery.names])
    assert (gallery.images == render_scenes(numbers, seed=7).images).all()
    assert gallery.categories is not None
    assert gallery.categories.shape == (24, 64)
    assert "of the run itself" in gallery.origin


def test_objects_and_categories_are_those_of_the_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A patch is of what covers at least half of it; from the definition, patch by patch."""
    asked: list[Gallery] = []

    def record(gallery: Gallery, *_: object) -> None:
        asked.append(gallery)

    monkeypatch.setattr(picturing, "dispersion_figure", record)
    vit = small_vit().eval()
    figures = run_figures(run_config(), Scenes(12), vit, vit)
    assert "dispersion" not in [figure.name for figure in figures], "there may be none"
    gallery = asked[0]
    numbers = np.array([int(name.removeprefix("scene ")) for name in gallery.names])
    scenes = render_scenes(numbers, seed=SCENES_SEED)
    assert (gallery.images == scenes.images).all()
    assert gallery.objects is not None
    assert gallery.categories is not None
    names: dict[int, tuple[int, int]] = {}
    for image in range(0, 100, 9):
        for patch in range(64):
            rows, columns = (slice(8 * at, 8 * at + 8) for at in divmod(patch, 8))
            for masks, found in (
                (scenes.semantic, gallery.categories),
                (scenes.instance, gallery.objects),
            ):
                counts = np.bincount(masks[image, rows, columns].ravel(), minlength=9)[1:]
                wanted = int(counts.argmax()) + 1 if counts.max() >= 32 else 0
                got = int(found[image, patch])
                assert (got > 0) == (wanted > 0)
                if masks is scenes.semantic:
                    assert got == wanted
                elif got:
                    assert names.setdefault(got, (image, wanted)) == (image, wanted)
    assert len(names) > 12


def test_views_and_features_are_of_readable_images(folder: Path) -> None:
    (folder / "00a.png").write_bytes(b"no image")
    source, vit = open_source(folder), small_vit().eval()
    figures = run_figures(run_config(), source, vit, vit)
    pca = next(figure for figure in figures if figure.name == "pca")
    assert len(pca.rows) == 6
    assert "those of all 12" in pca.facts
    assert "00a.png" not in {row.label for figure in figures for row in figure.rows}


@pytest.mark.bad_input
def test_nothing_readable_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    vit = small_vit().eval()
    with pytest.raises(DataError, match="must hold readable images, got none"):
        run_figures(run_config(), open_source(tmp_path), vit, vit)
