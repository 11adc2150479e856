"""Ratios must be those of the floor, and one variant must run alone."""

import pytest
from benchmarks.cotap_setting import CoTAPSetting
from benchmarks.cotap_step import (
    MEMORY_STEPS,
    VARIANTS,
    Measured,
    arguments_of,
    build_step,
    run_one,
    table,
)
from benchmarks.setting import Act

from patchwise.methods.cotap import CoTAP, CoTAPViews
from patchwise.methods.method import Batch, Step


def test_ratios_are_times_of_the_floor() -> None:
    setting, seconds = CoTAPSetting(batch=4), {"floor": 2.0, "step": 2.5}
    text = table([Measured(name, setting, s, 2 * s, 100.0) for name, s in seconds.items()])
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line}
    assert rows["floor"] == ["4.00", "2.000", "4.000", "100", "1.00"]
    assert rows["step"] == ["3.20", "2.500", "5.000", "100", "1.25"]
    assert "4 images of each set" in text


def test_without_a_floor_there_is_no_ratio() -> None:
    text = table([Measured("step", CoTAPSetting(), 2.0, 2.0, 100.0)])
    assert text.split()[-1] == "-"


def test_a_command_line_tells_all_of_a_setting() -> None:
    told = arguments_of("floor", CoTAPSetting("paper", "bf16", 3))
    wanted = {"--alone": "floor", "--size": "paper", "--precision": "bf16", "--batch": "3"}
    assert {option: told[told.index(option) + 1] for option in wanted} == wanted


@pytest.mark.parametrize("with_views", [False, True])
def test_views_are_made_each_time_only_if_asked_for(
    with_views: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, original = [], CoTAP.make_views

    def counted(method: CoTAP, batch: Batch, step: Step) -> CoTAPViews:
        made.append(step)
        return original(method, batch, step)

    monkeypatch.setattr(CoTAP, "make_views", counted)
    act = build_step(CoTAPSetting(batch=2), with_views=with_views)
    act()
    act()
    assert len(made) == (2 if with_views else 1)


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_each_variant_runs_alone_twice(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    build, done = VARIANTS[variant], []

    def counted(setting: CoTAPSetting) -> Act:
        act = build(setting)

        def act_and_count() -> None:
            act()
            done.append(variant)

        return act_and_count

    monkeypatch.setitem(VARIANTS, variant, counted)
    run_one(variant, CoTAPSetting(batch=2))
    assert len(done) == MEMORY_STEPS == 2
