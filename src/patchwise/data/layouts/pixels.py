"""Images, a label PNG for each, and a list of classes."""

from pathlib import Path

from patchwise.data.class_list import read_class_list
from patchwise.data.label_files import LabelledFolder, Parts, open_matched


def open_pixels(root: Path) -> Parts:
    """Open ``images/<part>/...``, ``labels/<part>/...`` and ``classes.yaml``.

    The class list names the two parts, and what the values stand for; see `open_segmentation`.

    Raises:
        DataError: Something is missing or wrong.
    """
    classes = read_class_list(root)

    def open_part(part: str) -> LabelledFolder:
        return open_matched(root / "images" / part, root / "labels" / part, classes)

    return Parts(root.name, classes, open_part(classes.fit), open_part(classes.test))
