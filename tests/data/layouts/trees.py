"""Tiny data sets, each laid out as the published one is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.data.python2 import pickled

Labels = NDArray[np.uint8]
HEIGHT, WIDTH = 6, 43  # 258 pixels: room for each value there is
ALL_BYTES = np.arange(HEIGHT * WIDTH).clip(max=255).astype(np.uint8).reshape(HEIGHT, WIDTH)


def label_with(*values: int) -> Labels:
    """Labels in which these values take turns."""
    return np.resize(np.array(values, np.uint8), (HEIGHT, WIDTH))


def save_image(path: Path, number: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def save_label(path: Path, values: Labels, *, palette: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if palette:
        image.putpalette([channel for n in range(256) for channel in (n, 255 - n, 7 * n % 256)])
    image.save(path)


def save_list(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def make_voc(root: Path, *, augmented: bool = False) -> Path:
    """VOC 2012: two images to learn from, three if augmented, and one to score."""
    names = ("2007_000032", "2007_000039", "2008_000002", "2011_003276")
    for number, name in enumerate(names):
        save_image(root / "JPEGImages" / f"{name}.jpg", number)
        if name != names[2]:  # it has augmented labels only
            label = label_with(0, number, 20, 255)
            save_label(root / "SegmentationClass" / f"{name}.png", label, palette=True)
    lists = root / "ImageSets" / "Segmentation"
    save_list(lists / "train.txt", *names[:2])
    save_list(lists / "val.txt", names[3])
    save_list(lists / "trainval.txt", *names[:2], names[3])
    if augmented:
        for name in names:
            save_label(root / "SegmentationClassAug" / f"{name}.png", label_with(0, 7))
        save_list(lists / "trainaug.txt", *names[:3])
    return root


def make_ade20k(root: Path) -> Path:
    """ADE20K: two images to learn from, and one to score."""
    for part, names in {
        "training": ("ADE_train_00000001", "ADE_train_00000002"),
        "validation": ("ADE_val_00000001",),
    }.items():
        for number, name in enumerate(names):
            save_image(root / "images" / part / f"{name}.jpg", number)
            label = label_with(0, 1, 150 - number)
            save_label(root / "annotations" / part / f"{name}.png", label)
    (root / "objectInfo150.txt").write_text("Idx\tRatio\tTrain\tVal\tName\n")
    (root / "sceneCategories.txt").write_text("ADE_train_00000001 airport_terminal\n")
    return root


def make_cityscapes(root: Path, *, kinds: tuple[str, ...] = ("labelIds",)) -> Path:
    """Cityscapes: three images of two cities to learn from, one to score, one to be tested on."""
    for part, names in {
        "train": ("aachen/aachen_000000_000019", "aachen/aachen_000001_000019", "ulm/ulm_000"),
        "val": ("lindau/lindau_000000_000019",),
        "test": ("berlin/berlin_000000_000019",),
    }.items():
        for number, name in enumerate(names):
            save_image(root / "leftImg8bit" / part / f"{name}_leftImg8bit.png", number)
            fine = root / "gtFine" / part / name
            for kind in kinds:
                label = label_with(*((0, 7, 33) if kind == "labelIds" else (255, 0, 18)))
                save_label(fine.with_name(f"{fine.name}_gtFine_{kind}.png"), label)
            save_image(fine.with_name(f"{fine.name}_gtFine_color.png"))
            save_label(fine.with_name(f"{fine.name}_gtFine_instanceIds.png"), label_with(99))
            fine.with_name(f"{fine.name}_gtFine_polygons.json").write_text("{}")
    return root


def make_coco_stuff(root: Path) -> Path:
    """COCO-Stuff: of three images a part, the lists name two to learn from and one to score."""
    names = ("000000000009", "000000000025", "000000000030")
    for part, count in (("train2017", 2), ("val2017", 1)):
        for number, name in enumerate(names):
            save_image(root / "images" / part / f"{name}.jpg", number)
            label = label_with(0, 181, 255, 91 + number)
            save_label(root / "annotations" / part / f"{name}.png", label)
        ending = "" if part == "train2017" else "_7"
        listed = root / "curated" / part / f"Coco164kFull_Stuff_Coarse{ending}.txt"
        save_list(listed, *names[-count:][::-1])
    return root


def make_pixels(root: Path) -> Path:
    """Images, labels and a list of classes: one image a part."""
    for part in ("train", "val"):
        save_image(root / "images" / part / "a.png")
        save_label(root / "labels" / part / "a.png", label_with(0, 1))
    (root / "classes.yaml").write_text("[ground, cat]\n")
    return root


def make_classes(root: Path) -> Path:
    """A folder for each of two classes, in two parts."""
    for part in ("train", "val"):
        for name in ("ant", "bee"):
            save_image(root / part / name / "1.png")
    return root


CIFAR10 = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
CIFAR100 = tuple(f"fine_{number:02}" for number in range(100))


def cifar_pixels(name: str, count: int) -> NDArray[np.uint8]:
    """Rows of 3,072 bytes: red, green and blue planes of 32 x 32, as in the files."""
    seed = list(name.encode())
    return np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)


def make_cifar10(root: Path, *, binary: bool = False) -> Path:
    """CIFAR-10: three images a file, of classes 0 to 2 in the first, 3 to 5 in the next, ..."""
    root.mkdir(parents=True, exist_ok=True)
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    for place, name in enumerate(names):
        labels = [(3 * place + number) % 10 for number in range(3)]
        pixels = cifar_pixels(name, 3)
        if binary:
            rows = np.concatenate([np.array(labels, np.uint8)[:, None], pixels], axis=1)
            (root / f"{name}.bin").write_bytes(rows.tobytes())
        else:
            batch = {"batch_label": name, "labels": labels, "data": pixels, "filenames": ["a.png"]}
            (root / name).write_bytes(pickled(batch))
    if binary:
        save_list(root / "batches.meta.txt", *CIFAR10, "")
    else:
        meta = {"num_cases_per_batch": 10000, "label_names": list(CIFAR10), "num_vis": 3072}
        (root / "batches.meta").write_bytes(pickled(meta))
    (root / "readme.html").write_text("")
    return root


def make_cifar100(root: Path, *, binary: bool = False) -> Path:
    """CIFAR-100: three images to learn from and two to score; coarse classes are 0 to 19."""
    root.mkdir(parents=True, exist_ok=True)
    coarse = [f"coarse_{number:02}" for number in range(20)]
    for name, fine in (("train", [99, 0, 50]), ("test", [50, 1])):
        pixels = cifar_pixels(name, len(fine))
        halves = [number // 5 for number in fine]
        if binary:
            both = np.array([halves, fine], np.uint8).T
            (root / f"{name}.bin").write_bytes(np.concatenate([both, pixels], axis=1).tobytes())
        else:
            batch = {"fine_labels": fine, "coarse_labels": halves, "data": pixels}
            (root / name).write_bytes(pickled(batch))
    if binary:
        save_list(root / "fine_label_names.txt", *CIFAR100)
        save_list(root / "coarse_label_names.txt", *coarse)
    else:
        names = {"fine_label_names": list(CIFAR100), "coarse_label_names": coarse}
        (root / "meta").write_bytes(pickled(names))
    return root


# Each layout, with the name that its folder usually has.
MAKERS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "ade20k": ("ADEChallengeData2016", make_ade20k),
    "cifar10": ("cifar-10-batches-py", make_cifar10),
    "cifar100": ("cifar-100-python", make_cifar100),
    "cityscapes": ("cityscapes", make_cityscapes),
    "classes": ("mine", make_classes),
    "coco-stuff-27": ("cocostuff", make_coco_stuff),
    "pixels": ("mine", make_pixels),
    "voc": ("VOCdevkit/VOC2012", make_voc),
}
