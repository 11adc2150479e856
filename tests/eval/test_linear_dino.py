"""DINO's linear layer: its features, its schedule, and which epoch is told."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from patchwise.data.labelled import LabelledData, open_labelled_data
from patchwise.errors import DataError, RangeError
from patchwise.eval import linear_dino as module
from patchwise.eval.classification import accuracy
from patchwise.eval.linear_dino import LinearDINO, linear_features
from patchwise.features.look import look, look_at_blocks
from patchwise.models.backbone import BackboneOutput
from tests.eval.tiny import Sighted, save_colours, subject_of
from tests.small_runs import small_vit

PROTOCOL = LinearDINO(
    "p", blocks=1, mean_patch=True, epochs=4, batch=10, rate_per_256=1.0, resize_px=36, crop_px=32
)
PIXELS = torch.randint(256, (3, 3, 32, 32), dtype=torch.uint8)


class Plain:
    """A backbone that has no blocks to tell of."""

    dim, patch_px, device = 3, 8, torch.device("cpu")

    def __call__(self, images: Tensor, *, attention: bool = False) -> BackboneOutput:
        return Sighted()(images)


@pytest.fixture
def data(tmp_path: Path) -> LabelledData:
    return open_labelled_data(save_colours(tmp_path, {"train": 24, "val": 12}))


def test_features_are_cls_of_the_last_blocks_and_the_mean_patch() -> None:
    vit = small_vit()
    outputs = look_at_blocks(vit, PIXELS, count=2)
    for blocks in (1, 2):
        for mean_patch in (False, True):
            expected = [output.cls for output in outputs[-blocks:]]
            if mean_patch:
                expected.append(look(vit, PIXELS).patches.mean(dim=1))
            protocol = replace(PROTOCOL, blocks=blocks, mean_patch=mean_patch)
            seen = protocol._see(replace(subject_of(vit), batch=2), PIXELS)
            torch.testing.assert_close(seen, torch.cat(expected, dim=1))


def test_published_features_by_width() -> None:
    assert linear_features(384) == {"blocks": 4, "mean_patch": False}
    assert linear_features(767) == {"blocks": 4, "mean_patch": False}
    assert linear_features(768) == {"blocks": 1, "mean_patch": True}


@pytest.mark.parametrize("blocks", [1, 2])
def test_test_images_are_cut_from_the_middle(blocks: int, data: LabelledData) -> None:
    """Both ways to see them give the same; features of `Sighted` do not depend on the block."""
    protocol = replace(PROTOCOL, blocks=blocks, mean_patch=False)
    subject = replace(subject_of(Sighted()), batch=5)
    seen = protocol._see_test(subject, data)
    assert seen.shape == (12, 3 * blocks)
    first = replace(PROTOCOL, mean_patch=False)._see_test(subject, data)
    torch.testing.assert_close(seen, first.repeat(1, blocks))


def test_the_rate_follows_dinos_schedule() -> None:
    """Rate * batch / 256 times half a cosine by epochs, as torch's scheduler gives it."""
    published = LinearDINO("p")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3 * 1024 / 256)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100, eta_min=0)
    for epoch in range(100):
        assert published.rate_at(epoch) == pytest.approx(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert published.rate_at(50) == pytest.approx(0.004 * (1 + math.cos(math.pi / 2)) / 2)


def test_it_learns_and_the_first_weights_are_small(data: LabelledData) -> None:
    assert PROTOCOL.run(subject_of(Sighted()), data).accuracy == 1
    layer = module._new_layer(300, 200)
    assert 0.0099 < layer.weight.std() < 0.0101
    assert not layer.bias.any()


def test_the_last_epoch_is_the_score_and_the_best_stands_beside_it(
    data: LabelledData, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[float] = []

    def noting(scores: Tensor, truth: Tensor) -> float:
        told.append(accuracy(scores, truth))
        return told[-1]

    monkeypatch.setattr(module, "accuracy", noting)
    protocol = replace(PROTOCOL, rate_per_256=0.02, seed=3)
    result = protocol.run(subject_of(Sighted()), data)
    assert len(told) == 4  # epochs
    assert result.accuracy == told[-1]
    assert result.best_accuracy == max(told)
    told.clear()
    last = replace(protocol, every_epoch=False).run(subject_of(Sighted()), data)
    assert len(told) == 1
    assert last.best_accuracy is None
    assert last.accuracy == result.accuracy


def test_every_image_is_shown_once_an_epoch_also_in_a_smaller_batch(data: LabelledData) -> None:
    shown = []

    class Counting(Plain):
        def __call__(self, images: Tensor, *, attention: bool = False) -> BackboneOutput:
            shown.append(len(images))
            return super().__call__(images)

    PROTOCOL.run(subject_of(Counting()), data)
    assert shown == [12, *([10, 10, 4] * 4)]


def test_crops_are_mirrored_and_of_their_own_in_each_epoch(data: LabelledData) -> None:
    ids = torch.arange(6).numpy()
    first, second = (PROTOCOL._crop(data.fit, ids, epoch=epoch) for epoch in (0, 1))
    assert first.shape == (6, 3, 32, 32)
    assert not torch.equal(first, second)
    whole = replace(PROTOCOL, area_frac=(1.0, 1.0), aspect=(1.25, 1.25))
    plain, mirrored = (
        replace(whole, flip_prob=prob)._crop(data.fit, ids, epoch=0) for prob in (0.0, 1.0)
    )
    assert torch.equal(plain.flip(-1), mirrored)


@pytest.mark.bad_input
def test_a_model_without_blocks_is_told_what_to_do(data: LabelledData) -> None:
    message = (
        r"must have last_blocks.*4 blocks, got Plain; use --set blocks=1 --set mean_patch=true"
    )
    with pytest.raises(RangeError, match=message):
        replace(PROTOCOL, blocks=4).run(subject_of(Plain()), data)


@pytest.mark.bad_input
def test_one_part_is_not_enough(tmp_path: Path) -> None:
    data = open_labelled_data(save_colours(tmp_path, {"": 8}))
    with pytest.raises(DataError, match="data of p must have two parts, train and val, got one"):
        PROTOCOL.run(subject_of(Sighted()), data)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"blocks": 0}, "LinearDINO: blocks must be positive, got 0"),
        ({"momentum": 2.0}, r"momentum must lie in \[0, 1\], got 2.0"),
        ({"crop_px": 40}, r"crop_px must lie in \[1, 36\], got 40"),
        ({"area_frac": (0.0, 1.0)}, r"area_frac\[0\] must be positive"),
    ],
)
def test_settings_are_checked(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(RangeError, match=message):
        replace(PROTOCOL, **changed)
