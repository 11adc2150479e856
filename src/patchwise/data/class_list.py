"""Which label value stands for which class, and what is done with each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from patchwise.checks import did_you_mean
from patchwise.errors import DataError

IGNORED = 255  # in labels as they are read: a pixel that counts for nothing
CLASS_FILES = ("classes.yaml", "classes.yml", "classes.json")
_KEYS = ("classes", "ignore", "background", "scored", "fit", "test")


@dataclass(frozen=True)
class ClassList:
    """The classes of a folder of labels."""

    names: tuple[str, ...]
    lookup: tuple[int, ...]  # 256 entries: class of each label value, `IGNORED`, or -1
    scored: tuple[int, ...]  # classes that the mean IoU is taken over
    background: int | None  # the class of what is no object, if there is one
    fit: str  # names of the two parts
    test: str
    rule: str  # for messages: what values there may be, or how to name others


def read_class_list(root: Path) -> ClassList:
    """Read the class file of a folder; see `open_segmentation`.

    Raises:
        DataError: There is none, or more than one, or it cannot be used.
    """
    table = _read_classes(root)
    values, names = _classes(table)
    ignored = _ints(table, "ignore", [IGNORED])
    kept = [place for place, value in enumerate(values) if value not in ignored]
    background = table.get("background")
    return ClassList(
        names=names,
        lookup=_lookup({value: place for place, value in enumerate(values)}, ignored),
        scored=_scored(table.get("scored", [names[place] for place in kept]), names, kept),
        background=None if background is None else _place(background, names),
        fit=str(table.get("fit", "train")),
        test=str(table.get("test", "val")),
        rule=f"name them in {CLASS_FILES[0]} under classes or ignore",
    )


def official_classes(
    names: Sequence[str],
    class_of: Mapping[int, int],
    ignored: Iterable[int],
    *,
    parts: tuple[str, str],
    background: int | None = None,
) -> ClassList:
    """Return the classes of a published data set, all of them scored.

    Args:
        names: Of the classes.
        class_of: The class of each label value that has one.
        ignored: Label values that do not count. All others are errors.
        parts: Names of the two parts.
        background: The class of what is no object, if there is one.
    """
    lookup = _lookup(class_of, ignored)
    return ClassList(
        names=tuple(names),
        lookup=lookup,
        scored=tuple(range(len(names))),
        background=background,
        fit=parts[0],
        test=parts[1],
        rule=f"these labels have {_spans([v for v in range(256) if lookup[v] >= 0])}",
    )


def _lookup(class_of: Mapping[int, int], ignored: Iterable[int]) -> tuple[int, ...]:
    table = [-1] * 256
    for value, place in class_of.items():
        table[value] = place
    for value in ignored:
        table[value] = IGNORED
    return tuple(table)


def _spans(values: Sequence[int]) -> str:
    firsts = [value for value in values if value - 1 not in values]
    lasts = [value for value in values if value + 1 not in values]
    spans = zip(firsts, lasts, strict=True)
    return ", ".join(f"{low}" if low == high else f"{low} to {high}" for low, high in spans)


def _read_classes(root: Path) -> Mapping[str, Any]:
    found = [root / name for name in CLASS_FILES if (root / name).exists()]
    if len(found) != 1:
        raise DataError(
            f"open_segmentation: '{root}' must hold one of {', '.join(CLASS_FILES)}, "
            f"got {len(found)}"
        )
    try:
        table = yaml.safe_load(found[0].read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(
            f"open_segmentation: '{found[0]}' must be readable YAML, got {error}"
        ) from error
    table = {"classes": table} if isinstance(table, list) else table
    if not isinstance(table, dict) or not table.get("classes"):
        raise DataError(
            f"open_segmentation: '{found[0]}' must be a list of class names, or a table with "
            f"classes, got {str(table)[:60]!r}"
        )
    unknown = [str(key) for key in table if key not in _KEYS]
    if unknown:
        raise DataError(
            f"open_segmentation: keys of '{found[0]}' must be of {', '.join(_KEYS)}, "
            f"got {unknown[0]!r}{did_you_mean(unknown[0], _KEYS)}"
        )
    return table


def _classes(table: Mapping[str, Any]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return label value and name of each class."""
    classes = table["classes"]
    if isinstance(classes, dict):  # keys are text in JSON
        pairs = [(int(v) if str(v).isdigit() else v, str(name)) for v, name in classes.items()]
    else:
        pairs = list(enumerate(map(str, classes))) if isinstance(classes, list) else []
    values, names = [value for value, _ in pairs], [name for _, name in pairs]
    right = 0 < len(pairs) <= IGNORED and all(_is_value(value) for value in values)
    if not right or len(set(names)) < len(names) or len(set(values)) < len(values):
        raise DataError(
            f"open_segmentation: classes must be a list of at most 255 different names, or names "
            f"by values in [0, 255], got {str(classes)[:80]}"
        )
    return tuple(values), tuple(names)


def _ints(table: Mapping[str, Any], key: str, default: list[int]) -> list[int]:
    values: list[int] = table.get(key, default)
    if not isinstance(values, list) or not all(_is_value(value) for value in values):
        raise DataError(
            f"open_segmentation: {key} must be a list of values in [0, 255], got {values!r}"
        )
    return values


def _is_value(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255


def _scored(wanted: object, names: tuple[str, ...], kept: list[int]) -> tuple[int, ...]:
    places = [_place(name, names) for name in wanted] if isinstance(wanted, list) else []
    if not places or len(set(places)) < len(places) or not set(places) <= set(kept):
        raise DataError(
            f"open_segmentation: scored must be a list of different classes that are not ignored, "
            f"got {wanted!r}"
        )
    return tuple(places)


def _place(name: object, names: tuple[str, ...]) -> int:
    if str(name) not in names:
        raise DataError(
            f"open_segmentation: scored and background must be names of classes, "
            f"got {name!r}{did_you_mean(str(name), names)}"
        )
    return names.index(str(name))
