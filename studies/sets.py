"""Lay out the image sets of the studies as folders that `patchwise` reads.

    PATCHWISE_DATA=FOLDER_OF_TARS python -m studies.sets OUT

makes ``OUT/cifar10`` (class folders), ``OUT/voc`` and ``OUT/camvid`` (images, label PNGs and a
class list), and ``OUT/mix``: all images that may be trained on, without labels. The images of VOC
have at most 256 px on the short side, those of CamVid are 480 x 360.
"""

import os
import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

# fmt: off
VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)
FREQUENT = ("background", "cat", "cow", "dog", "horse", "person", "sheep")  # in this part of VOC
CAMVID_CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian",
    "bicyclist", "unlabelled",
)
# fmt: on


def unpack(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder


def make_cifar10(sources: Path, raw: Path, out: Path) -> None:
    parts = {"train": ("cifar10_train_00-19", "cifar10_train_20-49"), "val": ("cifar10_test",)}
    for part, archives in parts.items():
        for archive in archives:
            folder = unpack(sources / f"{archive}.tar", raw / archive)
            classes = yaml.safe_load((folder / "classes.json").read_text())
            labels = np.load(folder / "labels.npy")
            for name in classes:
                (out / part / name).mkdir(parents=True, exist_ok=True)
            for number, sheet in enumerate(sorted(folder.rglob("sheet-*.webp"))):
                pixels = np.asarray(Image.open(sheet).convert("RGB"))
                tiles = pixels.reshape(25, 32, 40, 32, 3).swapaxes(1, 2).reshape(1000, 32, 32, 3)
                for place, tile in enumerate(tiles):
                    name = classes[labels[number * 1000 + place]]
                    path = out / part / name / f"{sheet.stem[-3:]}{place:03d}.png"
                    Image.fromarray(tile).save(path)


def copy_pixels(folders: list[Path], parts: tuple[str, ...], out: Path) -> None:
    for folder in folders:
        for kind in ("images", "labels"):
            for part in parts:
                if (folder / kind / part).is_dir():
                    shutil.copytree(folder / kind / part, out / kind / part, dirs_exist_ok=True)


def make_segmentation(sources: Path, raw: Path, out: Path) -> None:
    archives = ("voc12_animals_seg", "voc12_animals_seg_train_extra", "camvid")
    folders = [unpack(sources / f"{name}.tar", raw / name) for name in archives]
    copy_pixels(folders[:2], ("train", "val"), out / "voc")
    copy_pixels(folders[2:], ("train", "val", "test"), out / "camvid")
    voc = {
        "classes": list(VOC_CLASSES),
        "background": "background",
        "scored": list(FREQUENT),
    }
    camvid = {"classes": list(CAMVID_CLASSES), "ignore": [11], "test": "test"}
    for name, table in (("voc", voc), ("camvid", camvid)):
        (out / name / "classes.yaml").write_text(yaml.safe_dump(table, sort_keys=False))


def make_mix(sources: Path, raw: Path, out: Path) -> None:
    """Collect images to train on: no test image is among them."""
    imagenet = unpack(sources / "imagenet_1000x1.tar", raw / "imagenet_1000x1")
    for name, folder in {
        "imagenet": imagenet / "images",
        "voc": out.parent / "voc/images/train",
        "camvid": out.parent / "camvid/images/train",
    }.items():
        shutil.copytree(folder, out / name, dirs_exist_ok=True)


def main() -> None:
    if len(sys.argv) != 2 or "PATCHWISE_DATA" not in os.environ:
        raise SystemExit(__doc__)
    sources, out = Path(os.environ["PATCHWISE_DATA"]), Path(sys.argv[1])
    raw = out / "raw"
    make_segmentation(sources, raw, out)
    make_mix(sources, raw, out / "mix")
    make_cifar10(sources, raw, out / "cifar10")
    shutil.rmtree(raw)


if __name__ == "__main__":
    main()
