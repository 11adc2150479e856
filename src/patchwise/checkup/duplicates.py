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
    differ by at most `MOST_LEVELS`. Of 2,045 photographs of two data sets no two are closer than 10
    bits; copies of 341 of them, saved again at JPEG quality 20 to 90 or at a quarter to twice the
    size, differ in at most 4 bits and 3 levels.

    Images are taken in turn. One that looks like an image kept before joins the group of the
    nearest such (of equally near ones the first); otherwise it is kept itself. So all of a group
    look like its first, no two that are kept look the same, and a slow change, as in a video, is
    not one group from end to end.

    Only images that agree in one of five parts of the bits are compared, which is every pair that
    can look the same, so that the time grows hardly faster than the number of images.

    Args:
        bits: From `look_at` [N].
        colours: From `look_at` [N, 8, 8, 3].
        order: The images to look at, best first; others take no part.
    """
    masks = [_mask(range(band, 64, _BANDS)) for band in range(_BANDS)]  # neighbours are alike
    by_part: dict[tuple[int, int], array[int]] = defaultdict(lambda: array("q"))  # of groups
    firsts = np.zeros(len(bits), np.int64)  # the image that is kept of each group
    groups: Groups = []
    for image in map(int, order):
        own = int(bits[image])
        places = [by_part[band, own & mask] for band, mask in enumerate(masks)]
        candidates = np.concatenate([np.array(place, np.int64) for place in places])
        close = np.unique(candidates[_few_bits_apart(bits[firsts[candidates]], bits[image])])
        distances = colour_distance(colours[image], colours[firsts[close]])
        if len(close) and distances.min() <= MOST_LEVELS:
            groups[close[distances.argmin()]].append(image)
            continue
        for place in places:
            place.append(len(groups))
        firsts[len(groups)] = image
        groups.append([image])
    return [group for group in groups if len(group) > 1]


def without(number: int, groups: Iterable[Sequence[int]]) -> Bool[np.ndarray, " N"]:
    """Return which of ``number`` images are left if only the first of each group is kept."""
    left = np.ones(number, dtype=np.bool_)
    for group in groups:
        left[list(group[1:])] = False
    return left


def _few_bits_apart(some: UInt64[np.ndarray, " M"], own: np.uint64) -> Bool[np.ndarray, " M"]:
    few: Bool[np.ndarray, " M"] = np.bitwise_count(some ^ own) <= MOST_BITS
    return few


def _mask(places: Iterable[int]) -> int:
    return sum(1 << place for place in places)
