"""Getting at the weights in what training scripts save around them."""

from collections.abc import Iterator, Mapping

from torch import Tensor

from patchwise.errors import WeightsError
from patchwise.models.weights.files import WeightsFile, first_names
from patchwise.models.weights.vit_keys import ViTKeys


def unwrap(file: WeightsFile, section: str) -> WeightsFile:
    """Return what a file holds under one name, as a file of its own; empty if that is no dict."""
    inner = file.contents.get(section)
    return WeightsFile(file.path, inner if isinstance(inner, Mapping) else {})


def names_in(file: WeightsFile) -> list[str]:
    """Return the names in a file, or in a section of it."""
    return [name for name in file.contents if isinstance(name, str)]


def has_blocks(file: WeightsFile, prefix: str = "") -> bool:
    """Tell whether the file names weights of a ViT's blocks, behind a prefix."""
    return any(name.startswith(f"{prefix}blocks.") for name in names_in(file))


def open_section(file: WeightsFile, section: str, *, source: str, prefix: str = "") -> ViTKeys:
    """Return the weights that a file holds under one name.

    Args:
        file: Dict of sections; what else it holds is said to be left out, if there are tensors.
        section: Name of the dict of weights.
        source: Name of the format that was tried, for messages.
        prefix: What stands before the name of every weight of the backbone.

    Raises:
        WeightsError: There is no such section, or it holds more than tensors.
    """
    if not isinstance(file.contents.get(section), Mapping):
        raise WeightsError(
            f"load_backbone: '{file.path}' must hold weights under '{section}' (read as {source}), "
            f"got {first_names([str(name) for name in file.contents])}"
        )
    beside = tuple(
        f"{name}.{inner}" if inner else str(name)
        for name, value in file.contents.items()
        if name != section
        for inner in _names_of_tensors(value)
    )
    tensors = unwrap(file, section).tensors(source)
    return ViTKeys(file.path, source, tensors, prefix, beside)


_SIDES = ("teacher", "student")  # the first is what authors evaluate
_PREFIXES = ("backbone.", "module.backbone.")  # the second behind torch's data parallelism


def open_teacher(file: WeightsFile, *, source: str) -> ViTKeys:
    """Return the backbone of the teacher in a checkpoint of training, or else of the student.

    Raises:
        WeightsError: Neither is there, or one holds more than tensors.
    """
    for section, prefix in _sides(file):
        return open_section(file, section, source=f"{source}: {section}", prefix=prefix)
    raise WeightsError(
        f"load_backbone: '{file.path}' must hold a backbone under 'teacher' or 'student' "
        f"(read as {source}), got {first_names([str(name) for name in file.contents])}"
    )


def has_teacher(file: WeightsFile) -> bool:
    """Tell whether the file is a checkpoint of training with a teacher and a student."""
    return any(_sides(file))


def _sides(file: WeightsFile) -> Iterator[tuple[str, str]]:
    for section in _SIDES:
        for prefix in _PREFIXES:
            if has_blocks(unwrap(file, section), prefix):
                yield section, prefix


def _names_of_tensors(value: object) -> Iterator[str]:
    """Give the names below which there are tensors, in dicts of dicts; of each dict once."""
    waiting, seen = [("", value)], set[int]()
    while waiting:
        path, found = waiting.pop()
        if isinstance(found, Tensor):
            yield path
        elif isinstance(found, Mapping) and id(found) not in seen:
            seen.add(id(found))
            inner = [(f"{path}.{name}" if path else str(name), v) for name, v in found.items()]
            waiting += reversed(inner)
