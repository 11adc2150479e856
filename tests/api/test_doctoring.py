"""Checking images as a user calls it from Python, on real files of every bad kind."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import patchwise
from patchwise.api import doctoring as module
from patchwise.api.doctoring import doctor
from patchwise.checkup.report import DoctorReport
from patchwise.configs.loader import apply_settings
from patchwise.data.source import open_source
from patchwise.data.synthetic import render_scenes
from patchwise.errors import ConfigError, DataError, RangeError, TrainingError
from patchwise.recipes import Facts, make_config
from patchwise.training.forecast import Forecast
from tests.checkup.conftest import saved_again
from tests.data.test_images import png_header

GOOD, BAD = 14, 12
COST = Forecast(10, 640, 10.0, 64.0, 2**20, "bf16", {"bf16": 10.0})


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATCHWISE_CACHE", str(tmp_path_factory.mktemp("cache")))


def scene(number: int) -> NDArray[np.uint8]:
    """Return a picture without flat places."""
    pixels = render_scenes(np.array([number]), size_px=96).images[0]
    noise = np.random.default_rng(number).integers(0, 5, pixels.shape)
    return np.asarray((pixels.astype(int) + noise).clip(0, 255), np.uint8)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """14 good images, 12 bad ones, two exact copies, two near-duplicates and three label maps."""
    folder = tmp_path / "photographs"
    for name in ("images", "bad", "labels"):
        (folder / name).mkdir(parents=True)
    for number in range(GOOD):
        Image.fromarray(scene(number)).save(folder / "images" / f"{number:02}.png")
    Image.fromarray(scene(0)).save(folder / "images" / "copy [red].bmp")
    Image.fromarray(scene(0)).save(folder / "images" / os.fsdecode(b"copy \xff.bmp"))
    Image.fromarray(saved_again(scene(1), quality=60)).save(folder / "images" / "again.jpg")
    small = Image.fromarray(scene(2)).resize((48, 48), Image.Resampling.LANCZOS)
    small.save(folder / "images" / "small.png")
    for number in range(3):
        label = np.zeros((96, 96), np.uint8)
        label[20 + number : 60, 30:50] = 255
        Image.fromarray(label).save(folder / "labels" / f"{number}.png")
    save_bad(folder / "bad")
    return folder


def save_bad(folder: Path) -> None:
    whole = (folder.parent / "images" / "00.png").read_bytes()
    for number in range(3):
        (folder / f"cut {number}.png").write_bytes(whole[: len(whole) // (2 + number)])
        Image.new("RGB", (8, 300)).save(folder / f"tiny {number}.png")
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("no image")
    (folder / "dead\nlink.jpg").symlink_to("nowhere")
    (folder / "bomb.png").write_bytes(png_header(60_000, 60_000))
    Image.new("RGB", (20, 200)).save(folder / "strip.png")
    Image.new("RGB", (200, 20)).save(folder / "strip 2.png")


def check(data: Path | str, **options: Any) -> DoctorReport:
    options = {"workers": 0, "forecast": False, "quiet": True, **options}
    return doctor(data, **options)


def reasons(report: DoctorReport) -> dict[str, int]:
    return {kind.reason: kind.images.count for kind in report.bad}


@pytest.mark.parametrize("workers", [0, 2])
def test_every_kind_of_image_is_counted(photographs: Path, workers: int) -> None:
    report = check(photographs, workers=workers)
    assert reasons(report) == {
        "truncated": 3, "tiny": 3, "unreadable": 2, "elongated": 2, "empty": 1, "enormous": 1,
    }  # fmt: skip
    usable = GOOD + 7
    assert (report.images, report.checked, report.usable) == (usable + BAD, usable + BAD, usable)
    assert (report.duplicates.extra, report.duplicates.groups) == (2, 1)
    assert (report.near_duplicates.extra, report.near_duplicates.groups) == (2, 2)
    assert report.left == usable - 4
    assert report.flat.count == 3
    assert report.flat.names == ("labels/0.png", "labels/1.png", "labels/2.png")
    assert report.pictures is not None
    assert report.pictures.formats == {"PNG": GOOD + 4, "BMP": 2, "JPEG": 1}
    assert report.pictures.channels == {"RGB": GOOD + 4, "grey": 3}


def test_names_are_relative_and_printable(photographs: Path) -> None:
    report = check(photographs)
    (group,) = report.duplicates.largest
    assert group.kept == "images/00.png"
    assert group.copies.names == ("images/copy [red].bmp", r"images/copy \xff.bmp")
    kept = {group.kept for group in report.near_duplicates.largest}
    assert kept == {"images/01.png", "images/02.png"}
    report.to_json().encode()


def pack(folder: Path) -> Path:
    return Path(shutil.make_archive(str(folder), "tar", folder))


def listed(folder: Path) -> Path:
    """Return a list of the images of a folder; of those that a line can hold."""
    files = sorted(os.fsencode(p) for p in folder.rglob("*.*") if p.is_file())
    (folder.parent / "all.txt").write_bytes(b"\n".join(files))
    return folder.parent / "all.txt"


@pytest.mark.parametrize("make", [pack, listed])
def test_archives_and_lists_are_checked_alike(
    photographs: Path, make: Callable[[Path], Path]
) -> None:
    loose, other = check(photographs), check(make(photographs))
    for name in ("usable", "left", "pictures"):
        assert getattr(other, name) == getattr(loose, name), name
    assert other.flat.count == 3
    assert reasons(other).keys() == reasons(loose).keys()


def test_scenes_can_be_checked() -> None:
    report = check("scenes:40")
    assert (report.images, report.usable) == (40, 40)
    assert report.pictures is not None
    assert report.pictures.formats == {"drawn": 40}


def test_the_list_holds_what_is_good_and_none_twice(photographs: Path, tmp_path: Path) -> None:
    report = check(photographs, write_list=tmp_path / "good.txt")
    assert report.written is not None
    assert report.written.images == GOOD
    assert report.proposal is not None
    assert f"patchwise train {tmp_path / 'good.txt'} --out runs/" in report.proposal.command
    again = check(tmp_path / "good.txt")
    assert (again.images, again.usable, again.left) == (GOOD, GOOD, GOOD)
    assert again.flat.count == 0
    assert len(open_source(tmp_path / "good.txt")) == GOOD
    shown = " ".join(finding.advice for finding in report.findings)
    assert "The list is without them." in shown


@pytest.mark.parametrize("names", [["0\n.png", "1\n.png"], ["0\n.png", "1.png"]])
def test_good_files_that_no_line_can_hold_are_told(names: list[str], tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    for number, name in enumerate(names):
        Image.fromarray(scene(number)).save(tmp_path / "x" / name)
    report = check(tmp_path / "x", write_list=tmp_path / "good.txt")
    broken = sum("\n" in name for name in names)
    what = f"{broken} good images are not in {tmp_path / 'good.txt'}"
    assert what in [finding.what for finding in report.findings]
    assert (report.written is None) == (broken == 2)
    assert (tmp_path / "good.txt").exists() == (broken == 1)
    assert report.proposal is not None
    trained_on = tmp_path / ("x" if broken == 2 else "good.txt")
    assert f"train {trained_on} --out" in report.proposal.command


def test_more_bad_images_than_usual_must_be_tolerated(photographs: Path) -> None:
    proposal = check(photographs).proposal
    assert proposal is not None
    assert proposal.settings == {"data.tolerated_bad_images": BAD}
    assert proposal.command.endswith(f"--set data.tolerated_bad_images={BAD}")
    assert proposal.config["data"]["tolerated_bad_images"] == BAD
    for path in list((photographs / "bad").iterdir())[:3]:
        path.unlink()
    fewer = check(photographs).proposal
    assert fewer is not None
    assert fewer.settings == {}


def test_what_is_proposed_is_what_the_recipe_gives(photographs: Path) -> None:
    proposal = check(photographs / "images").proposal
    assert proposal is not None
    config = make_config("small", Facts(images=GOOD + 4, short_side_px=96, device="cpu"))
    assert proposal.config["method"]["views"]["global_px"] == config.method.views.global_px
    assert proposal.config["train"]["epochs"] == config.train.epochs


def test_the_forecast_is_of_what_is_proposed(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, Any]] = []

    def pretend(data: Any, *, settings: dict[str, Any], quiet: bool) -> Any:
        asked.append((data, settings))
        config = make_config("small", Facts(100, 96, "cpu"))
        return apply_settings(config, {**settings, "train.precision": "bf16"}), COST

    monkeypatch.setattr(module, "forecast_training", pretend)
    report = check(photographs, forecast=True)
    assert report.proposal is not None
    assert report.proposal.forecast == COST
    assert report.proposal.config["train"]["precision"] == "bf16"
    check(photographs, forecast=True, write_list=tmp_path / "good.txt")
    assert asked == [
        (photographs, {"data.tolerated_bad_images": BAD}), (str(tmp_path / "good.txt"), {}),
    ]  # fmt: skip


def test_a_forecast_that_fails_is_a_finding(
    photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise TrainingError("train: memory must do,\ngot too little")

    monkeypatch.setattr(module, "forecast_training", fail)
    report = check(photographs, forecast=True)
    assert report.findings[0].what == "Training could not be tried"
    assert report.findings[0].advice == r"train: memory must do,\ngot too little"
    assert report.proposal is not None
    assert report.proposal.forecast is None


def test_training_is_really_tried(tmp_path: Path) -> None:
    for number in range(6):
        Image.fromarray(scene(number)[:32, :32]).save(tmp_path / f"{number}.png")
    report = doctor(tmp_path, quiet=True, workers=0)
    assert report.proposal is not None
    assert report.proposal.forecast is not None
    assert report.proposal.forecast.images_per_s > 0


def test_a_limit_spreads_and_says_so(photographs: Path) -> None:
    report = check(photographs, limit=6)
    assert (report.checked, report.images) == (6, GOOD + 7 + BAD)
    assert any(f"Only 6 of {report.images} images" in f.what for f in report.findings)
    assert check(photographs, limit=10_000).checked == report.images


def test_where_no_image_is_good_nothing_is_proposed(photographs: Path, tmp_path: Path) -> None:
    report = check(photographs / "bad", forecast=True, write_list=tmp_path / "good.txt")
    assert (report.usable, report.left, report.proposal, report.pictures) == (0, 0, None, None)
    assert report.findings[0].severity == "error"
    assert report.written is None
    assert not (tmp_path / "good.txt").exists()


def test_a_run_is_proposed_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for expected in ("runs/scenes-3", "runs/scenes-3-2", "runs/scenes-3-3"):
        proposal = check("scenes:3").proposal
        assert proposal is not None
        assert proposal.command == f"patchwise train scenes:3 --out {expected}"
        (tmp_path / expected).mkdir(parents=True)


def test_memory_counts_where_training_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "usable_memory", lambda: 2**20)
    config = make_config("small", Facts(100, 96, "cpu"))
    monkeypatch.setattr(module, "forecast_training", lambda *_, **__: (config, COST))
    assert any("GiB of memory" in f.what for f in check("scenes:9", forecast=True).findings)
    slow = replace(COST, peak_bytes=0)
    monkeypatch.setattr(module, "forecast_training", lambda *_, **__: (config, slow))
    assert not any("of memory" in f.what for f in check("scenes:9", forecast=True).findings)


def test_progress_goes_to_stderr(photographs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(photographs, quiet=False)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"read {GOOD + 7 + BAD} of {GOOD + 7 + BAD} images, {BAD} bad" in captured.err
    check(photographs)
    assert capsys.readouterr().err == ""


def test_the_public_names() -> None:
    assert patchwise.doctor is doctor
    assert patchwise.DoctorReport is DoctorReport


@pytest.mark.bad_input
def test_wrong_arguments_are_refused_before_reading(photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "is.txt").touch()
    for options, kind, message in [
        ({"workers": -1}, RangeError, "doctor: workers must lie in"),
        ({"limit": 0}, RangeError, "doctor: limit must be positive"),
        ({"limit": 3, "write_list": "x.txt"}, ConfigError, "must be left out with limit, got"),
        ({"write_list": tmp_path / "is.txt"}, DataError, "must be a new file"),
    ]:
        with pytest.raises(kind, match=message):
            check(photographs, **options)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="does not exist"):
        check(tmp_path / "nowhere")
