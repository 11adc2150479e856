"""What is known of all images so far, in some 250 bytes an image."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from patchwise.checkup.duplicates import Groups, same_look, same_pixels, without
from patchwise.checkup.examine import Examined, Seen
from patchwise.checkup.report import BadKind, Copies, CopyGroup, Named, Pictures, Spread
from patchwise.data.bad_images import BadImage
from patchwise.data.images import ImageReason

NAMED = 3  # images, groups or copies that a report names
# Share of pixels equal to their neighbour: at least 0.93 in the label maps of three data sets, at
# most 0.59 in the photographs of five (every fifth image was measured).
FLAT_FRAC = 0.9
_NEARLY_ALL = 0.9  # of the images of a folder
_DIGEST, _COLOURS = 16, 192  # bytes

Describe = Callable[[int], str]


class Survey:
    """Counts images as they are examined; asked for more when all of them are."""

    def __init__(self, describe: Describe) -> None:
        self._describe = describe  # by its number in the source
        self._digests, self._colours = bytearray(), bytearray()
        self._bits: list[int] = []
        self._sizes: list[tuple[int, int]] = []
        self._blank: list[bool] = []
        self._flat: list[bool] = []
        self._bad: dict[ImageReason, list[BadImage]] = {}
        self._bad_counts: Counter[ImageReason] = Counter()
        self._facts: Counter[tuple[str, str]] = Counter()
        self.indices: list[int] = []  # in the source, of the images that can be used

    @property
    def usable(self) -> int:
        """How many images can be used."""
        return len(self.indices)

    @property
    def bad(self) -> int:
        """How many images cannot be used."""
        return self._bad_counts.total()

    def add(self, examined: Examined) -> None:
        """Count one image."""
        if isinstance(examined.found, BadImage):
            bad = examined.found
            self._bad_counts[bad.reason] += 1
            first = self._bad.setdefault(bad.reason, [])
            if len(first) < NAMED:
                first.append(bad)
        else:
            self.indices.append(examined.image)
            self._add_good(examined.found)

    def _add_good(self, seen: Seen) -> None:
        header = seen.header
        self._digests += seen.digest
        self._colours += seen.look.colours.tobytes()
        self._bits.append(seen.look.bits)
        self._blank.append(seen.look.blank)
        self._flat.append(seen.flat_frac >= FLAT_FRAC)
        self._sizes.append((header.height, header.width))
        self._facts["channels", header.channels] += 1
        self._facts["bits", str(header.bits)] += 1
        self._facts["formats", header.file_format] += 1
        for name in ("turned", "frames", "transparent"):
            self._facts["flags", name] += bool(getattr(header, name))

    @cached_property
    def same_pixels(self) -> Groups:
        """Groups of places in ``indices`` of the same pixels."""
        digests = bytes(self._digests)
        return same_pixels(
            [digests[at : at + _DIGEST] for at in range(0, len(digests), _DIGEST)],
        )

    @cached_property
    def same_look(self) -> Groups:
        """Groups of places in ``indices`` that look the same, the largest picture first.

        Of the same pixels only the first takes part. Blank pictures do not, nor do flat ones: two
        masks of things in the same place look alike, and yet belong to two images.
        """
        if not self.usable:
            return []
        takes_part = without(self.usable, self.same_pixels)
        takes_part &= ~np.array(self._blank) & ~np.array(self._flat)
        area = np.prod(np.array(self._sizes), axis=1)
        by_area = np.argsort(-area, kind="stable")
        colours = np.frombuffer(bytes(self._colours), np.uint8).reshape(-1, 8, 8, 3)
        order = by_area[takes_part[by_area]]
        return same_look(np.array(self._bits, np.uint64), colours, order)

    def left(self) -> NDArray[np.int64]:
        """Return the indices in the source of the images to keep: good, and none twice."""
        keep = without(self.usable, [*self.same_pixels, *self.same_look])
        left: NDArray[np.int64] = np.array(self.indices, np.int64)[keep]
        return left

    def bad_kinds(self) -> tuple[BadKind, ...]:
        """Return the reasons why images cannot be used, the most frequent first."""
        return tuple(
            BadKind(
                reason,
                Named(count, tuple(self._describe(bad.index) for bad in self._bad[reason])),
                self._bad[reason][0].message,
            )
            for reason, count in self._bad_counts.most_common()
        )

    def copies(self, groups: Groups) -> Copies:
        """Return groups of places as a report shows them, the largest groups first."""
        largest = sorted(groups, key=len, reverse=True)[:NAMED]
        return Copies(
            extra=sum(len(group) - 1 for group in groups),
            groups=len(groups),
            largest=tuple(
                CopyGroup(self._name(first), Named(len(rest), self._names(rest)))
                for first, *rest in largest
            ),
        )

    def flat(self) -> Named:
        """Return the pictures that are flat almost everywhere."""
        places = np.flatnonzero(self._flat)
        return Named(len(places), self._names(places.tolist()))

    @cached_property
    def flat_folders(self) -> tuple[str, ...]:
        """The folders whose images are nearly all flat, though not all images are.

        Of folders in one another the outermost. This is where label maps lie beside photographs.
        """
        every: Counter[str] = Counter()
        flat: Counter[str] = Counter()
        for place, is_flat in enumerate(self._flat):
            above = _folders_above(self._name(place))
            every.update(above)
            flat.update(above if is_flat else ())
        nearly = {f for f, n in flat.items() if 1 < every[f] < self.usable}
        nearly = {f for f in nearly if flat[f] >= _NEARLY_ALL * every[f]}
        return tuple(sorted(f for f in nearly if not nearly & set(_folders_above(f))))

    def is_flat_in_such_a_folder(self, index: int) -> bool:
        """Return whether an image of the source is flat, and lies in one of `flat_folders`."""
        place = bisect_left(self.indices, index)
        above = set(_folders_above(self._describe(index)))
        return self._flat[place] and not above.isdisjoint(self.flat_folders)

    def pictures(self) -> Pictures | None:
        """Return what the usable images are like; None if there are none."""
        if not self.usable:
            return None
        sizes = np.array(self._sizes)
        short, long = sizes.min(axis=1), sizes.max(axis=1)
        return Pictures(
            short_side_px=_spread(short),
            long_side_px=_spread(long),
            aspect=_spread((long / short).round(2)),
            channels=self._counts("channels"),
            bits=self._counts("bits"),
            formats=self._counts("formats"),
            turned=self._facts["flags", "turned"],
            several_frames=self._facts["flags", "frames"],
            transparent=self._facts["flags", "transparent"],
        )

    def _counts(self, fact: str) -> dict[str, int]:
        return {value: n for (name, value), n in self._facts.most_common() if name == fact}

    def _names(self, places: Iterable[int]) -> tuple[str, ...]:
        return tuple(self._name(place) for place in list(places)[:NAMED])

    def _name(self, place: int) -> str:
        return self._describe(self.indices[place])


def _folders_above(name: str) -> list[str]:
    """Return the folders that a path lies in, the innermost first."""
    return [name[:at] for at in range(len(name) - 1, 0, -1) if name[at] == "/"]


def _spread(values: NDArray[np.int64] | NDArray[np.float64]) -> Spread:
    """Return numbers that some images have, not means of two."""
    points = np.quantile(values, (0.0, 0.05, 0.5, 0.95, 1.0), method="nearest")
    return Spread(*points.astype(float).tolist())
