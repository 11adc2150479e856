"""The page of parity: every model that tests make is on it, as the command wrote it."""

import re

import pytest
from studies.parity import PAGE, Row, authors_rows, compare, page, read_rows

from tests.models.weights.peers import peer_names
from tests.models.weights.published import FAMILIES


def test_the_page_is_what_the_results_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(read_rows())


def test_every_model_is_on_it() -> None:
    rows = [(row.library.split()[0], row.model) for row in read_rows()]
    assert rows == peer_names() + [("authors'", family.name) for family in FAMILIES]


def test_all_differences_are_small() -> None:
    assert all(max(row.cls, row.patches) < 1e-5 for row in read_rows())


def test_a_row_is_measured() -> None:
    for name in ("timm", "transformers"):
        pytest.importorskip(name)
    row = compare("timm", "DINOv2, registers")
    assert re.fullmatch(r"timm \d+\.\d+\.\d+.*", row.library)
    assert (row.read, row.left_out) == (35, ())
    assert max(row.cls, row.patches) < 1e-5
    row = compare("transformers", "Dinov2, classifier")
    assert row.left_out == ("classifier.*", "dinov2.embeddings.mask_token")


def test_files_by_the_authors_names_are_measured() -> None:
    (row,) = authors_rows(FAMILIES[:1])
    assert row == Row("authors' names", "DINO", 0.0, 0.0, 30, ())


def test_differences_are_shown_as_they_are() -> None:
    shown = page([Row("a", "b", 0.0, 1.24e-6, 3, ("x.*", "y"))])
    assert "| a | b | 0 | 1.2e-06 | 3 | `x.*`, `y` |" in shown
