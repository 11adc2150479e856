"""Linear segmentation at 100 pixels: sizes, schedule, and the order of layer and enlargement."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from patchwise.errors import RangeError
from patchwise.eval.heads import LinearHead
from patchwise.eval.linseg_leopart import LinearLeopart, thin
from tests.eval.sources import Coordinates
from tests.eval.test_segmentation_probe import Noting, noting_learner
from tests.eval.tiny import ColourBlocks, Sighted, colour_data, subject_of

PROTOCOL = LinearLeopart("p", size_px=32, label_px=10, epochs=6, drop_epoch=4, batch=8, rate=0.5)


def train(protocol: LinearLeopart, count: int = 24) -> tuple[Noting, list[int]]:
    noting = noting_learner()
    return noting, list(protocol.train(noting, ColourBlocks(count)))


@pytest.mark.parametrize(("size_px", "label_px"), [(448, 100), (32, 10), (224, 100), (20, 20)])
def test_labels_are_thinned_as_by_nearest_neighbours(size_px: int, label_px: int) -> None:
    labels = torch.randint(256, (2, size_px, size_px), dtype=torch.uint8)
    expected = F.interpolate(labels[:, None].float(), size=(label_px, label_px), mode="nearest")
    assert torch.equal(thin(labels, label_px).float(), expected[:, 0])
    assert torch.equal(thin(labels[0], label_px), thin(labels, label_px)[0])


def test_a_layer_before_the_enlargement_gives_the_same_scores() -> None:
    head, features = LinearHead(6, 4), torch.randn(2, 7, 7, 6)
    first = F.interpolate(head(features), size=(25, 25), mode="bilinear")
    enlarged = F.interpolate(features.movedim(-1, 1), size=(25, 25), mode="bilinear")
    torch.testing.assert_close(first, head(enlarged.movedim(1, -1)), atol=1e-5, rtol=1e-5)


def test_the_rate_drops_to_a_tenth_and_every_epoch_is_tested() -> None:
    noting, tested = train(PROTOCOL)
    assert noting.rates == [0.5] * 12 + [pytest.approx(0.05)] * 6
    assert tested == [3, 6, 9, 12, 15, 18]
    assert train(replace(PROTOCOL, every_epoch=False))[1] == [18]
    for squares in noting.squares:
        assert squares.pixels.shape == (8, 3, 32, 32)
        assert squares.labels.shape == (8, 10, 10)


def test_the_optimiser_is_the_published_one() -> None:
    published = LinearLeopart("p")
    optimizer = published.learner(subject_of(Sighted()), LinearHead(3, 3)).optimizer
    assert isinstance(optimizer, torch.optim.SGD)
    found = {name: optimizer.defaults[name] for name in ("momentum", "weight_decay", "nesterov")}
    assert found == {"momentum": 0.9, "weight_decay": 1e-4, "nesterov": False}
    assert not published.learner(subject_of(Sighted()), LinearHead(3, 3)).half_precision


def test_test_labels_are_thinned_too() -> None:
    learner = PROTOCOL.learner(subject_of(Sighted()), LinearHead(3, 3))
    (seen,) = PROTOCOL.see(learner, Coordinates(64, 32), range(4))
    assert seen.features.shape == (4, 4, 4, 3)
    columns = torch.tensor([0, 3, 6, 9, 12, 16, 19, 22, 25, 28], dtype=torch.uint8)
    for label in seen.labels:
        assert torch.equal(label, columns.expand(10, 10))
    assert all(classes.shape == (10, 10) for classes in PROTOCOL.predict(learner, seen))


def test_it_learns_and_the_best_epoch_stands_beside_the_last() -> None:
    result = replace(PROTOCOL, epochs=15, drop_epoch=12).run(subject_of(Sighted()), colour_data())
    assert result.miou > 0.95
    assert result.best_miou is not None
    assert result.best_miou >= result.miou


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"label_px": 33}, r"LinearLeopart: label_px must lie in \[1, 32\], got 33"),
        ({"momentum": 1.5}, r"momentum must lie in \[0, 1\], got 1.5"),
        ({"epochs": 0}, "epochs must be positive, got 0"),
        ({"flip_prob": -1.0}, "flip_prob must lie in"),
    ],
)
def test_settings_are_checked(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(RangeError, match=message):
        replace(PROTOCOL, **changed)
