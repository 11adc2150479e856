"""What is said, how urgently, and what not."""

from dataclasses import replace
from typing import Any

import pytest

from patchwise.checkup.findings import (
    expected_bad,
    image_findings,
    in_order,
    training_findings,
)
from patchwise.checkup.report import Finding, Proposal
from patchwise.checkup.survey import Survey
from patchwise.data.bad_images import BadImage
from patchwise.training.forecast import Forecast
from tests.checkup.test_survey import PHOTO, bad, seen, survey_of

GOOD = [seen(number) for number in range(3)]
COST = Forecast(
    steps=100, images=6400, images_per_s=10.0, seconds=640.0, peak_bytes=2**30, precision="bf16",
    measured={"bf16": 10.0},
)  # fmt: skip
PROPOSAL = Proposal("small", {}, "patchwise train x", {"train": {"epochs": 10.0}}, COST)


def findings(survey: Survey, images: int = 5_000, checked: int = 0) -> dict[str, Finding]:
    found = image_findings(
        survey, images=images, checked=checked or images, listing="A list leaves them out."
    )
    return {finding.what: finding for finding in found}


def only(found: dict[str, Finding], part: str) -> Finding:
    (finding,) = [finding for what, finding in found.items() if part in what]
    return finding


def bad_ones(count: int, reason: str = "tiny") -> list[BadImage]:
    return [bad(index, reason) for index in range(count)]


def many() -> Survey:
    return survey_of(*(seen(number) for number in range(1_000)))


def test_of_good_images_there_is_nothing_to_say() -> None:
    assert findings(many(), 1_000) == {}


def test_few_images_are_said_to_be() -> None:
    assert only(findings(survey_of(*GOOD), 3), "Few images").severity == "warning"
    assert not any("Few" in what for what in findings(many(), 2_000, 1_000))


def test_of_a_sample_is_said_that_it_is_one() -> None:
    found = findings(many(), 5_000, 1_000)
    assert only(found, "Only 1000 of 5000 images were read").severity == "note"


@pytest.mark.parametrize(("count", "severity"), [(10, "note"), (11, "warning")])
def test_bad_images_are_urgent_where_training_would_stop(count: int, severity: str) -> None:
    found = findings(survey_of(*GOOD, *bad_ones(count)))
    assert only(found, f"cannot be used: {count}").severity == severity
    kind = only(found, f"tiny: {count}")
    assert kind.severity == severity
    assert kind.names


def test_bad_images_of_a_sample_are_scaled_up() -> None:
    survey = survey_of(*GOOD, *bad_ones(3))
    assert only(findings(survey, 60, 6), "cannot be used: 3").severity == "warning"
    assert only(findings(survey, 6), "cannot be used: 3").severity == "note"


def test_how_many_bad_images_to_expect() -> None:
    survey = survey_of(*GOOD, *bad_ones(4))
    assert expected_bad(survey, images=7, checked=7) == 4
    assert expected_bad(survey, images=70, checked=7) == 60
    assert expected_bad(survey_of(*GOOD), images=30, checked=3) == 0


def test_every_reason_has_its_advice() -> None:
    reasons = ["unreadable", "empty", "truncated", "enormous", "elongated", "tiny"]
    found = findings(survey_of(*GOOD, *(bad(i, reason) for i, reason in enumerate(reasons))))
    texts = {only(found, f"- {reason}: 1").what.partition(": ")[2] for reason in reasons}
    assert len(texts) == len(reasons)
    assert all(texts)


def test_nothing_usable_is_the_only_error() -> None:
    found = findings(survey_of(*bad_ones(3)), 3)
    assert only(found, "No image can be used").severity == "error"
    assert not any(f.severity == "error" for f in findings(survey_of(*GOOD, *bad_ones(9))).values())


def test_copies_are_named_by_what_they_are_copies_of() -> None:
    same = only(findings(survey_of(seen(1), seen(2), seen(1), seen(1))), "Exact copies: 2, in 1")
    assert same.names == ("image 0 = image 2 and 1 more",)
    assert same.advice.endswith("A list leaves them out.")
    alike = only(findings(survey_of(seen(1), seen(2, look=1), seen(3))), "Near-duplicates")
    assert alike.names == ("image 0 = image 1",)


@pytest.mark.parametrize(("copies", "severity"), [(9, "note"), (11, "warning")])
def test_copies_are_urgent_if_they_are_many(copies: int, severity: str) -> None:
    survey = survey_of(*[seen(1)] * (copies + 1))
    assert only(findings(survey, 1_000), "Exact copies").severity == severity


def test_label_maps_are_told_with_their_folder() -> None:
    names = ["labels/0.png", "labels/1.png", "images/0.jpg"]
    flat = [seen(0, flat=0.99), seen(1, flat=0.99), seen(2)]
    found = only(findings(survey_of(*flat, names=names)), "label maps, masks or drawings?): 2")
    assert found.severity == "warning"
    assert "without labels. A list leaves them out." in found.advice
    alone = only(findings(survey_of(*flat[:2], names=names)), "drawings?): 2")
    assert alone.advice.endswith("the folder of the photographs.")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bits": 16}, "More than 8 bits a value: 1"),
        ({"channels": "CMYK"}, "CMYK: 1"),
        ({"transparent": True}, "Transparent: 1"),
        ({"frames": True}, "Several frames or pages: 1"),
        ({"turned": True}, "Turned by EXIF: 1"),
        ({"height": 3000, "width": 4000}, "Large images: a short side of 3000 px (median)"),
    ],
)
def test_unusual_pictures_are_noted(changes: dict[str, Any], said: str) -> None:
    header = PHOTO._replace(**changes)
    assert only(findings(survey_of(seen(header=header))), said).severity == "note"
    assert said not in findings(survey_of(seen()))


def test_the_most_important_comes_first_else_the_order_stays() -> None:
    kinds = ["note", "warning", "error", "note", "warning"]
    given = [Finding(kind, str(i)) for i, kind in enumerate(kinds)]  # type: ignore[arg-type]
    assert [finding.what for finding in in_order(given)] == ["2", "1", "4", "0", "3"]


def test_a_forecast_that_fits_gives_no_reason_to_say_anything() -> None:
    assert not [*training_findings(PROPOSAL, 2**31)]
    assert not [*training_findings(replace(PROPOSAL, forecast=None), 2**31)]
    assert not [*training_findings(PROPOSAL, 0)]  # memory that is not known


def test_memory_that_is_short_is_said_to_be() -> None:
    (finding,) = training_findings(PROPOSAL, 2**30)
    assert finding.what == "Training needs 1.0 of 1.0 GiB of memory"
    assert "train.accumulate=2" in finding.advice


def test_a_long_run_comes_with_what_fits_a_night() -> None:
    slow = replace(PROPOSAL, forecast=replace(COST, seconds=48 * 3600.0))
    (finding,) = training_findings(slow, 0)
    assert "2 d 00 h" in finding.what
    assert "train.epochs=2.5;" in finding.advice


def test_training_that_fails_is_an_error_with_its_reason() -> None:
    (finding,) = training_findings(replace(PROPOSAL, forecast=None, problem="too few"), 0)
    assert (finding.severity, finding.advice) == ("error", "too few")
