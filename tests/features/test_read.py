"""Features of a source, in order: from the model, or from a store."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from patchwise.features.look import look
from patchwise.features.read import read_cls, read_features
from patchwise.features.subject import ModelIdentity, Subject
from patchwise.features.transform import Squash, Whole
from patchwise.features.windows import Windows
from patchwise.models.backbone import BackboneOutput
from tests.eval.tiny import ColourBlocks, Sighted, subject_of
from tests.features.stored import Photos, assert_near, heard_subject
from tests.small_runs import small_vit


@dataclass(frozen=True)
class Shapes:
    """Images whose shapes differ."""

    sides: tuple[tuple[int, int], ...]

    name = "shapes"

    def __len__(self) -> int:
        return len(self.sides)

    def read(self, index: int) -> NDArray[np.uint8]:
        return np.full((*self.sides[index], 3), index, np.uint8)

    def describe(self, index: int) -> str:
        return str(index)

    def fingerprint(self) -> str:
        return repr(self)


@pytest.mark.parametrize("batch", [1, 3, 32])
def test_the_order_is_that_of_the_ids(batch: int) -> None:
    source = ColourBlocks(7).images
    subject = replace(subject_of(Sighted()), batch=batch)
    ids = [5, 0, 6, 2]
    found = list(read_features(subject, source, Squash(32), ids=ids))
    pixels = torch.from_numpy(np.stack([source.read(i) for i in ids])).movedim(-1, 1)
    expected = look(Sighted(), pixels)
    torch.testing.assert_close(torch.cat([f.patches for f in found]), expected.patches)
    assert max(len(f.cls) for f in found) <= batch


def test_images_of_other_shapes_make_batches_of_their_own() -> None:
    source = Shapes(((16, 24), (16, 24), (8, 8), (16, 24)))
    found = list(read_features(subject_of(Sighted()), source, Whole(8)))
    assert [(len(f.cls), f.grid) for f in found] == [(2, (2, 3)), (1, (1, 1)), (1, (2, 3))]


def test_cls_is_that_of_the_model() -> None:
    source = ColourBlocks(4).images
    subject = Subject(small_vit().eval(), ModelIdentity("vit", None), batch=2)
    features = read_cls(subject, source, Squash(16))
    assert features.shape == (4, 32)
    assert not features[0].equal(features[1])


def flat(outputs: Sequence[BackboneOutput]) -> tuple[Tensor, Tensor]:
    """CLS, and the patches of all images, one after the other."""
    cls = torch.cat([output.cls for output in outputs])
    return cls, torch.cat([output.patches.flatten(0, 1) for output in outputs])


@pytest.mark.parametrize("windows", [None, Windows(16, 8)])
@pytest.mark.parametrize("ids", [None, list(range(60, 4, -1)), [3, 3, 69]])
def test_stored_features_are_those_of_the_model(
    tmp_path: Path, ids: list[int] | None, windows: Windows | None
) -> None:
    source, heard = Photos(70), heard_subject(tmp_path)
    read_cls(heard.subject, source, Whole(8), windows=windows)
    list(read_features(heard.subject, source, Whole(8), windows=windows))
    seen = heard.backbone.seen
    stored = list(read_features(heard.subject, source, Whole(8), ids=ids, windows=windows))
    assert heard.backbone.seen == seen
    without = replace(heard.subject, stores=None)
    exact = list(read_features(without, source, Whole(8), ids=ids, windows=windows))
    assert [output.grid for output in stored] == [output.grid for output in exact]
    assert [len(output.cls) for output in stored] == [len(output.cls) for output in exact]
    for one, other in zip(flat(stored), flat(exact), strict=True):
        assert_near(one, other)


def test_stored_cls_is_that_of_the_model(tmp_path: Path) -> None:
    source, heard = Photos(40), heard_subject(tmp_path)
    assert_near(
        read_cls(heard.subject, source, Whole(8)),
        read_cls(replace(heard.subject, stores=None), source, Whole(8)),
    )
    assert heard.backbone.seen == 80
    read_cls(heard.subject, source, Whole(8))
    assert heard.backbone.seen == 80


def test_a_small_part_of_the_images_is_not_worth_a_store(tmp_path: Path) -> None:
    source, heard = Photos(40), heard_subject(tmp_path)
    few = [*range(19), *range(19)]
    assert len(list(read_features(heard.subject, source, Whole(8), ids=few))) > 1
    assert heard.backbone.seen == 38
    assert heard.subject.notes.stored == 0
    list(read_features(heard.subject, source, Whole(8), ids=range(20)))
    assert heard.backbone.seen == 38 + 40
    assert heard.subject.notes.stored == 20
    list(read_features(heard.subject, source, Whole(8), ids=few))
    assert heard.backbone.seen == 38 + 40
    assert heard.subject.notes.stored == 58


@pytest.mark.parametrize("workers", [0, 1])
def test_workers_change_nothing(workers: int) -> None:
    source = Photos(12)
    subject = replace(heard_subject().subject, workers=workers)
    found = flat(list(read_features(subject, source, Whole(8))))
    plain = flat(list(read_features(heard_subject().subject, source, Whole(8))))
    for one, other in zip(found, plain, strict=True):
        assert torch.equal(one, other)


def test_a_backbone_without_weights_is_asked_each_time(tmp_path: Path) -> None:
    heard = heard_subject(tmp_path)
    subject = replace(heard.subject, identity=ModelIdentity("function", None))
    for _ in range(2):
        read_cls(subject, Photos(9), Whole(8))
    assert heard.backbone.seen == 18
    assert len(heard.told) == 1
