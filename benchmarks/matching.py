"""Matching of patches: whole batches against a plain Python loop, and how far apart partners lie.

    python -m benchmarks.matching

256 images of 256 x 256 px, PW-Self's views: 2 of 224 px (area 0.4 - 1), 8 of 96 px (0.05 - 0.4),
patches of 16 px; each of the two teacher views with each of the nine others, 4,608 pairs of views.
The loop takes one pair of views of one image after the other, in Python's own numbers, and ends
with tensors of indices; it must find the same pairs. Medians of five rounds, all variants in turn
within each round. With more threads than idle cores PyTorch's threads wait for each other: then
set OMP_NUM_THREADS=1.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.measuring import machine, seconds_in_turn
from patchwise.augment.crop import Crops, sample_crops
from patchwise.augment.draw import DrawKey
from patchwise.configs.views import ViewsConfig
from patchwise.ops.geometry import MATCHERS, PatchMatches, match_distance

IMAGES, PATCH_PX, TEACHER_VIEWS = 256, 16, 2
CONFIG = ViewsConfig(base="square")
Pairs = list[tuple[int, int]]
Box = tuple[int, int, int, int, bool]  # top, left, height, width, flip
Loop = Callable[[Box, int, Box, int], Pairs]


@dataclass(frozen=True)
class ViewPairs:
    """Teacher's and student's views of one kind, one row a pair and image."""

    kind: str
    teacher: Crops
    student: Crops
    patches: tuple[int, int]  # per side, of the teacher's and the student's

    def match(self, matching: str) -> PatchMatches:
        a, b = self.teacher, self.student
        of_a, of_b = self.patches
        return MATCHERS[matching](a.boxes, a.flip, of_a, b.boxes, b.flip, of_b)

    def split(self) -> "Iterator[ViewPairs]":
        """Yield one pair of views of all images after the other."""
        for first in range(0, len(self.teacher), IMAGES):
            rows = slice(first, first + IMAGES)
            parts = [Crops(c.boxes[rows], c.flip[rows]) for c in (self.teacher, self.student)]
            yield ViewPairs(self.kind, parts[0], parts[1], self.patches)


def sample_views() -> list[Crops]:
    sizes = torch.full((IMAGES, 2), CONFIG.base_px)
    return [
        sample_crops(
            sizes,
            DrawKey(0, 0, np.arange(IMAGES), view),
            area_frac=CONFIG.global_area_frac if view < TEACHER_VIEWS else CONFIG.local_area_frac,
            aspect=CONFIG.aspect,
            flip_prob=CONFIG.flip_prob,
        )
        for view in range(TEACHER_VIEWS + CONFIG.local_count)
    ]


def pair_views(views: list[Crops]) -> list[ViewPairs]:
    groups = {
        "global - global": (range(TEACHER_VIEWS), CONFIG.global_px),
        "global - local": (range(TEACHER_VIEWS, len(views)), CONFIG.local_px),
    }
    found = []
    for kind, (students, size_px) in groups.items():
        pairs = [(q, v) for v in students for q in range(TEACHER_VIEWS) if q != v]
        sides = [Crops.concatenate([views[pair[side]] for pair in pairs]) for side in (0, 1)]
        patches = CONFIG.global_px // PATCH_PX, size_px // PATCH_PX
        found.append(ViewPairs(kind, sides[0], sides[1], patches))
    return found


def thinned_loop(a: Box, of_a: int, b: Box, of_b: int) -> Pairs:
    """PW-Self's rule for one pair of views."""
    rows = thinned_axis((a[0], a[2], False), of_a, (b[0], b[2], False), of_b)
    columns = thinned_axis((a[1], a[3], a[4]), of_a, (b[1], b[3], b[4]), of_b)
    return [(1 + ra * of_a + ca, 1 + rb * of_b + cb) for ra, rb in rows for ca, cb in columns]


