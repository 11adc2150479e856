"""Views against PIL's, in grey levels: on scenes always, on photographs where there are any."""

import pytest
from benchmarks.photographs import are_there, photographs, scenes
from benchmarks.pil_differences import differences

# Most mean absolute differences, by how the name of what was done begins; the longest name counts.
# PIL rounds to 8 bits, which alone is 0.25; blending cuts fractions off, HSV has 8 bits for a hue.
MOST = {
    "crop": 0.35,
    "grayscale": 0.3,
    "solarise": 1e-4,
    "brightness": 0.45,
    "contrast": 0.5,
    "saturation": 0.48,
    "hue": 1.2,
    "hue -0.1, cut": 0.55,
    "hue 0.05, cut": 0.55,
    "hue 0.1, cut": 0.55,
    "blur": 0.55,
    "blur, a Gaussian": 1e-4,
    "all": 1.7,
}


@pytest.mark.parametrize("real", [False, True])
def test_views_differ_from_pil_by_its_rounding(real: bool) -> None:
    if real and not are_there():
        pytest.skip("needs PATCHWISE_DATA, a folder with photographs")
    found = differences(photographs(8) if real else scenes(8))
    assert len(found) == 22
    for name, difference in found.items():
        limit = max((start for start in MOST if name.startswith(start)), key=len)
        assert difference <= MOST[limit], f"{name}: {difference:.3f} of {MOST[limit]}"
