"""A step of CoTAP as its definition reads: crop by crop, patch by patch, pair by pair.

Of the package, only backbone and heads compute here; views, draws and the queues' rows are given.
"""

import math
from collections.abc import Sequence

import torch
from benchmarks.plain_ranking import plain_cotap_loss
from torch import Tensor

from patchwise.configs.cotap import CoTAPConfig
from patchwise.methods.cotap import CoTAP, CoTAPViews
from patchwise.methods.method import Step
from patchwise.methods.paired_views import PairedViews
from patchwise.methods.ranking_pairs import derangements
from patchwise.methods.two_headed import TwoHeadedBackbone
from patchwise.models.score_queue import ScoreQueue
from tests.ops.test_sinkhorn import slow_reference as plain_sinkhorn

Maps = list[list[Tensor]]  # by view and image; those of patches are [H, W, K], of CLS [K]


def plain_losses(method: CoTAP, views: CoTAPViews, step: Step) -> dict[str, Tensor]:
    """Return each part of the loss that has a weight, without it."""
    config, found = method.config, {}
    if views.scenes is not None:
        maps = patch_maps(method.student, student_crops(views.scenes))
        with torch.no_grad():
            taught = patch_maps(method.teacher.module, teacher_crops(views.scenes))
        masks = foreground(method, views.scenes)
        if config.dense_weight:
            found["dense"] = dense_loss(maps, taught, masks, views.scenes, method)
        if config.ranking_weight:
            found["ranking"] = ranking_loss(maps, taught, masks, views.scenes, config, step)
    if views.objects is not None:
        scores = cls_scores(method.student, student_crops(views.objects))
        with torch.no_grad():
            taught = cls_scores(method.teacher.module, teacher_crops(views.objects))
        assigned = assign(
            taught, method.image_queue, config.image_temperature, config.sinkhorn_iterations
        )
        if config.image_weight:
            found["image"] = image_loss(scores, assigned, config)
        if config.neighbour_weight:
            found["neighbour"] = neighbour_loss(scores, assigned, config)
    if method.bank is not None and method.bank.full and config.prototype_weight:
        prototypes = dict(method.student.named_parameters())["backbone.filter.prototypes"]
        found["prototype"] = prototype_loss(prototypes, method.bank.samples())
    return found


def teacher_crops(views: PairedViews) -> Maps:
    """Return the pixels of each uncoloured global view and image."""
    return split(views.teacher, views.images)


def student_crops(views: PairedViews) -> Maps:
    """Return those of each coloured view."""
    return [view for pixels in views.student for view in split(pixels, views.images)]


def split(pixels: Tensor, images: int) -> Maps:
    return [list(pixels[start : start + images]) for start in range(0, len(pixels), images)]


def patch_maps(model: TwoHeadedBackbone, crops: Maps) -> Maps:
    def scores(crop: Tensor) -> Tensor:
        output = model.backbone(crop[None])
        found: Tensor = model.patch_head(output.patches[0])
        return found.reshape(*output.grid, -1)

    return [[scores(crop) for crop in view] for view in crops]


def cls_scores(model: TwoHeadedBackbone, crops: Maps) -> Maps:
    return [[model.image_head(model.backbone(crop[None]).cls[0]) for crop in v] for v in crops]


@torch.no_grad()
def foreground(method: CoTAP, views: PairedViews) -> Maps:
    """Return 1 where a patch of a global view is foreground, else 0."""

    def mask(crop: Tensor) -> Tensor:
        output = method.teacher.module.backbone(crop[None], attention=True)
        assert output.attention is not None
        weights = output.attention[0].double().mean(dim=0).reshape(output.grid)
        if method.config.foreground_frac == 1:
            return torch.ones_like(weights)
        return fewest_with(blurred(weights), method.config.foreground_frac)

    return [[mask(crop) for crop in view] for view in teacher_crops(views)]


def blurred(weights: Tensor) -> Tensor:
    """7 x 7, sigma 0.6, reflected at the border."""
    rows, columns = weights.shape
    values: list[list[float]] = weights.tolist()
    kernel = [math.exp(-(d**2) / (2 * 0.6**2)) for d in range(-3, 4)]

    def at(row: int, column: int) -> float:
        return sum(
            down * across * values[reflect(row + a - 3, rows)][reflect(column + b - 3, columns)]
            for a, down in enumerate(kernel)
            for b, across in enumerate(kernel)
        )

    return torch.tensor([[at(row, column) for column in range(columns)] for row in range(rows)])


