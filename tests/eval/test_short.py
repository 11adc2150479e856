"""Short forms: sizes from the images, everything else said."""

from patchwise.eval import short
from patchwise.eval.fcn import FCNSegmentation
from patchwise.eval.images import KNNImages
from patchwise.eval.linear_dino import LinearDINO


def test_sides_keep_the_published_proportions() -> None:
    assert short.knn("p", 224) == KNNImages("p")
    assert (short.knn("p", 56).resize_px, short.knn("p", 56).crop_px) == (64, 56)
    for make in (short.knn_cotap, short.linear_cotap):
        assert (make("p", 56).resize_px, make("p", 56).crop_px) == (64, 56)
    windows = short.dinov2("p", 96)
    assert (windows.short_px, windows.window_px, windows.stride_px) == (96, 96, 64)


def test_labels_are_never_enlarged() -> None:
    assert [short.leopart("p", side).label_px for side in (64, 224)] == [64, 100]


def test_features_depend_on_the_width() -> None:
    wide, narrow = (short.linear_dino("p", 56, dim=dim) for dim in (768, 384))
    assert (wide.blocks, wide.mean_patch) == (1, True)
    assert narrow == LinearDINO("p", epochs=10, batch=256, resize_px=64, crop_px=56)


def test_heads_are_trained_for_a_few_steps_and_tested_once() -> None:
    for make in (short.linseg, short.fcn, short.dinov2):
        protocol = make("p", 64)
        assert (protocol.steps, protocol.every_epoch) == (300, False)
    assert isinstance(short.fcn("p", 64), FCNSegmentation)
