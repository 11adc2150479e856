"""Features on the disk, from what a user names."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import patchwise
from patchwise.api.embedding import describe_store, embed
from patchwise.api.models import open_subject
from patchwise.data.labelled import open_labelled_data
from patchwise.data.segmentation import open_segmentation
from patchwise.errors import ChoiceError, ConfigError, DataError, RangeError, ShapeError
from patchwise.eval.baselines import RawPatches
from patchwise.eval.images import KNNImages
from patchwise.eval.patches import KNNPatches
from patchwise.eval.results import STORED
from patchwise.features.look import look
from patchwise.features.subject import Subject
from patchwise.features.transform import Whole
from patchwise.features.windows import Windows
from patchwise.models.vit import ViT
from tests.eval.tiny import save_colours
from tests.features.stored import assert_near
from tests.small_runs import small_vit


def save_photos(root: Path, *sizes: tuple[int, int]) -> Path:
    root.mkdir(parents=True)
    for number, (height, width) in enumerate(sizes):
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{number}.png")
    return root


def test_a_file_and_a_folder_become_a_store(tmp_path: Path) -> None:
    data = save_photos(tmp_path / "photos", (40, 56), (500, 640), (33, 90))
    patchwise.save_backbone(small_vit(), tmp_path / "vit.safetensors")
    store = patchwise.embed(
        tmp_path / "vit.safetensors", data, out=tmp_path / "store", patches=True, device="cpu"
    )
    grids = [store.image(index).patches.shape[:2] for index in range(3)]  # type: ignore[union-attr]
    assert grids == [(5, 7), (56, 72), (4, 11)]  # the long one has a short side of 448 px
    pixels = Whole(8)(np.array(Image.open(data / "2.png")))
    exact = look(small_vit().eval(), torch.from_numpy(pixels).movedim(-1, 0)[None])
    stored = store.image(2)
    assert stored.patches is not None
    assert_near(torch.tensor(stored.patches.reshape(44, 32)).float(), exact.patches[0])
    assert patchwise.open_store(tmp_path / "store") == store
    assert describe_store(store).startswith(
        f"{tmp_path / 'store'}: CLS and patches of 3 images of '{data}' by vit.safetensors, "
        f"short side at most 448 px, in whole patches of 8 px, 32 channels, 0.3 MiB"
    )


def test_sizes_and_windows_are_chosen(tmp_path: Path) -> None:
    data, vit = save_photos(tmp_path / "photos", (40, 56)), small_vit()
    cases: list[tuple[dict[str, Any], dict[str, Any], Windows | None]] = [
        ({"size": "crop:32,24"}, {"kind": "CentreCrop", "resize_px": 32, "crop_px": 24}, None),
        ({"window": 32, "stride": 8}, {"kind": "Whole", "short_px": 448}, Windows(32, 8)),
        ({"window": 24, "size": "own"}, {"kind": "Whole", "short_px": None}, Windows(24, 8)),
        ({"window": 8, "size": "own"}, {"kind": "Whole"}, Windows(8, 8)),
    ]
    for number, (options, transform, windows) in enumerate(cases):
        store = embed(vit, data, out=tmp_path / str(number), workers=0, **options)
        assert transform.items() <= store.content.transform.items()
        assert store.content.windows == windows
        assert not store.has_patches
    assert describe_store(store).endswith(
        ", in windows of 8 px, one every 8 px, 32 channels, 0.0 MiB"
    )


def save_segmentation(root: Path) -> Path:
    for part, count in (("train", 8), ("val", 5)):
        save_photos(root / "images" / part, *[(32, 48)] * count)
        (root / "labels" / part).mkdir(parents=True)
        for number in range(count):
            label = np.random.default_rng(number).integers(0, 2, (4, 6)).astype(np.uint8)
            label = np.kron(label, np.ones((8, 8), np.uint8))
            Image.fromarray(label).save(root / "labels" / part / f"{number}.png")
    (root / "classes.yaml").write_text("[a, b]")
    return root


@dataclass
class Counted:
    """A model of which it is known how many images it has seen."""

    vit: ViT
    seen: int = 0

    def subject(self, stores: Path) -> Subject:
        def count(_module: object, images: tuple[torch.Tensor]) -> None:
            self.seen += len(images[0])

        self.vit.register_forward_pre_hook(count)
        return replace(open_subject(self.vit), stores=stores)


@pytest.mark.parametrize("by_folder", [True, False])
def test_protocols_take_what_was_embedded_of_classes(tmp_path: Path, by_folder: bool) -> None:
    root, out = save_colours(tmp_path / "data", {"train": 24, "val": 6}), tmp_path / "stores"
    for number, (folder, part) in enumerate((("train", "fit"), ("val", "test"))):
        where: dict[str, Any] = {"data": root / folder}
        if not by_folder:
            where = {"data": root, "part": part}
        embed(small_vit(), **where, out=out / str(number), size="crop:20,16", workers=0)
    counted = Counted(small_vit())
    protocol = KNNImages("p", k=4, resize_px=20, crop_px=16)
    result = protocol.run(counted.subject(out), open_labelled_data(root))
    assert counted.seen == 0
    assert result.fingerprint.features == STORED


@pytest.mark.parametrize("by_folder", [True, False])
def test_protocols_take_what_was_embedded_of_pixels(tmp_path: Path, by_folder: bool) -> None:
    root, out = save_segmentation(tmp_path / "data"), tmp_path / "stores"
    for number, (folder, part) in enumerate((("train", "fit"), ("val", "test"))):
        where: dict[str, Any] = {"data": root / "images" / folder}
        if not by_folder:
            where = {"data": root, "part": part}
        store = out / str(number)
        embed(small_vit(), **where, out=store, size="square:32", patches=True, workers=0)
    counted = Counted(small_vit())
    result = KNNPatches("p", size_px=32).run(counted.subject(out), open_segmentation(root))
    assert counted.seen == 0
    assert result.fingerprint.features == STORED


def test_one_part_is_the_one_to_learn_from(tmp_path: Path) -> None:
    root = save_colours(tmp_path / "data", {"": 6})
    store = embed(small_vit(), root, part="fit", out=tmp_path / "store", workers=0)
    assert len(store) == 6


@pytest.mark.bad_input
def test_one_part_has_none_to_be_scored(tmp_path: Path) -> None:
    root = save_colours(tmp_path / "data", {"": 6})
    with pytest.raises(DataError, match="part must be left out, or fit, where there is one part"):
        embed(small_vit(), root, part="test", out=tmp_path / "other")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"size": "448"}, ConfigError, "size must be one of square:PX"),
        ({"stride": 8}, DataError, "stride must be given with a window, got 8 alone"),
        ({"window": 20}, ShapeError, "multiples of the model's patch of 8 px, got 20 and 8"),
        ({"window": 16, "stride": 24}, RangeError, r"stride_px must lie in \[1, 16\], got 24"),
        ({"part": "val"}, ChoiceError, "part must be one of fit, test, got 'val'"),
        ({"batch": 0}, RangeError, "batch must be positive, got 0"),
        ({"workers": -1}, RangeError, r"workers must lie in \[0, 1024\], got -1"),
        ({"model": RawPatches(8)}, DataError, "must have weights by which .*, got raw RGB"),
    ],
)
def test_options_are_checked(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    usual: dict[str, Any] = {"model": small_vit(), "data": "scenes:4", "workers": 0}
    with pytest.raises(error, match=message):
        embed(**(usual | options), out=tmp_path / "store")
    assert not (tmp_path / "store").exists()
