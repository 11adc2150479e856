"""Which layout a data set on disk has: said by a prefix, or told by what its folder holds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from patchwise.checks import check_choice
from patchwise.data.class_list import CLASS_FILES
from patchwise.errors import DataError

Kind = Literal["labelled", "segmentation"]
_OF_KIND = {"labelled": "one class for each image", "segmentation": "a class for every pixel"}
_DEFAULT = {"labelled": "classes", "segmentation": "pixels"}  # if nothing tells another


@dataclass(frozen=True)
class Layout:
    """What tells a layout. Paths are relative to its folder, those of folders end in "/"."""

    kind: Kind
    marks: tuple[tuple[str, ...], ...] = ()  # all paths of one of these must be there
    usual: tuple[str, ...] = ()  # where it usually lies, below a folder given by mistake

    def fits(self, root: Path) -> bool:
        """Tell whether a folder is of this layout."""
        return any(all(_is_there(root, mark) for mark in marks) for marks in self.marks)

    def near(self, root: Path) -> Path | None:
        """Return the folder of this layout that ``root`` lies in or holds, if there is one."""
        if not self.usual:
            return None
        near = [root / name for name in self.usual]
        for mark in (mark for marks in self.marks for mark in marks if mark.endswith("/")):
            parts = Path(mark).parts
            inner = (n for n in range(1, len(parts) + 1) if root.parts[-n:] == parts[:n])
            near += [root.parents[n - 1] for n in inner]
        return next((folder for folder in near if self.fits(folder)), None)


LAYOUTS = {
    "ade20k": Layout(
        "segmentation", (("images/training/", "annotations/training/"),), ("ADEChallengeData2016",)
    ),
    "cifar10": Layout(
        "labelled",
        (("data_batch_1",), ("data_batch_1.bin",)),
        ("cifar-10-batches-py", "cifar-10-batches-bin"),
    ),
    "cifar100": Layout(
        "labelled",
        (("train", "test", "meta"), ("train.bin", "test.bin")),
        ("cifar-100-python", "cifar-100-binary"),
    ),
    "cityscapes": Layout("segmentation", (("leftImg8bit/", "gtFine/"),), ("cityscapes",)),
    "classes": Layout("labelled"),
    "coco-stuff-27": Layout(
        "segmentation", (("images/train2017/", "annotations/train2017/"),), ("cocostuff", "coco")
    ),
    "pixels": Layout("segmentation", (("images/", "labels/"), *((name,) for name in CLASS_FILES))),
    "voc": Layout(
        "segmentation", (("JPEGImages/", "ImageSets/"),), ("VOC2012", "VOCdevkit/VOC2012")
    ),
}


def find_layout(caller: str, data: str | Path, kind: Kind) -> tuple[str, Path]:
    """Return the layout of ``data`` and its folder.

    Args:
        caller: Whom messages name.
        data: A folder, or ``NAME:FOLDER`` with the name of its layout.
        kind: What it must hold. A folder of no known layout may still have a folder for each class.

    Raises:
        ChoiceError: There is no layout of that name.
        DataError: The folder is of another kind or layout; the message says which to give.
    """
    name, root = _split(caller, data)
    if name is not None:
        _check_kind(caller, name, root, kind)
        layout = LAYOUTS[name]
        if layout.usual and not layout.fits(root):
            raise DataError(
                f"{caller}: '{root}' must hold {_describe(layout)} to be {name}, "
                f"got {_content(root)}{_advice(layout.near(root))}"
            )
        return name, root
    name = _recognise(caller, root)
    if name is not None:
        _check_kind(caller, name, root, kind)
        return name, root
    found = _nearest(root)
    if found is not None:
        raise DataError(
            f"{caller}: data must be the folder of a data set, got '{root}', a part of {found[0]} "
            f"or around it{_advice(found[1])}"
        )
    if kind == "segmentation":
        known = ((name, lay) for name, lay in LAYOUTS.items() if lay.usual and lay.kind == kind)
        raise DataError(
            f"{caller}: '{root}' must hold one of {', '.join(CLASS_FILES)} with images and labels, "
            f"or be {', '.join(f'{name} ({_describe(lay)})' for name, lay in known)}, "
            f"got {_content(root)}"
        )
    return "classes", root


def kind_of(caller: str, data: str | Path) -> Kind | None:
    """Return what ``data`` holds, as far as its prefix or its folder tells.

    Raises:
        ChoiceError: There is no layout of the name before the colon.
        DataError: The folder has the marks of several layouts.
    """
    name, root = _split(caller, data)
    name = name or _recognise(caller, root)
    if name is None:
        found = _nearest(root)
        name = None if found is None else found[0]
    return None if name is None else LAYOUTS[name].kind


def absolute_name(data: str | Path) -> str:
    """Return ``data`` with its folder as an absolute path: it names the same from anywhere."""
    name, root = _split("absolute_name", data)
    return str(root.resolve()) if name is None else f"{name}:{root.resolve()}"


def _content(root: Path) -> str:
    if not root.is_dir():
        return "a file" if root.exists() else "no such folder"
    names = sorted(entry.name for entry in root.iterdir())
    shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    return shown or "nothing"


def _split(caller: str, data: str | Path) -> tuple[str | None, Path]:
    prefix, colon, rest = str(data).partition(":")
    path = Path(data).expanduser().absolute()
    if not colon or "/" in prefix or path.exists():
        return None, path
    check_choice(caller, LAYOUTS, layout=prefix)
    return prefix, Path(rest).expanduser().absolute()


def _recognise(caller: str, root: Path) -> str | None:
    if any((root / name).exists() for name in CLASS_FILES):
        return "pixels"  # who writes such a list means it
    found = [name for name, layout in LAYOUTS.items() if layout.fits(root)]
    official = [name for name in found if name != "pixels"] or found
    if len(official) > 1:
        raise DataError(
            f"{caller}: '{root}' must be of one layout, got {' and '.join(official)}; "
            f"write {official[0]}:{root}"
        )
    return official[0] if official else None


def _nearest(root: Path) -> tuple[str, Path] | None:
    near = ((name, layout.near(root)) for name, layout in LAYOUTS.items())
    return next(((name, folder) for name, folder in near if folder is not None), None)


def _check_kind(caller: str, name: str, root: Path, kind: Kind) -> None:
    if LAYOUTS[name].kind != kind:
        raise DataError(
            f"{caller}: data must have {_OF_KIND[kind]}, got {name} in '{root}', which has "
            f"{_OF_KIND[LAYOUTS[name].kind]}; choose another protocol, or write "
            f"{_DEFAULT[kind]}:{root}"
        )


def _is_there(root: Path, mark: str) -> bool:
    path = root / mark
    return path.is_dir() if mark.endswith("/") else path.is_file()


def _describe(layout: Layout) -> str:
    return " or ".join(" and ".join(mark.rstrip("/") for mark in marks) for marks in layout.marks)


def _advice(near: Path | None) -> str:
    return "" if near is None else f"; give '{near}'"