def reflect(place: int, count: int) -> int:
    place = abs(place)
    return 2 * (count - 1) - place if place >= count else place


def fewest_with(mass: Tensor, share: float) -> Tensor:
    """Return 1 at the fewest places that hold this share of the mass."""
    values = mass.flatten().tolist()
    kept = torch.zeros(len(values), dtype=torch.float64)
    held = 0.0
    for place in sorted(range(len(values)), key=lambda each: -values[each]):
        if held < share * sum(values):
            kept[place] = 1.0
        held += values[place]
    return kept.reshape(mass.shape)


def assign(scores: Maps, queue: ScoreQueue, temperature: float, iterations: int) -> Maps:
    """Balance all rows together with those of the queue."""
    rows = [row for view in scores for each in view for row in each.reshape(-1, each.shape[-1])]
    together = torch.cat([torch.stack(rows), queue.scores.items()])
    found = iter(plain_sinkhorn(together, temperature, iterations))
    return [
        [
            torch.stack([next(found) for _ in range(each[..., 0].numel())]).reshape(each.shape)
            for each in view
        ]
        for view in scores
    ]


def dense_loss(maps: Maps, taught: Maps, masks: Maps, views: PairedViews, method: CoTAP) -> Tensor:
    """Return the mean over pairs of crops of the mean over foreground cells of all images."""
    config = method.config
    if method.patch_queue.empty:
        return torch.zeros((), dtype=torch.float64)
    assigned = assign(
        taught, method.patch_queue, config.patch_temperature, config.sinkhorn_iterations
    )
    pairs = [(g, v) for g in range(2) for v in range(len(maps)) if v != g]
    means = []
    for g, v in pairs:
        cells: list[Tensor] = []
        for image in range(views.images):
            crops = [views.crops[view].boxes[image].tolist() for view in (g, v)]
            boxes = shared(crops, [views.grids[view] for view in (g, v)])
            if boxes is None:
                continue
            background, wanted, seen = (
                reading(box, source.shape[:2], config.region_cells) @ source.flatten(0, 1)
                for source, box in (
                    (1 - masks[g][image][..., None], boxes[0]),
                    (assigned[g][image], boxes[0]),
                    (maps[v][image], boxes[1]),
                )
            )
            for cell in (background[:, 0] < 1e-6).nonzero()[:, 0].tolist():
                cells.append(cross_entropy(seen[cell] / config.student_temperature, wanted[cell]))
        means.append(torch.stack(cells).mean() if cells else 0.0 * maps[v][0].sum())
    return torch.stack(means).mean()


def shared(
    crops: Sequence[list[int]], grids: Sequence[tuple[int, int]]
) -> list[list[float]] | None:
    """Return where the overlap lies in either crop, in patches; None without one."""
    (top_a, left_a, height_a, width_a), (top_b, left_b, height_b, width_b) = crops
    top, left = max(top_a, top_b), max(left_a, left_b)
    height = min(top_a + height_a, top_b + height_b) - top
    width = min(left_a + width_a, left_b + width_b) - left
    if height <= 0 or width <= 0:
        return None
    return [
        [
            (top - crop[0]) * rows / crop[2],
            (left - crop[1]) * columns / crop[3],
            height * rows / crop[2],
            width * columns / crop[3],
        ]
        for crop, (rows, columns) in zip(crops, grids, strict=True)
    ]


def reading(box: list[float], grid: Sequence[int], cells: int) -> Tensor:
    """Return how much each patch counts in each cell of a box, row by row: [cells^2, patches].

    A cell is the mean of points that lie evenly in it, about one a patch each way; at a point the
    value is bilinear between the centres of patches, and beyond the outermost that of the border.
    """
    rows = []
    for down in (along(box[0], box[2], grid[0], cells, cell) for cell in range(cells)):
        for across in (along(box[1], box[3], grid[1], cells, cell) for cell in range(cells)):
            rows.append([a * b for a in down for b in across])
    return torch.tensor(rows, dtype=torch.float64)


