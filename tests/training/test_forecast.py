"""What a run will cost."""

import pytest

from patchwise.data.source import open_source
from patchwise.training.forecast import Measurement, make_forecast, measure
from patchwise.training.plan import build_training, count_bad_images, make_plan, open_stream
from tests.small_runs import run_config


def test_a_measurement_is_of_real_steps() -> None:
    plan = make_plan(run_config(), open_source("scenes:8"), None)
    training = build_training(plan, "float32")
    stream = open_stream(plan, count_bad_images(plan), start_step=0, say=print)
    measured = measure(training, stream)
    assert training.done >= 2
    assert measured.images_per_s > 0
    assert measured.peak_bytes > 50 * 2**20  # torch alone takes more


def test_the_forecast_scales_a_measurement_up() -> None:
    measured = {"float32": Measurement(50.0, 1000), "bf16": Measurement(100.0, 700)}
    cost = make_forecast(200, 32, "bf16", measured)  # type: ignore[arg-type]
    assert cost.images == 6400
    assert cost.seconds == pytest.approx(64)
    assert cost.peak_bytes == 700
    assert cost.measured == {"float32": 50.0, "bf16": 100.0}
