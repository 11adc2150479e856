"""A linear layer on CLS features: against logistic regression, and its batches."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from patchwise.data.labelled import LabelledData, open_labelled_data
from patchwise.errors import DataError, RangeError
from patchwise.eval import linear_cotap as module
from patchwise.eval.linear_cotap import LinearCoTAP
from patchwise.eval.linear_dino import score_features
from patchwise.features.read import read_cls
from patchwise.features.transform import CentreCrop
from patchwise.models.backbone import BackboneOutput
from tests.eval.test_knn_cotap import Blurred
from tests.eval.tiny import Sighted, save_colours, subject_of

PROTOCOL = LinearCoTAP("p", steps=400, batch=40, rate=0.1, resize_px=36, crop_px=32)


@pytest.fixture
def data(tmp_path: Path) -> LabelledData:
    return open_labelled_data(save_colours(tmp_path, {"train": 40, "val": 20}))


def test_it_scores_as_a_logistic_regression(data: LabelledData) -> None:
    assert data.test is not None
    subject, transform = subject_of(Blurred()), CentreCrop(36, 32)
    fit, test = (read_cls(subject, part, transform).numpy() for part in (data.fit, data.test))
    model = LogisticRegression(C=1e6, max_iter=5000).fit(fit, data.fit.labels)
    result = PROTOCOL.run(subject, data)
    expected = float(np.mean(model.predict(test) == data.test_labels))
    assert expected > 0.5
    assert result.accuracy == pytest.approx(expected, abs=0.05)


def test_features_are_computed_once_and_not_scaled(data: LabelledData) -> None:
    shown = []

    class Counting(Sighted):
        def __call__(self, images: torch.Tensor, *, attention: bool = False) -> BackboneOutput:
            shown.append(len(images))
            seen = super().__call__(images)
            return replace(seen, cls=seen.cls.abs().sum(dim=1, keepdim=True) * seen.cls)

    assert PROTOCOL.run(subject_of(Counting()), data).accuracy == 1
    assert sum(shown) == 60


def test_more_steps_learn_more_and_the_seed_draws(data: LabelledData) -> None:
    few = replace(PROTOCOL, steps=1, rate=1e-4)
    subject = subject_of(Blurred())
    accuracies = {replace(few, seed=seed).run(subject, data).accuracy for seed in range(4)}
    assert len(accuracies) > 1
    assert few.run(subject, data).accuracy == few.run(subject, data).accuracy


def test_batches_follow_from_the_seed(data: LabelledData, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same weights at first, another seed still gives other scores."""
    monkeypatch.setattr(module, "draw_head", lambda make, *_, device: make().to(device))
    few = replace(PROTOCOL, steps=2, batch=4, rate=1.0)
    scores: list[torch.Tensor] = []

    def noting(head: torch.nn.Linear, features: torch.Tensor) -> torch.Tensor:
        scores.append(head.weight.detach())
        return score_features(head, features)

    monkeypatch.setattr(module, "score_features", noting)
    for seed in (0, 0, 1):
        torch.manual_seed(0)
        replace(few, seed=seed).run(subject_of(Blurred()), data)
    assert torch.equal(scores[0], scores[1])
    assert not torch.equal(scores[0], scores[2])


@pytest.mark.bad_input
def test_one_part_is_not_enough(tmp_path: Path) -> None:
    data = open_labelled_data(save_colours(tmp_path, {"": 8}))
    with pytest.raises(DataError, match="data of p must have two parts, train and val, got one"):
        PROTOCOL.run(subject_of(Sighted()), data)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"steps": 0}, "LinearCoTAP: steps must be positive, got 0"),
        ({"rate": -1.0}, "rate must be positive, got -1.0"),
        ({"crop_px": 40}, r"crop_px must lie in \[1, 36\], got 40"),
    ],
)
def test_settings_are_checked(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(RangeError, match=message):
        replace(PROTOCOL, **changed)
