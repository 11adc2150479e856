"""What a layout with a class for every pixel is opened to."""

from dataclasses import dataclass

from patchwise.data.class_list import ClassList
from patchwise.data.label_files import LabelledFolder


@dataclass(frozen=True)
class Parts:
    """A data set: its name, its classes, and the two parts to learn from and to score."""

    name: str
    classes: ClassList
    fit: LabelledFolder
    test: LabelledFolder
