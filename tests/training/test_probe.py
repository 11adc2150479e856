"""What two steps need, measured in a process of its own."""

from dataclasses import replace
from pathlib import Path

import pytest

from patchwise.configs.backbone import ViTConfig
from patchwise.configs.run import RunConfig
from patchwise.errors import TrainingError
from patchwise.training.probe import make_batch, measure_need, probe, waiting_bytes
from tests.small_runs import COTAP_CONFIG, PWSELF_CONFIG, VIEWS, VIT, paired_batch, run_config


def test_a_process_of_its_own_measures_and_a_larger_backbone_needs_more() -> None:
    config = run_config(batch=6, accumulate=3)
    need = probe(config, 2)
    assert need is not None
    assert 100 * 2**20 < need.bytes < 4 * 2**30
    assert 0 < need.seconds < 100
    larger = probe(replace(config, backbone=ViTConfig(1024, 2, 8, patch_px=8, image_px=32)), 2)
    assert larger is not None
    # 25 million weights, for each of which five numbers are kept
    assert larger.bytes - need.bytes > 5 * 4 * 25_000_000


def test_it_is_steps_of_the_method_on_images_of_the_right_size() -> None:
    config = run_config()
    batch = make_batch(config, 3)["images"]
    assert batch.pixels.shape == (3, 3, 64, 85)
    square = replace(PWSELF_CONFIG, views=replace(VIEWS, base="square"))
    assert make_batch(replace(config, method=square), 3)["images"].pixels.shape == (3, 3, 64, 64)
    assert waiting_bytes(config) == 4 * 3 * 3 * 64 * 85
    assert measure_need(config, 1).bytes > 0


def test_methods_with_several_inputs_get_images_for_each() -> None:
    config = replace(run_config(), backbone=VIT, method=COTAP_CONFIG)
    assert make_batch(config, 2).keys() == paired_batch(0).keys()
    assert waiting_bytes(config) == 4 * waiting_bytes(run_config())
    assert measure_need(config, 2).bytes > 0


@pytest.mark.bad_input
def test_a_failure_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(config: RunConfig) -> str:
        return "recipe = 3"

    monkeypatch.setattr("patchwise.training.probe.dump_toml", broken)
    with pytest.raises(TrainingError, match=r"fit: two steps with 1 images at a time must be"):
        probe(run_config(), 1)
