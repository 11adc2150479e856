"""Which images are there more than once: to the pixel, or as far as one can see."""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Int64, UInt8, UInt64

from patchwise.checkup.hashing import colour_distance

MOST_BITS = 4  # of 64 that may differ
MOST_LEVELS = 8.0  # by which thumbnails may differ, of 255
_BANDS = MOST_BITS + 1  # by the pigeonhole principle one of them is the same in both

Groups = list[list[int]]  # in each, first the image to keep


def same_pixels(digests: Sequence[bytes]) -> Groups:
    """Return the groups of two or more equal digests, each in order, by their first image."""
    by_digest: dict[bytes, list[int]] = defaultdict(list)
    for index, digest in enumerate(digests):
        by_digest[digest].append(index)
    return [group for group in by_digest.values() if len(group) > 1]


def same_look(
    bits: UInt64[np.ndarray, " N"],
    colours: UInt8[np.ndarray, "N 8 8 3"],
    order: Iterable[int] | Int64[np.ndarray, " M"],
) -> Groups:
    """Return groups of two or more images that look the same.

    Two images look the same if at most `MOST_BITS` of their 64 bits differ and their thumbnails
    differ by at most `MOST_LEVELS`. On 2,045 photographs, copies saved again at JPEG quality 20 or
    at a quarter of the size differ in at most 4 bits and 3 levels, and unrelated photographs in at
    least 10 bits.

    Images are taken in turn. One that looks like an image kept before joins the group of the
    nearest such, otherwise it is kept itself. So all of a group look like its first, no two that
    are kept look the same, and a slow change, as in a video, is not one group from end to end.

    Only images that agree in one of five parts of the bits are compared, which is every pair that
    can look the same, so that the time grows hardly faster than the number of images.

    Args:
        bits: From `look_at` [N].
        colours: From `look_at` [N, 8, 8, 3].
        order: The images to look at, best first; others take no part.
    """
    masks = _band_masks()
    kept: dict[tuple[int, int], array[int]] = defaultdict(lambda: array("q"))
    groups: dict[int, list[int]] = {}
    for index in map(int, order):
        own = int(bits[index])
        places = [kept[band, own & mask] for band, mask in enumerate(masks)]
        leader = _nearest(index, np.concatenate([np.array(p) for p in places]), bits, colours)
        if leader is None:
            groups[index] = [index]
            for place in places:
                place.append(index)
        else:
            groups[leader].append(index)
    return [group for group in groups.values() if len(group) > 1]


def without(number: int, groups: Iterable[Sequence[int]]) -> Bool[np.ndarray, " N"]:
    """Return which of ``number`` images are left if only the first of each group is kept."""
    left = np.ones(number, dtype=np.bool_)
    for group in groups:
        left[list(group[1:])] = False
    return left


def _nearest(
    index: int,
    candidates: Int64[np.ndarray, " M"],
    bits: UInt64[np.ndarray, " N"],
    colours: UInt8[np.ndarray, "N 8 8 3"],
) -> int | None:
    near = candidates[np.bitwise_count(bits[candidates] ^ bits[index]) <= MOST_BITS]
    if not len(near):
        return None
    distances = colour_distance(colours[index], colours[near])
    best = int(distances.argmin())
    return int(near[best]) if distances[best] <= MOST_LEVELS else None


def _band_masks() -> list[int]:
    """Return a mask for each band: neighbouring bits go to different ones, being alike."""
    return [_mask(range(band, 64, _BANDS)) for band in range(_BANDS)]


def _mask(places: Iterable[int]) -> int:
    return sum(1 << place for place in places)