def thinned_axis(
    a: tuple[int, int, bool], of_a: int, b: tuple[int, int, bool], of_b: int
) -> list[tuple[int, int]]:
    start, end = max(a[0], b[0]), min(a[0] + a[1], b[0] + b[1])
    if end <= start:
        return []
    ranges = []
    for (own_start, length, flip), n in ((a, of_a), (b, of_b)):
        first = round(n * ((start - own_start) / length))
        count = round(n * ((end - start) / length))
        indices = range(first, min(first + count, n))
        ranges.append([n - 1 - i if flip else i for i in indices])
    shorter = min(map(len, ranges))
    last = max(shorter - 1, 1)
    return [
        (ranges[0][i * (len(ranges[0]) - 1) // last], ranges[1][i * (len(ranges[1]) - 1) // last])
        for i in range(shorter)
    ]


def nearest_loop(a: Box, of_a: int, b: Box, of_b: int) -> Pairs:
    """For each patch of b, the patch of a that its centre lies in."""
    pairs = []
    for row_b in range(of_b):
        row_a = of_a * ((2 * row_b + 1) * b[2] + 2 * of_b * (b[0] - a[0])) // (2 * of_b * a[2])
        if not 0 <= row_a < of_a:
            continue
        for column_b in range(of_b):
            centre = (2 * column_b + 1) * b[3] + 2 * of_b * (b[1] - a[1])
            column_a = of_a * centre // (2 * of_b * a[3])
            if 0 <= column_a < of_a:
                seen_a = of_a - 1 - column_a if a[4] else column_a
                seen_b = of_b - 1 - column_b if b[4] else column_b
                pairs.append((1 + row_a * of_a + seen_a, 1 + row_b * of_b + seen_b))
    return pairs


LOOPS: dict[str, Loop] = {"thinned": thinned_loop, "nearest": nearest_loop}


def run_loop(groups: list[ViewPairs], matching: str) -> list[list[Tensor]]:
    """Return, for each kind, the indices of each pair of views of each image [pairs, 2]."""
    loop = LOOPS[matching]
    return [
        [
            torch.tensor(loop(a, group.patches[0], b, group.patches[1])).reshape(-1, 2)
            for a, b in zip(as_boxes(group.teacher), as_boxes(group.student), strict=True)
        ]
        for group in groups
    ]


def as_boxes(crops: Crops) -> list[Box]:
    rows = zip(crops.boxes.tolist(), crops.flip.tolist(), strict=True)
    return [(top, left, height, width, flip) for (top, left, height, width), flip in rows]


def run_whole(groups: list[ViewPairs], matching: str) -> list[PatchMatches]:
    return [group.match(matching) for group in groups]


def run_by_pair_of_views(groups: list[ViewPairs], matching: str) -> list[PatchMatches]:
    return [part.match(matching) for group in groups for part in group.split()]


def check_equal(groups: list[ViewPairs], matching: str) -> int:
    """Compare every pair with the loop's; return how many there are."""
    total = 0
    for matches, loop in zip(run_whole(groups, matching), run_loop(groups, matching), strict=True):
        indices = torch.stack([matches.index_a, matches.index_b], dim=2)
        for row, expected in enumerate(loop):
            found = indices[row, matches.valid[row]]
            assert torch.equal(found, expected), f"{matching}: row {row} must be the loop's"
            total += len(found)
    return total


def print_speed(groups: list[ViewPairs], matching: str) -> None:
    total = check_equal(groups, matching)
    seconds = seconds_in_turn(
        {
            "loop": partial(run_loop, groups, matching),
            "a call a pair of views": partial(run_by_pair_of_views, groups, matching),
            "a call a resolution": partial(run_whole, groups, matching),
        }
    )
    times = ", ".join(f"{name} {1000 * s:.1f} ms" for name, s in seconds.items())
    ratio = seconds["loop"] / seconds["a call a resolution"]
    print(f"{matching}: {total} equal pairs; {times}; {ratio:.1f} times the loop", flush=True)


def print_distances(group: ViewPairs, matching: str) -> None:
    """Print distances: the larger of down and across, first in teacher's patches."""
    a, b = group.teacher, group.student
    matches = group.match(matching)
    apart = match_distance(matches, (a.boxes, b.boxes), (a.flip, b.flip), group.patches)
    finer = (b.boxes[:, 2:] * group.patches[0]) / (a.boxes[:, 2:] * group.patches[1])
    relative = apart / finer.clamp(min=1)[:, None]  # in the larger patch of the two
    valid = matches.valid
    own, larger = (values.amax(dim=2)[valid] for values in (apart, relative))
    per_pair = valid.sum() / len(valid)
    print(
        f"{group.kind}, {matching}: {per_pair:.1f} of {group.patches[1] ** 2} student's patches; "
        f"in teacher's patches: {summary(own)}, above 0.5: {(own > 0.5001).float().mean():.3f}; "
        f"in the larger patch: {summary(larger)}",
        flush=True,
    )


def summary(values: Tensor) -> str:
    return f"mean {float(values.mean()):.3f}, worst {float(values.max()):.2f}"


def main() -> None:
    """Print speed, then distances."""
    print(machine())
    groups = pair_views(sample_views())
    for matching in MATCHERS:
        print_speed(groups, matching)
    for group in groups:
        for matching in MATCHERS:
            print_distances(group, matching)


if __name__ == "__main__":
    main()
