"""What is kept of test images, and how their pixels get classes."""

from collections.abc import Iterator, Sequence

import pytest
import torch
from torch.nn import functional as F

from patchwise.eval import seen as module
from patchwise.eval.seen import Seen, SeenImages, best_classes, count_classes
from tests.eval.tiny import colour_data

DRAW = torch.Generator().manual_seed(0)
ONE = Seen(torch.ones(2, 1, 1, 3), [torch.zeros(2, 2, dtype=torch.uint8)] * 2)


class Looks:
    """Ten images, two at a time; notes which were asked for."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def __call__(self, ids: Sequence[int]) -> Iterator[Seen]:
        self.asked.append(list(ids))
        for first in range(0, len(ids), 2):
            some = ids[first : first + 2]
            features = torch.tensor(some, dtype=torch.float32).reshape(-1, 1, 1, 1)
            yield Seen(features.expand(-1, 1, 1, 3), ONE.labels[: len(some)])


@pytest.mark.parametrize(
    ("room", "kept"), [(0, 0), (0.9, 0), (1, 2), (3, 6), (4.5, 8), (5, 10), (9, 10)]
)
def test_what_fits_is_seen_once_and_the_rest_every_time(room: float, kept: int) -> None:
    looks = Looks()
    size = next(looks(range(2))).bytes
    looks.asked.clear()
    images = SeenImages(looks, 10, most_bytes=int(room * size))
    for _ in range(3):
        order = [int(row[0, 0, 0]) for seen in images for row in seen.features]
        assert order == list(range(10))
    rest = [list(range(kept, 10))] * 2 if kept < 10 else []
    assert looks.asked == [list(range(10)), *rest]


def test_features_and_labels_both_count() -> None:
    assert ONE.bytes == 2 * 3 * 4 + 2 * 4


@pytest.mark.parametrize("held", [1, 60, 200, 2**24])
@pytest.mark.parametrize("size", [(9, 7), (3, 4), (2, 11)])
def test_classes_are_those_of_the_enlarged_scores(
    held: int, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_HELD", held)
    maps = torch.randn(5, 3, 4, generator=DRAW)
    enlarged = F.interpolate(maps[None], size=size, mode="bilinear", align_corners=False)
    assert torch.equal(best_classes(maps, size), enlarged[0].argmax(dim=0))


def test_of_equal_scores_the_first_class_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HELD", 4)
    assert not best_classes(torch.ones(6, 2, 2), (2, 2)).any()


def test_pixels_of_all_images_are_counted() -> None:
    labels = [torch.tensor([[0, 1]], dtype=torch.uint8), torch.tensor([[2], [255]]).byte()]
    images = [Seen(torch.zeros(1, 1, 1, 1), [label]) for label in labels]
    guess = {(1, 2): torch.tensor([[0, 2]]), (2, 1): torch.tensor([[2], [1]])}
    matrix = count_classes(
        images,
        lambda seen: [guess[label.shape[0], label.shape[1]] for label in seen.labels],
        colour_data(),
    )
    assert matrix.counts.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 1]]
    assert len(matrix.by_image) == 2
