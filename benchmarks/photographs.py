"""Images on which views are measured: photographs where there are any, else synthetic scenes."""

import os
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from patchwise.data.images import ResizeRule, resize_image
from patchwise.data.source import open_source
from patchwise.data.synthetic import render_scenes

DATA = "PATCHWISE_DATA"  # environment variable: a folder with the archive below
ARCHIVE = "imagenet_1000x1.tar"
BASE_PX = 256
_SCENE_SIZES = ((341, 256), (256, 256), (300, 256), (256, 384))  # width, height

Picture = UInt8[np.ndarray, "H W 3"]


def are_there() -> bool:
    """Whether ``PATCHWISE_DATA`` names a folder with photographs."""
    return DATA in os.environ and (Path(os.environ[DATA]) / ARCHIVE).exists()


def photographs(count: int) -> list[Picture]:
    """Return photographs with a short side of at most 256 px, evenly from the archive."""
    source = open_source(Path(os.environ[DATA]) / ARCHIVE)
    rule = ResizeRule(base_px=BASE_PX)
    step = len(source) // count
    return [resize_image(source.read(index * step), rule) for index in range(count)]


def scenes(count: int) -> list[Picture]:
    """Return synthetic scenes enlarged to the sizes of photographs, each as sharp as it was."""
    drawn = render_scenes(np.arange(count), size_px=128).images
    return [
        np.array(
            Image.fromarray(image).resize(
                _SCENE_SIZES[at % len(_SCENE_SIZES)], Image.Resampling.BICUBIC
            )
        )
        for at, image in enumerate(drawn)
    ]


def pictures(count: int) -> list[Picture]:
    """Return photographs, or scenes where there are none."""
    return photographs(count) if are_there() else scenes(count)
