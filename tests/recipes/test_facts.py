"""What is known before a recipe is made."""

from pathlib import Path

import pytest
from PIL import Image

from patchwise.data.source import open_source
from patchwise.errors import DataError
from patchwise.recipes import Facts, read_facts


def test_a_cpu_that_trains_spares_one_process_for_reading() -> None:
    assert Facts(1, 64, "cpu").workers == 1
    assert 1 <= Facts(1, 64, "cuda").workers <= 12


def test_facts_are_read_off_the_images(tmp_path: Path) -> None:
    for index, size in enumerate([(40, 80), (60, 50), (90, 300)]):
        Image.new("RGB", size).save(tmp_path / f"{index}.png")
    (tmp_path / "broken.png").touch()
    assert read_facts(open_source(tmp_path), "cpu") == Facts(4, 50, "cpu")


@pytest.mark.bad_input
def test_a_folder_of_broken_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "broken.png").touch()
    with pytest.raises(DataError, match=r"must hold readable images, got none among the 1 tried"):
        read_facts(open_source(tmp_path), "cpu")
