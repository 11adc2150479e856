"""What is counted of images, from what is known of each."""

import numpy as np
import pytest

from patchwise.checkup.examine import Examined, Seen
from patchwise.checkup.hashing import look_at, pixel_digest
from patchwise.checkup.report import Copies, CopyGroup, Named, Spread
from patchwise.checkup.survey import NAMED, Survey
from patchwise.data.bad_images import BadImage
from patchwise.data.header import ImageHeader
from tests.checkup.conftest import Picture, saved_again

PHOTO = ImageHeader("JPEG", "RGB", 8, 20, 40, turned=False, transparent=False, frames=False)


def seen(
    number: int = 0, *, header: ImageHeader = PHOTO, look: int | None = None, flat: float = 0.1
) -> Seen:
    """Return an image whose pixels, and whose look if none is given, are told by a number."""
    rng = np.random.default_rng(number if look is None else look)
    picture = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    return Seen(header, number.to_bytes(16, "big"), look_at(picture), flat)


def survey_of(*found: Seen | BadImage, names: list[str] | None = None) -> Survey:
    survey = Survey(lambda index: names[index] if names else f"image {index}")
    for index, one in enumerate(found):
        survey.add(Examined(index, one))
    return survey


def bad(index: int, reason: str) -> BadImage:
    return BadImage(index, f"/long/path/{index}", reason, f"{index} is {reason}")  # type: ignore[arg-type]


def test_bad_images_are_counted_by_reason_and_named() -> None:
    reasons = ["tiny"] * 2 + ["empty"] * (NAMED + 2) + ["truncated"]
    survey = survey_of(*(bad(i, reason) for i, reason in enumerate(reasons)), seen())
    assert (survey.bad, survey.usable) == (len(reasons), 1)
    kinds = survey.bad_kinds()
    assert [(k.reason, k.images.count) for k in kinds] == [
        ("empty", NAMED + 2), ("tiny", 2), ("truncated", 1),
    ]  # fmt: skip
    assert kinds[0].images.names == ("image 2", "image 3", "image 4")
    assert kinds[0].example == "2 is empty"


def test_sizes_are_spread_over_sides_not_over_height_and_width() -> None:
    sizes = [(10 * i, 1000) if i % 2 else (1000, 10 * i) for i in range(2, 103)]
    survey = survey_of(*(seen(i, header=PHOTO._replace(height=h, width=w))
                         for i, (h, w) in enumerate(sizes)))  # fmt: skip
    pictures = survey.pictures()
    assert pictures is not None
    assert pictures.short_side_px == Spread(20, 70, 520, 970, 1000)
    assert pictures.long_side_px == Spread(1000, 1000, 1000, 1000, 1020)
    assert pictures.aspect == Spread(1.0, 1.03, 1.92, 14.29, 50.0)


def test_numbers_are_those_of_images_never_between_two() -> None:
    survey = survey_of(*(seen(i, header=PHOTO._replace(height=h)) for i, h in enumerate([16, 21])))
    pictures = survey.pictures()
    assert pictures is not None
    assert pictures.short_side_px.median in (16, 21)


def test_kinds_are_counted_the_most_frequent_first() -> None:
    headers = [
        PHOTO._replace(file_format="PNG", channels="grey", bits=16, turned=True),
        PHOTO,
        PHOTO._replace(transparent=True, frames=True),
    ]
    pictures = survey_of(*(seen(i, header=h) for i, h in enumerate(headers))).pictures()
    assert pictures is not None
    assert list(pictures.channels.items()) == [("RGB", 2), ("grey", 1)]
    assert list(pictures.bits.items()) == [("8", 2), ("16", 1)]
    assert list(pictures.formats.items()) == [("JPEG", 2), ("PNG", 1)]
    assert (pictures.turned, pictures.transparent, pictures.several_frames) == (1, 1, 1)


def test_exact_copies_are_told_from_near_duplicates() -> None:
    survey = survey_of(seen(1), seen(2), seen(1), bad(3, "tiny"), seen(5, look=2), seen(1))
    same, alike = survey.copies(survey.same_pixels), survey.copies(survey.same_look)
    assert same == Copies(2, 1, (CopyGroup("image 0", Named(2, ("image 2", "image 5"))),))
    assert alike == Copies(1, 1, (CopyGroup("image 1", Named(1, ("image 4",))),))
    assert survey.left().tolist() == [0, 1]


