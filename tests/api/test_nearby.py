"""Neighbours of a run: by which features, kept where, and read again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import patchwise
from patchwise.api.nearby import find_nearby, read_kept, read_nearby, refresher, write_nearby
from patchwise.data.source import open_source
from patchwise.errors import CheckpointError
from patchwise.training.folder import RunFolder
from patchwise.training.plan import Plan
from tests.small_runs import COTAP_CONFIG, run_config, small_filtered, small_vit


def plan_of(*sources: str) -> Plan:
    opened = [open_source(source) for source in sources]
    by_input = {"scenes": opened[0], "objects": opened[-1]}
    made_up = {name: np.zeros((len(s), 1), np.int64) for name, s in by_input.items()}
    config = replace(run_config(), backbone=small_vit().config, method=COTAP_CONFIG)
    return Plan(config, small_vit().eval(), by_input, made_up)


def test_images_of_one_set_are_searched_once() -> None:
    said: list[str] = []
    found = find_nearby(plan_of("scenes:8"), by=None, cache=None, say=said.append)
    assert found.keys() == {"scenes", "objects"}
    assert found["scenes"] is found["objects"]
    assert said[0] == "finding the neighbours of 8 images of scenes:8"
    assert sum("finding" in line for line in said) == 1
    ids = found["scenes"].ids
    assert ids.shape == (8, 2)
    assert not (ids == np.arange(8)[:, None]).any()


def test_each_of_two_sets_has_its_own() -> None:
    found = find_nearby(plan_of("scenes:8", "scenes:6"), by=None, cache=None, say=print)
    assert [len(found[name]) for name in ("scenes", "objects")] == [8, 6]


def test_they_are_those_of_the_weights_that_are_asked_for(tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    patchwise.save_backbone(small_vit(3), other)
    plan = plan_of("scenes:12")
    own = find_nearby(plan, by=None, cache=None, say=print)["scenes"]
    theirs = find_nearby(plan, by=other, cache=None, say=print)["scenes"]
    assert not np.array_equal(own.cosines, theirs.cosines)


def test_a_folder_keeps_them_for_other_runs(tmp_path: Path) -> None:
    said: list[str] = []
    plan = plan_of("scenes:8")
    first = find_nearby(plan, by=None, cache=tmp_path, say=said.append)["scenes"]
    assert not any("there already" in line for line in said)
    again = find_nearby(plan, by=None, cache=tmp_path, say=said.append)["scenes"]
    assert any("there already" in line for line in said)
    np.testing.assert_array_equal(first.ids, again.ids)


def test_methods_without_neighbours_find_none() -> None:
    source = open_source("scenes:8")
    plan = Plan(run_config(), small_vit(), {"images": source})
    assert find_nearby(plan, by=None, cache=None, say=print) == {}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run's folder with neighbours."""
    plan, made = plan_of("scenes:8", "scenes:6"), RunFolder(tmp_path)
    write_nearby(find_nearby(plan, by=None, cache=None, say=print), plan, made)
    return made


def test_a_run_reads_what_it_wrote(folder: RunFolder) -> None:
    plan = plan_of("scenes:8", "scenes:6")
    found = find_nearby(plan, by=None, cache=None, say=print)
    kept = read_nearby(plan, folder)
    assert kept.keys() == found.keys()
    for name, ids in kept.items():
        np.testing.assert_array_equal(ids, found[name].ids)
        shown = read_kept(folder.neighbours(name), plan.sources[name])
        np.testing.assert_array_equal(shown.cosines, found[name].cosines)


def test_they_are_found_anew_by_the_backbone_that_is_trained_and_kept(folder: RunFolder) -> None:
    plan = plan_of("scenes:8", "scenes:6")
    said: list[str] = []
    refresh = refresher(plan, folder, said.append)
    found = refresh(5, small_filtered())
    assert sum("finding" in line for line in said) == 2
    wanted = find_nearby(replace(plan, initial=small_filtered()), by=None, cache=None, say=print)
    for name, ids in found.items():
        np.testing.assert_array_equal(ids, wanted[name].ids)
    said.clear()
    again = refresh(5, small_vit(3).eval())  # a run that goes on: they are there
    none = refresh(5, None)
    assert not said
    for name, ids in found.items():
        np.testing.assert_array_equal(again[name], ids)
        np.testing.assert_array_equal(none[name], ids)
    read_nearby(plan, folder)  # those of the beginning stay
    with pytest.raises(CheckpointError, match="must hold the neighbours"):
        refresh(6, None)


@pytest.mark.bad_input
@pytest.mark.parametrize("damage", ["missing", "cut", "changed", "other images"])
def test_what_is_missing_damaged_or_of_other_images_is_refused(
    folder: RunFolder, damage: str
) -> None:
    path = folder.neighbours("objects")
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[:-9])
    elif damage == "changed":
        content[-1] ^= 1
        path.write_bytes(content)
    plan = plan_of("scenes:8", "scenes:7" if damage == "other images" else "scenes:6")
    with pytest.raises(CheckpointError, match=r"neighbours-objects.* must hold the neighbours of"):
        read_nearby(plan, folder)


def test_they_are_found_anew_once_and_kept(tmp_path: Path) -> None:
    plan, folder, said = plan_of("scenes:8", "scenes:6"), RunFolder(tmp_path), list[str]()
    refresh = refresher(plan, folder, said.append)
    student = small_filtered(3)
    found = refresh(5, student)
    assert sum("finding" in line for line in said) == 2
    other = tmp_path / "other.safetensors"
    patchwise.save_backbone(student, other)
    for name, nearby in find_nearby(plan, by=other, cache=None, say=print).items():
        np.testing.assert_array_equal(found[name], nearby.ids)
        assert folder.neighbours(name, 5).exists()
        assert not folder.neighbours(name).exists()
    said.clear()
    for again in (refresh(5, student), refresh(5, None)):
        for name, ids in again.items():
            np.testing.assert_array_equal(ids, found[name])
    assert not said


def test_a_search_that_was_killed_between_two_sets_is_made_again(tmp_path: Path) -> None:
    plan, folder = plan_of("scenes:8", "scenes:6"), RunFolder(tmp_path)
    first = refresher(plan, folder, print)(5, small_vit(3).eval())
    folder.neighbours("objects", 5).unlink()
    again = refresher(plan, folder, print)(5, small_vit(3).eval())
    for name, ids in first.items():
        np.testing.assert_array_equal(again[name], ids)


@pytest.mark.bad_input
def test_without_the_backbone_of_its_step_nothing_is_searched(tmp_path: Path) -> None:
    refresh = refresher(plan_of("scenes:8"), RunFolder(tmp_path), print)
    with pytest.raises(CheckpointError, match="must hold the neighbours of the run"):
        refresh(5, None)
