"""Images, labels and a class list; what can be wrong with them is in test_segmentation.py."""

from pathlib import Path

import pytest

from patchwise.data.layouts.pixels import open_pixels
from patchwise.errors import DataError
from tests.data.layouts.trees import make_pixels


def test_parts_are_those_that_the_list_names(tmp_path: Path) -> None:
    root = make_pixels(tmp_path / "mine")
    (root / "classes.yaml").write_text("{classes: [a, b], fit: val, test: train}")
    parts = open_pixels(root)
    assert parts.name == "mine"
    assert parts.classes.names == ("a", "b")
    assert (parts.fit.labels, parts.test.labels) == (root / "labels/val", root / "labels/train")
    assert (parts.fit.images.root.name, parts.test.images.root.name) == ("val", "train")


@pytest.mark.bad_input
def test_unknown_values_are_to_be_put_into_the_list(tmp_path: Path) -> None:
    root = make_pixels(tmp_path)
    (root / "classes.yaml").write_text("[a]")
    with pytest.raises(DataError, match=r"got \[1\]; name them in classes.yaml under classes or"):
        open_pixels(root).fit.label(0)
