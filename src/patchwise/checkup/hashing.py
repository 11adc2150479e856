"""Short digests of pictures: equal for equal pixels, or close for pictures that look the same."""

import hashlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

_SIDE = 32  # of the small picture
_WAVES = 8  # lowest frequencies kept, in each direction: 64 bits
_TINY = 8  # side of the colour picture
_LEAST_CONTRAST = 3.0  # standard deviation in grey levels below which there is nothing to hash
_LUMA = np.array([0.299, 0.587, 0.114])
_STEPS = np.arange(_SIDE)
_COSINES = np.cos(np.pi * np.outer(_STEPS, 2 * _STEPS + 1) / (2 * _SIDE))[:_WAVES]  # DCT-II


class Look(NamedTuple):
    """What a picture looks like, in 72 numbers."""

    bits: int  # 64 of them
    colours: UInt8[np.ndarray, "8 8 3"]
    blank: bool  # too little contrast for ``bits`` to mean anything


def pixel_digest(pixels: UInt8[np.ndarray, "H W 3"]) -> bytes:
    """Return 16 bytes that are the same for the same size and pixels, and for nothing else."""
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


def look_at(pixels: UInt8[np.ndarray, "H W 3"]) -> Look:
    """Return a DCT hash and an 8 x 8 thumbnail, which hardly change when a picture is saved again.

        small   = the picture shrunk to 32 x 32, in colour
        bits    = lowest 8 x 8 frequencies of small's grey values > their median (mean left out)
        colours = small, shrunk to 8 x 8

    Source: the perceptual hash of C. Zauner 2010, "Implementation and benchmarking of perceptual
    image hash functions", section 3.2.1.
    Differs: frequencies from 0 on, not from 1 on.
    """
    small = np.asarray(
        Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR), np.float64
    )
    grey = small @ _LUMA
    waves = (_COSINES @ grey @ _COSINES.T).ravel()
    above = waves > np.median(waves[1:])
    part = _SIDE // _TINY
    colours = small.reshape(_TINY, part, _TINY, part, 3).mean((1, 3))
    return Look(
        bits=int.from_bytes(np.packbits(above).tobytes(), "big"),
        colours=np.rint(colours).astype(np.uint8),
        blank=bool(grey.std() < _LEAST_CONTRAST),
    )


def flat_frac(pixels: UInt8[np.ndarray, "H W 3"], *, rows: int = 256) -> float:
    """Return the share of pixels equal to their right neighbour, in at most about ``rows`` rows.

    Near 1 for label maps, masks, drawings and blank pictures; in photographs noise keeps it low.
    """
    some = pixels[:: max(1, len(pixels) // rows)]
    return float((some[:, 1:] == some[:, :-1]).all(axis=2).mean())


def colour_distance(
    one: UInt8[np.ndarray, "8 8 3"], others: UInt8[np.ndarray, "N 8 8 3"]
) -> Float64[np.ndarray, " N"]:
    """Return the root of the mean squared difference, in levels of 255."""
    difference = others.astype(np.float64) - one
    distance: Float64[np.ndarray, " N"] = np.sqrt(np.square(difference).mean((1, 2, 3)))
    return distance
