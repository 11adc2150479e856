"""Features of a source, in order."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from patchwise.features.look import look
from patchwise.features.read import read_cls, read_features
from patchwise.features.subject import ModelIdentity, Subject
from patchwise.features.transform import Squash, Whole
from tests.eval.tiny import ColourBlocks, Sighted, subject_of
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
