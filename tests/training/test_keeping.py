"""Whether images stay in memory."""

from dataclasses import replace

import pytest
import torch

from patchwise.configs.run import Keep, RunConfig
from patchwise.data.images import ResizeRule
from patchwise.data.source import open_source
from patchwise.errors import ConfigError
from patchwise.training import keeping
from patchwise.training.keeping import choose_residences, describe_residences, expected_bytes
from tests.small_runs import run_config

SOURCES = {"images": open_source("scenes:64"), "others": open_source("scenes:32")}
RULE = ResizeRule(base_px=64)
NEEDED = 96 * 3 * 64 * 64


def config(keep: Keep, epochs: float = 2.0) -> RunConfig:
    settings = run_config(epochs=epochs)
    return replace(settings, data=replace(settings.data, keep=keep))


def set_free(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(keeping, "free_memory", lambda device: number)


@pytest.mark.parametrize(("free", "kept"), [(4 * NEEDED, True), (4 * NEEDED - 4, False)])
def test_unasked_images_take_a_quarter_of_the_free_memory(
    monkeypatch: pytest.MonkeyPatch, free: int, kept: bool
) -> None:
    set_free(monkeypatch, free)
    found = choose_residences(config("auto"), SOURCES, RULE)
    assert set(found) == (set(SOURCES) if kept else set())


def test_inputs_of_one_source_share_its_images(monkeypatch: pytest.MonkeyPatch) -> None:
    set_free(monkeypatch, NEEDED)
    source = SOURCES["images"]
    both = {"scenes": source, "objects": source}
    found = choose_residences(config("device"), both, RULE)
    assert found["scenes"] is found["objects"]
    assert expected_bytes(found) == 64 * 3 * 64 * 64
    assert describe_residences(found, both).startswith("keeping 64 images, 1 MiB")


@pytest.mark.parametrize(("free", "kept"), [(2 * NEEDED, True), (2 * NEEDED - 2, False)])
def test_on_a_gpu_they_take_half(monkeypatch: pytest.MonkeyPatch, free: int, kept: bool) -> None:
    set_free(monkeypatch, free)
    wanted = config("auto")
    wanted = replace(wanted, train=replace(wanted.train, device="cuda"))
    found = choose_residences(wanted, SOURCES, RULE)
    assert set(found) == (set(SOURCES) if kept else set())
    assert all(residence.device.type == "cuda" for residence in found.values())


def test_asked_for_they_take_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    set_free(monkeypatch, NEEDED)
    found = choose_residences(config("device"), SOURCES, RULE)
    assert {name: each.expected_bytes for name, each in found.items()} == {
        "images": 64 * 3 * 64 * 64,
        "others": 32 * 3 * 64 * 64,
    }
    assert {each.device for each in found.values()} == {torch.device("cpu")}
    assert describe_residences(found, SOURCES) == (
        "keeping 96 images, 1 MiB, on cpu after the first epoch"
    )


@pytest.mark.bad_input
def test_asked_for_without_room_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    set_free(monkeypatch, NEEDED - 1)
    with pytest.raises(ConfigError) as caught:
        choose_residences(config("device"), SOURCES, RULE)
    assert str(caught.value) == (
        "config: key 'data.keep' must be 'none' or 'auto' where images take more than the 1 MiB "
        "that are free on cpu, got 'device' for 1 MiB of images"
    )


@pytest.mark.parametrize(
    ("keep", "epochs", "kept"),
    [("none", 2.0, False), ("auto", 1.0, False), ("device", 1.0, True), ("auto", 1.5, True)],
)
def test_a_run_of_one_epoch_keeps_nothing_unasked(keep: Keep, epochs: float, kept: bool) -> None:
    assert bool(choose_residences(config(keep, epochs), SOURCES, RULE)) == kept


def test_images_are_reckoned_as_they_are_resized() -> None:
    found = choose_residences(config("device"), SOURCES, ResizeRule(base_px=32))
    assert found["images"].expected_bytes == 64 * 3 * 32 * 32