def test_of_near_duplicates_the_largest_picture_is_kept() -> None:
    sizes = [(20, 30), (200, 300), (100, 150)]
    survey = survey_of(*(seen(i, look=9, header=PHOTO._replace(height=h, width=w))
                         for i, (h, w) in enumerate(sizes)))  # fmt: skip
    assert survey.left().tolist() == [1]
    assert survey.copies(survey.same_look).largest[0].kept == "image 1"


def test_the_largest_groups_are_named_and_all_are_counted() -> None:
    numbers = [number for number in range(6) for _ in range(number + 1)]
    copies = survey_of(*(seen(number) for number in numbers)).copies
    found = copies([[i for i, n in enumerate(numbers) if n == number] for number in range(1, 6)])
    assert (found.extra, found.groups, len(found.largest)) == (15, 5, NAMED)
    assert [group.copies.count for group in found.largest] == [5, 4, 3]
    assert all(len(group.copies.names) == NAMED for group in found.largest)


def test_blank_and_flat_pictures_are_near_duplicates_of_nothing(picture: Picture) -> None:
    def plain(level: int) -> Seen:
        pixels = saved_again(np.full((40, 40, 3), level, np.uint8), quality=50)
        return Seen(PHOTO, pixel_digest(pixels), look_at(pixels), 0.3)

    assert len(survey_of(*(plain(level) for level in range(0, 250, 5))).left()) == 50
    masks = [seen(i, look=1, flat=0.97) for i in range(5)]
    assert len(survey_of(*masks).left()) == 5
    assert len(survey_of(*(mask._replace(flat_frac=0.5) for mask in masks)).left()) == 1


def test_folders_of_flat_pictures_are_named_by_the_outermost() -> None:
    names = [f"labels/{part}/{i}.png" for part in ("a", "b") for i in range(10)]
    names += [f"images/{i}.jpg" for i in range(20)] + ["masks/1.png", "x/1.jpg", "0.png"]
    flat = [name.startswith(("labels", "masks", "0")) for name in names]
    flat[3] = False  # nearly all is enough
    flat[25] = True  # a drawing among photographs
    survey = survey_of(*(seen(i, flat=0.95 if f else 0.3) for i, f in enumerate(flat)), names=names)
    assert survey.flat_folders == ("labels",)  # of one image in masks nothing follows
    assert survey.flat() == Named(22, tuple(names[:3]))
    found = [i for i in range(len(names)) if survey.is_flat_in_such_a_folder(i)]
    assert found == [i for i in range(20) if i != 3]


def test_where_everything_is_flat_no_folder_is_to_blame() -> None:
    names = [f"/all/icons/{i}.png" for i in range(5)]
    survey = survey_of(*(seen(i, flat=1.0) for i in range(5)), names=names)
    assert survey.flat_folders == ()
    assert survey.flat().count == 5


def test_bad_images_shift_nothing() -> None:
    """Places among the usable images are not numbers in the source."""
    names = ["bad.png", "labels/1.png", "bad.png", "labels/2.png", "a.png"]
    survey = survey_of(bad(0, "tiny"), seen(1, flat=1), bad(2, "tiny"), seen(1, flat=1), seen(2),
                       names=names)  # fmt: skip
    assert survey.left().tolist() == [1, 4]
    assert survey.flat().names == ("labels/1.png", "labels/2.png")
    assert [survey.is_flat_in_such_a_folder(i) for i in (1, 3, 4)] == [True, True, False]


@pytest.mark.parametrize("found", [(), (bad(0, "empty"),)])
def test_nothing_usable_is_no_error(found: tuple[BadImage, ...]) -> None:
    survey = survey_of(*found)
    assert survey.pictures() is None
    assert survey.left().tolist() == survey.same_look == survey.same_pixels == []
    assert survey.flat() == Named(0)
    assert survey.flat_folders == ()