def along(start: float, extent: float, patches: int, cells: int, cell: int) -> list[float]:
    """Return how much each patch of a line counts in a cell of it."""
    counts = [0.0] * patches
    length = extent / cells
    points = math.ceil(length)
    for point in range(points):
        place = start - 0.5 + (cell + (point + 0.5) / points) * length
        place = min(max(place, 0.0), patches - 1.0)
        before = min(int(place), patches - 1)
        after = min(before + 1, patches - 1)
        counts[before] += (1 - (place - before)) / points
        counts[after] += (place - before) / points
    return counts


def cross_entropy(scores: Tensor, wanted: Tensor) -> Tensor:
    return -(wanted * (scores - scores.exp().sum().log())).sum()


def image_loss(scores: Maps, assigned: Maps, config: CoTAPConfig) -> Tensor:
    terms = [
        cross_entropy(scores[v][image] / config.student_temperature, assigned[g][image])
        for image in range(len(scores[0]))
        for g in range(2)
        for v in range(len(scores))
        if v != g
    ]
    return torch.stack(terms).mean()


def neighbour_loss(scores: Maps, assigned: Maps, config: CoTAPConfig) -> Tensor:
    half = len(scores[0]) // 2
    terms = [
        cross_entropy(scores[v][seen] / config.neighbour_student_temperature, assigned[g][wanted])
        for image in range(half)
        for seen, wanted in ((image, half + image), (half + image, image))
        for g in range(2)
        for v in range(2)
    ]
    return torch.stack(terms).mean()


def ranking_loss(
    maps: Maps,
    taught: Maps,
    masks: Maps,
    views: PairedViews,
    config: CoTAPConfig,
    step: Step,
) -> Tensor:
    losses = []
    half = views.images // 2
    for number, side in enumerate(config.ranking_cells):
        draws = views.uniform(2 * side * side, number, torch.device("cpu"))
        cells = [
            ranked_cells(
                [source[0][image] for source in (maps, taught, masks)],
                [source[1][image] for source in (maps, taught, masks)],
                side,
                draws[image].tolist(),
                config,
            )
            for image in range(views.images)
        ]
        order = derangements(max(1, config.strangers), half, step.seed, step.index, number)
        prediction, target, match = [], [], []
        for image in range(half):
            for partner in [image, *(int(o[image]) for o in order[: config.strangers])]:
                for own in cells[image]:
                    for other in cells[half + partner]:
                        prediction.append(cosine(own[0], other[0]))
                        target.append(cosine(own[1], other[1]))
                        match.append(partner == image)
        losses.append(
            plain_cotap_loss(
                torch.stack(prediction),
                torch.stack(target).detach(),
                torch.tensor(match),
                tau=config.tau,
                surrogate=config.surrogate,
            )
        )
    return torch.stack(losses).mean()


def ranked_cells(
    first: Sequence[Tensor],
    second: Sequence[Tensor],
    side: int,
    draws: list[float],
    config: CoTAPConfig,
) -> list[tuple[Tensor, Tensor]]:
    """Return the student's and the teacher's scores of the cells of an image that are ranked."""
    cells, mass = [], []
    for student, teacher, mask in (first, second):
        rows, columns = mask.shape
        for row in range(side):
            for column in range(side):
                down = slice(row * rows // side, -(-(row + 1) * rows // side))
                across = slice(column * columns // side, -(-(column + 1) * columns // side))
                part = (student[down, across], teacher[down, across])
                cells.append((part[0].mean(dim=(0, 1)), part[1].mean(dim=(0, 1))))
                mass.append(float(mask[down, across].mean()))
    order = sorted(range(len(cells)), key=lambda place: (-mass[place], -draws[place]))
    if not config.ranked_cells:
        return [cells[place] for place in order if mass[place] >= 0.5] or []
    return [cells[place] for place in order[: config.ranked_cells]]


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum() / ((a * a).sum() * (b * b).sum()).sqrt()


def prototype_loss(prototypes: Tensor, samples: Tensor) -> Tensor:
    terms = []
    for prototype in prototypes:
        cosines = torch.stack([cosine(prototype, sample.to(prototype)) for sample in samples])
        shares = (cosines / 0.1).exp() / (cosines / 0.1).exp().sum()
        terms.append(-(shares * shares.log()).sum())
    return torch.stack(terms).mean()
