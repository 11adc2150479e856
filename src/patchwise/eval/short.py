"""Short forms of protocols, for small data and machines: fewer steps, at the images' own size."""

from patchwise.eval.fcn import FCNSegmentation
from patchwise.eval.images import KNNImages
from patchwise.eval.knn_cotap import KNNCoTAP
from patchwise.eval.linear_cotap import LinearCoTAP
from patchwise.eval.linear_dino import LinearDINO, linear_features
from patchwise.eval.linseg import LinearSegmentation
from patchwise.eval.linseg_dinov2 import LinearDINOv2
from patchwise.eval.linseg_leopart import LinearLeopart

_BATCH, _STEPS = 32, 300


def knn(preset: str, side_px: int) -> KNNImages:
    """Return the short form of knn/dino."""
    return KNNImages(preset, resize_px=_resize_px(side_px), crop_px=side_px)


def knn_cotap(preset: str, side_px: int) -> KNNCoTAP:
    """Return the short form of knn/cotap."""
    return KNNCoTAP(preset, resize_px=_resize_px(side_px), crop_px=side_px)


def linear_dino(preset: str, side_px: int, *, dim: int) -> LinearDINO:
    """Return the short form of linear/dino."""
    return LinearDINO(
        preset,
        epochs=10,
        batch=256,
        resize_px=_resize_px(side_px),
        crop_px=side_px,
        **linear_features(dim),
    )


def linear_cotap(preset: str, side_px: int) -> LinearCoTAP:
    """Return the short form of linear/cotap."""
    return LinearCoTAP(preset, steps=500, resize_px=_resize_px(side_px), crop_px=side_px)


def linseg(preset: str, side_px: int) -> LinearSegmentation:
    """Return the short form of linseg/cotap."""
    return LinearSegmentation(
        preset, train_px=side_px, test_px=side_px, steps=_STEPS, batch=_BATCH, every_epoch=False
    )


def fcn(preset: str, side_px: int) -> FCNSegmentation:
    """Return the short form of fcn/cotap."""
    return FCNSegmentation(
        preset, train_px=side_px, test_px=side_px, steps=_STEPS, batch=_BATCH, every_epoch=False
    )


def leopart(preset: str, side_px: int) -> LinearLeopart:
    """Return the short form of linseg/leopart; labels are never enlarged."""
    return LinearLeopart(
        preset,
        size_px=side_px,
        label_px=min(100, side_px),
        epochs=10,
        drop_epoch=8,
        batch=_BATCH,
        every_epoch=False,
    )


def dinov2(preset: str, side_px: int) -> LinearDINOv2:
    """Return the short form of linseg/dinov2; the stride is two thirds of the window."""
    return LinearDINOv2(
        preset,
        short_px=side_px,
        window_px=side_px,
        stride_px=side_px * 2 // 3,
        steps=_STEPS,
        warmup_steps=11,  # as large a share as published
        every_epoch=False,
    )


def _resize_px(side_px: int) -> int:
    """Return the short side from which ``side_px`` are cut, as 224 px are cut from 256."""
    return round(side_px * 256 / 224)
