"""How heads learn: gradients against autograd in one piece, and what they see."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from patchwise.eval import segmentation_training as module
from patchwise.eval.heads import LinearHead, UpsamplingHead
from patchwise.eval.linseg import LinearSegmentation
from patchwise.eval.seen import Seen
from patchwise.eval.segmentation_training import Learner, PixelLoss, Probe, run_probe
from patchwise.eval.squares import Squares, read_squares
from patchwise.eval.upsampling_step import add_gradients
from patchwise.features.look import look
from patchwise.models.backbone import BackboneOutput
from tests.eval.sources import Coordinates
from tests.eval.tiny import ColourBlocks, Sighted, colour_data, subject_of
from tests.small_runs import small_vit

DRAW = torch.Generator().manual_seed(0)
PIXELS = torch.randint(256, (5, 3, 16, 24), dtype=torch.uint8, generator=DRAW)
DATA = colour_data()


class Counting(Sighted):
    """Notes how many images it was shown at a time."""

    def __init__(self) -> None:
        self.shown: list[int] = []

    def __call__(self, images: Tensor, *, attention: bool = False) -> BackboneOutput:
        self.shown.append(len(images))
        return super().__call__(images)


def learner(backbone: Sighted | None = None, *, batch: int = 32) -> Learner:
    head = LinearHead(3, 3)
    optimizer = torch.optim.SGD(head.parameters(), lr=1.0)
    return Learner(replace(subject_of(backbone or Sighted()), batch=batch), head, optimizer)


@pytest.mark.parametrize("held", [1, 500, 2**24])
@pytest.mark.parametrize("ignored", [0.0, 0.5, 1.0])
def test_gradients_are_those_of_the_mean_over_labelled_pixels(
    held: int, ignored: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_HELD", held)
    weight = torch.randn(4, 6, generator=DRAW, requires_grad=True)
    features = torch.randn(3, 6, 2, 3, generator=DRAW)
    labels = torch.randint(4, (3, 8, 10), generator=DRAW).to(torch.uint8)
    labels[torch.rand(labels.shape, generator=DRAW) < ignored] = 255
    loss = PixelLoss(labels)
    for first, stop in ((2, 3), (0, 2)):  # in any order
        loss.backward(torch.einsum("kd,bdhw->bkhw", weight, features[first:stop]), first)
    if ignored == 1:
        assert weight.grad is not None
        assert not weight.grad.any()
        return
    maps = torch.einsum("kd,bdhw->bkhw", weight, features)
    scores = F.interpolate(maps, size=(8, 10), mode="bilinear", align_corners=False)
    kept = labels != 255
    log_share = scores.log_softmax(dim=1).movedim(1, -1)[kept]
    mean = -log_share.gather(1, labels[kept].long()[:, None]).mean()
    (expected,) = torch.autograd.grad(mean, weight)
    torch.testing.assert_close(weight.grad, expected)


def test_a_step_goes_against_the_gradient_at_the_rate_it_is_told() -> None:
    one = learner()
    assert isinstance(one.head, LinearHead)
    weight = one.head.linear.weight
    before = weight.detach().clone()
    weights = {name: value.clone() for name, value in one.head.state_dict().items()}
    squares = Squares(PIXELS, torch.randint(3, (5, 16, 24), generator=DRAW).to(torch.uint8))
    one.step(squares, rate=0.25)
    assert weight.grad is not None
    first = weight.grad.clone()
    torch.testing.assert_close(weight.detach(), before - 0.25 * first)
    one.head.load_state_dict(weights)
    one.head.eval()
    one.step(squares, rate=0.0)
    assert torch.equal(weight, before)
    torch.testing.assert_close(weight.grad, first)  # it starts from 0 again
    assert one.head.training


def test_a_convolutional_head_learns_a_few_images_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[int] = []

    def noting(*given: Any, memory_bytes: int) -> None:
        told.append(memory_bytes)
        add_gradients(*given, memory_bytes=memory_bytes)

    monkeypatch.setattr(module, "add_gradients", noting)
    head = UpsamplingHead(3, 3, widths=(4,), dropout=0.0, seed=0)
    subject = replace(subject_of(Sighted()), memory_bytes=2001)
    one = Learner(subject, head, torch.optim.SGD(head.parameters(), lr=1.0))
    plain = copy.deepcopy(head).train()
    labels = torch.randint(3, (5, 16, 24), generator=DRAW).to(torch.uint8)
    PixelLoss(labels).backward(plain(one.see(PIXELS)), 0)
    for _ in range(2):  # it starts from 0 again
        one.step(Squares(PIXELS, labels), rate=0.0)
    assert told == [1000] * 2
    for name, weight in head.named_parameters():
        torch.testing.assert_close(
            weight.grad, plain.get_parameter(name).grad, rtol=1e-4, atol=1e-5
        )


def test_the_model_sees_a_few_images_at_a_time_and_the_features_lie_as_in_the_image() -> None:
    backbone = Counting()
    features = learner(backbone, batch=2).see(PIXELS)
    assert backbone.shown == [2, 2, 1]
    assert features.shape == (5, 2, 3, 3)
    expected = look(Sighted(), PIXELS).patches
    torch.testing.assert_close(features.flatten(1, 2), expected)


def test_half_precision_is_the_models_alone() -> None:
    full, half = (
        Learner(subject_of(small_vit()), LinearHead(48, 3), learner().optimizer, half_precision)
        for half_precision in (False, True)
    )
    pixels = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8, generator=DRAW)
    with torch.autocast("cpu", torch.bfloat16):
        expected = look(small_vit(), pixels).patches
    assert torch.equal(half.see(pixels).flatten(1, 2), expected)
    assert not torch.equal(full.see(pixels), half.see(pixels))
    source = ColourBlocks(3)
    seen = next(half.see_squares(source, range(3), size_px=32, native_labels=False))
    assert not torch.is_autocast_enabled("cpu")  # between two batches
    squares = next(read_squares(source, range(3), size_px=32, batch=3))
    assert torch.equal(seen.features, half.see(squares.pixels))


@pytest.mark.parametrize("native", [False, True])
def test_test_images_are_squashed_and_their_labels_as_wanted(native: bool) -> None:
    source, one = Coordinates(40, 24), learner(batch=3)
    found = list(one.see_squares(source, [1, 2, 3, 0], size_px=16, native_labels=native))
    assert [len(seen.labels) for seen in found] == [3, 1]
    assert found[0].features.shape == (3, 2, 2, 3)
    for label in found[0].labels:
        if native:
            assert torch.equal(label, torch.from_numpy(source.label(0)))
        else:
            assert label.shape == (16, 16)
            assert (label[0].diff() >= 1).all()


def test_labels_are_those_of_the_images_in_every_batch() -> None:
    one, source, ids = learner(batch=2), ColourBlocks(8), [7, 1, 4, 0, 2]
    found = list(one.see_squares(source, ids, size_px=32, native_labels=False))
    labels = [label for seen in found for label in seen.labels]
    for index, label in zip(ids, labels, strict=True):
        assert torch.equal(label, torch.from_numpy(source.label(index)))


class Falling(LinearSegmentation):
    """Predicts the right classes only in the first test of all."""

    def predict(self, learner: Learner, seen: Seen) -> Iterator[Tensor]:
        good = not hasattr(learner.head, "tested")
        yield from (label.long() if good else (label.long() + 1) % 3 for label in seen.labels)
        learner.head.tested = True  # type: ignore[assignment]


def test_the_best_score_is_that_of_any_test_and_the_score_that_of_the_last() -> None:
    protocol = Falling("p", train_px=16, test_px=32, steps=9, batch=8, half_precision=False)
    result = run_probe(protocol, subject_of(Sighted()), DATA)
    assert (result.best_miou, result.miou) == (1.0, 0.0)


def test_predictions_are_the_enlarged_scores_of_the_head_in_testing() -> None:
    one = learner()
    seen = next(one.see_squares(DATA.test, range(4), size_px=32, native_labels=False))
    maps = one.maps(seen.features)
    assert not maps.requires_grad
    expected = F.interpolate(maps, size=(32, 32), mode="bilinear").argmax(dim=1)
    assert torch.equal(torch.stack(list(one.predict(seen))), expected)
    assert not one.head.training


def test_test_images_are_seen_once_if_they_fit_and_the_score_is_the_same() -> None:
    protocol = LinearSegmentation(
        "p", train_px=16, test_px=32, steps=20, batch=8, rate=0.1, half_precision=False
    )
    results, shown = [], []
    half = 12 * (4 * 4 * 3 * 4 + 32 * 32)  # features and labels; the rest is for the training
    for memory_bytes in (2 * half - 2, 2 * half):
        backbone = Counting()
        subject = replace(subject_of(backbone), memory_bytes=memory_bytes, batch=12)
        results.append(run_probe(protocol, subject, DATA))
        shown.append(sum(backbone.shown))
    assert results[0].iou == results[1].iou
    assert results[0].best_miou == results[1].best_miou
    tests = 20 // 3  # one after every epoch of three steps, and the last
    assert shown == [20 * 8 + 12 * (tests + 1), 20 * 8 + 12]


def test_the_parts_of_a_probe_are_named() -> None:
    assert isinstance(LinearSegmentation("p"), Probe)
