"""Linear segmentation: what it learns, against a logistic regression of the same pixels."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from patchwise.eval.heads import LinearHead
from patchwise.eval.linseg import LinearSegmentation
from patchwise.eval.squares import read_squares
from patchwise.features.look import look
from tests.eval.tiny import Sighted, colour_data, subject_of

PROTOCOL = LinearSegmentation(
    "p", train_px=32, test_px=32, steps=60, batch=8, rate=0.1, half_precision=False,
    every_epoch=False,
)  # fmt: skip


def test_the_rate_is_constant_and_the_head_one_layer() -> None:
    assert {PROTOCOL.rate_at(step) for step in range(60)} == {0.1}
    head = PROTOCOL.make_head(5, 4)
    assert isinstance(head, LinearHead)
    assert head.linear.weight.shape == (4, 5)


def test_it_learns_from_the_labels() -> None:
    scores = [
        replace(PROTOCOL, steps=steps).run(subject_of(Sighted()), colour_data()).miou
        for steps in (1, 60)
    ]
    assert scores[0] < 0.8
    assert scores[1] > 0.97


def test_it_scores_as_a_logistic_regression_of_patches() -> None:
    """Every patch of the blocks is of one class, so that patches stand for their pixels."""
    data = colour_data()
    fit, test = (
        next(read_squares(part, range(len(part)), size_px=32, batch=99))
        for part in (data.fit, data.test)
    )
    features, labels = [], []
    for squares in (fit, test):
        features.append(look(Sighted(), squares.pixels).patches.flatten(0, 1).numpy())
        labels.append(squares.labels[:, 4::8, 4::8].flatten().numpy())
    model = LogisticRegression(max_iter=1000).fit(features[0], labels[0])
    expected = float(np.mean(model.predict(features[1]) == labels[1]))
    result = PROTOCOL.run(subject_of(Sighted()), data)
    assert result.pixel_accuracy == pytest.approx(expected, abs=0.02)
