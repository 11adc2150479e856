"""The best of a grid, and that the result says how it was chosen."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from patchwise.data.labelled import LabelledData, open_labelled_data
from patchwise.errors import RangeError
from patchwise.eval.images import KNNImages
from patchwise.eval.knn_cotap import KNNCoTAP
from patchwise.models.backbone import BackboneOutput
from tests.eval.tiny import Sighted, save_colours, subject_of

PROTOCOL = KNNCoTAP("p", resize_px=36, crop_px=32)


class Blurred(Sighted):
    """Sees little of the colours, so that settings matter."""

    def __call__(self, images: torch.Tensor, *, attention: bool = False) -> BackboneOutput:
        seen = super().__call__(images)
        noise = torch.sin(1e4 * seen.cls.sum(dim=1, keepdim=True) * torch.arange(1.0, 4))
        return replace(seen, cls=seen.cls + 6 * noise)


@pytest.fixture(params=[{"train": 30, "val": 20}, {"": 30}], ids=["two parts", "one"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> LabelledData:
    return open_labelled_data(save_colours(tmp_path, request.param))


def test_every_cell_is_what_the_single_setting_scores(data: LabelledData) -> None:
    protocol = replace(PROTOCOL, k=(20, 1), temperature=(0.5, 0.07))
    result = protocol.run(subject_of(Blurred()), data)
    expected = {}
    for k in (1, 20):
        for temperature in (0.07, 0.5):
            one = KNNImages("q", k, temperature, resize_px=36, crop_px=32, other_k=())
            single = one.run(subject_of(Blurred()), data)
            expected[f"k={k} T={temperature}"] = single.accuracy
            if result.selected == f"k={k} T={temperature}, chosen on the images that are scored":
                assert (result.top5, result.interval) == (single.top5, single.interval)
                assert result.num_memory == single.num_memory
    assert result.others == expected
    assert result.accuracy == max(expected.values()) > min(expected.values())
    first = next(name for name, value in expected.items() if value == result.accuracy)
    assert result.selected == f"{first}, chosen on the images that are scored"


def test_a_k_beyond_the_images_is_left_out(data: LabelledData) -> None:
    result = PROTOCOL.run(subject_of(Sighted()), data)
    assert {name.split()[0] for name in result.others} == {"k=5", "k=10", "k=20"}
    assert len(result.others) == 15
    assert result.selected == "k=5 T=0.05, chosen on the images that are scored"


@pytest.mark.bad_input
def test_the_smallest_k_must_fit(data: LabelledData) -> None:
    with pytest.raises(RangeError, match="memory must hold more than k=40 features, got 30"):
        replace(PROTOCOL, k=(50, 40)).run(subject_of(Sighted()), data)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"k": ()}, r"KNNCoTAP: number of k must lie in \[1, inf\], got 0"),
        ({"temperature": ()}, "number of temperatures must lie in"),
        ({"k": (5, 0)}, r"k\[1\] must be positive, got 0"),
        ({"temperature": (-1.0,)}, r"temperature\[0\] must be positive, got -1.0"),
        ({"crop_px": 40}, r"crop_px must lie in \[1, 36\], got 40"),
    ],
)
def test_settings_are_checked(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(RangeError, match=message):
        replace(PROTOCOL, **changed)
