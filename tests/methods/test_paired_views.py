"""Views of images and of a neighbour of each: what lies where."""

from dataclasses import replace

import pytest
import torch

from patchwise.augment.overlapping_views import BESIDE_NONE, make_overlapping_views
from patchwise.configs.normalisation import IMAGENET
from patchwise.methods.paired_views import PairedViews, by_image, make_paired_views
from patchwise.models.vit import ViT
from patchwise.types import ImageBatch
from tests.small_runs import COTAP_CONFIG, VIT, scene_batch

VIEWS = replace(COTAP_CONFIG.views, local_count=3)


def images_of(*ids: int, epoch: int = 0) -> ImageBatch:
    return scene_batch(*ids, epoch=epoch)["images"]


def make(ids: tuple[int, ...] = (0, 1, 2), others: tuple[int, ...] = (7, 8, 9)) -> PairedViews:
    return make_paired_views(
        images_of(*ids),
        images_of(*others),
        VIEWS,
        patch_px=8,
        seed=4,
        normalisation=IMAGENET,
    )


def test_view_after_view_come_the_images_and_then_their_neighbours() -> None:
    made = make()
    assert (made.images, made.local_views) == (6, 3)
    assert made.teacher.shape == made.student[0].shape == (12, 3, 32, 32)
    assert made.student[1].shape == (18, 3, 16, 16)
    assert made.grids == ((4, 4), (4, 4), (2, 2), (2, 2), (2, 2))
    batch, others = images_of(0, 1, 2), images_of(7, 8, 9)
    alone = torch.full((3,), BESIDE_NONE)
    for half, (part, beside) in enumerate(((batch, alone), (others, batch.ids))):
        wanted = make_overlapping_views(part, VIEWS, patch_px=8, seed=4, beside=beside)
        for view in range(5):
            assert torch.equal(
                made.crops[view].boxes[3 * half : 3 * half + 3], wanted.student.crops[view].boxes
            )
            assert torch.equal(
                made.crops[view].flip[3 * half : 3 * half + 3], wanted.student.crops[view].flip
            )
            group, place = (0, view) if view < 2 else (1, view - 2)
            for image in range(3):
                row, source = 6 * place + 3 * half + image, 3 * place + image
                found = made.student[group][row]
                assert torch.equal(found, wanted.student.pixels[group][source])
                if view < 2:
                    assert torch.equal(made.teacher[row], wanted.teacher[source])


def test_local_views_are_handed_out_some_at_a_time() -> None:
    made = make()
    assert torch.equal(made.local_pixels(0, 3), made.student[1])
    assert torch.equal(made.local_pixels(1, 2), made.student[1][6:])
    assert torch.equal(made.local_pixels(1, 1), made.student[1][6:12])


def test_without_local_views_there_is_one_resolution() -> None:
    made = make_paired_views(
        images_of(0),
        images_of(1),
        replace(VIEWS, local_count=0),
        patch_px=8,
        seed=4,
        normalisation=IMAGENET,
    )
    assert made.local_views == 0
    assert len(made.student) == 1


def test_a_neighbours_views_depend_on_whose_neighbour_it_is() -> None:
    one, other, same = make((0,), (7,)), make((1,), (7,)), make((7,), (0,))
    assert not torch.equal(one.crops[0].boxes[1], other.crops[0].boxes[1])
    assert not torch.equal(one.crops[0].boxes[1], same.crops[0].boxes[0])


def test_numbers_are_drawn_for_each_image_in_any_batch() -> None:
    made, part = make(), make((2, 0), (9, 7))
    device = torch.device("cpu")
    drawn = made.uniform(50, 1, device)
    assert drawn.shape == (6, 50)
    assert ((drawn >= 0) & (drawn < 1)).all()
    assert 0.4 < float(drawn.mean()) < 0.6
    assert len(set(drawn.flatten().tolist())) == 300
    assert torch.equal(part.uniform(50, 1, device), drawn[[2, 0, 5, 3]])
    assert not torch.equal(made.uniform(50, 0, device), drawn)


def test_rows_are_sorted_by_image() -> None:
    """Views of an image side by side, then those of its neighbour, then the next image's."""
    rows = torch.tensor([[[v, n, x] for n in range(6)] for v in range(2) for x in (8,)])
    found = by_image(rows).tolist()
    order = [(image + half, v) for image in range(3) for half in (0, 3) for v in range(2)]
    assert found == [[v, n, 8] for n, v in order]


@pytest.mark.parametrize("images", [1, 2])
def test_sorted_rows_of_parts_are_those_of_the_whole(images: int) -> None:
    whole = torch.arange(2 * 8).reshape(2, 8)  # V N: four images, four neighbours
    parts = [
        torch.cat([whole[:, s : s + images], whole[:, 4 + s : 4 + s + images]], dim=1)
        for s in range(0, 4, images)
    ]
    assert torch.equal(torch.cat([by_image(part) for part in parts]), by_image(whole))


def test_passes_cover_the_local_views() -> None:
    made = make()
    assert list(made.passes(0)) == [(0, 3)]
    assert list(made.passes(2)) == [(0, 2), (2, 1)]


def test_stochastic_depth_is_drawn_for_each_image_wherever_it_is() -> None:
    vit = ViT(replace(VIT, drop_path=0.5)).train()
    kept = make().kept(vit, 0, 5)
    assert kept is not None
    assert kept.shape == (5 * 6, 2, 2)
    assert kept[:, 0].all()  # the first block's rate is 0
    assert 5 < kept[:, 1].sum() < 55
    views = kept.reshape(5, 2, 3, 2, 2)  # image and neighbour, images
    assert not torch.equal(views[0], views[1])
    assert not torch.equal(views[:, 0], views[:, 1])
    part = make((2,), (9,)).kept(vit, 3, 2)
    assert part is not None
    assert torch.equal(part.reshape(2, 2, 2, 2), views[3:, :, 2])
    assert make().kept(vit.eval(), 0, 2) is None
    assert make().kept(ViT(VIT).train(), 0, 2) is None


def test_samples_are_sorted_by_image() -> None:
    made, rows = make(), torch.arange(12)
    sorted_rows = made.sort(rows)
    assert sorted_rows is not None
    assert sorted_rows.tolist() == [0, 6, 3, 9, 1, 7, 4, 10, 2, 8, 5, 11]
    assert made.sort(None) is None
