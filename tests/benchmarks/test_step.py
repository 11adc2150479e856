"""Ratios must be the right way up, and one variant must run alone."""

import pytest
from benchmarks.setting import Setting
from benchmarks.step import VARIANTS, Measured, arguments_of, run_one, table


def test_ratios_are_times_faster_than_the_reference_and_slower_than_the_floor() -> None:
    seconds = {"reference": 8.0, "floor": 1.0, "pwself": 2.0, "dino": 0.5, "lightly-dino": 1.5}
    text = table([Measured(name, Setting(), s, 100.0) for name, s in seconds.items()])
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line}
    assert rows["pwself"] == ["4.00", "2.000", "100", "4.00", "2.00"]
    assert rows["reference"] == ["1.00", "8.000", "100", "1.00", "8.00"]
    assert "time of pwself / dino: 4.00" in text
    assert "speed of dino / lightly-dino: 3.00" in text


def test_what_was_not_measured_has_no_ratio() -> None:
    text = table([Measured("pwself", Setting(), 2.0, 100.0)])
    assert "time of pwself / dino: -" in text


def test_a_command_line_tells_all_of_a_setting() -> None:
    setting = Setting(7, "bf16", 3, 2, shared_geometry=True, recolour_patches=True)
    told = arguments_of("floor", setting, 4)
    for option, value in {
        "--alone": "floor", "--prototypes": "7", "--precision": "bf16", "--batch": "3",
        "--locals": "2", "--rounds": "4",
    }.items():  # fmt: skip
        assert told[told.index(option) + 1] == value
    assert {"--shared-geometry", "--recolour"} <= set(told)
    plain = arguments_of("floor", Setting(), 4)
    assert not {"--shared-geometry", "--recolour"} & set(plain)


@pytest.mark.slow
@pytest.mark.parametrize("variant", sorted(VARIANTS.keys() - {"lightly-dino"}))
def test_each_variant_runs_alone(variant: str, capsys: pytest.CaptureFixture[str]) -> None:
    run_one(variant, Setting(prototypes=16, batch=1, local_count=1), 1)
    assert float(capsys.readouterr().out.split()[-1]) > 0
