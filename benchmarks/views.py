"""Views of training against PIL: speed on one core, and differences in grey levels.

    PATCHWISE_DATA=FOLDER python -m benchmarks.views

Without ``PATCHWISE_DATA`` synthetic scenes, enlarged, take the place of photographs. Views are 2 of
224 px and 8 of 96 px with DINO's settings. PIL makes the same views, from the same drawn numbers,
one after the other, as DINO's code does; both end in normalised float32 batches. Patches are
recoloured with PW-Self's settings, beside loops over the tiles that use the same operations on one
tile at a time, of torch and of PIL. All in turn, one thread, medians of five rounds: time on the
clock, and in brackets that of the processor, which other programs change less. Decoding is not
counted.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from benchmarks import pil_views
from benchmarks.measuring import Times, machine, times_in_turn
from benchmarks.photographs import Picture, are_there, pictures
from benchmarks.pil_differences import as_images, as_tensor, differences
from patchwise.augment.crop import Crops, apply_crops, sample_crops
from patchwise.augment.draw import DrawKey
from patchwise.augment.multicrop import MultiCropViews, make_multicrop
from patchwise.augment.overlapping_views import make_overlapping_views
from patchwise.augment.patch_photometric import (
    OPS,
    PatchPhotometric,
    apply_patch_photometric,
    sample_patch_photometric,
)
from patchwise.augment.photometric import Photometric, sample_photometric
from patchwise.configs.backbone import ViTConfig
from patchwise.configs.views import (
    MultiCropConfig,
    OverlappingViewsConfig,
    PatchColourConfig,
    ViewsConfig,
)
from patchwise.data.images import collate
from patchwise.models.vit import ViT
from patchwise.normalisation import normalise
from patchwise.ops import colour
from patchwise.types import ImageBatch

BATCH, PATCH_PX = 8, 16
VIEWS, PATCHES, OVERLAPPING = ViewsConfig(), PatchColourConfig(), OverlappingViewsConfig()
Drawn = list[tuple[int, Crops, Photometric]]  # of each view: its side, and what was drawn for it


def draw(batch: ImageBatch, views: ViewsConfig) -> Drawn:
    """Draw what `make_multicrop` draws for seed 0."""
    drawn: Drawn = []
    for view in range(2 + views.local_count):
        key = DrawKey(0, batch.epoch, batch.ids.numpy(), view)
        area = views.global_area_frac if view < 2 else views.local_area_frac
        kind = min(view, 2)
        colours = sample_photometric(
            key, views, blur_prob=views.blur_probs[kind], solarise_prob=views.solarise_probs[kind]
        )
        crops = sample_crops(batch.sizes, key, area_frac=area, aspect=views.aspect)
        drawn.append((views.global_px if view < 2 else views.local_px, crops, colours))
    return drawn


def ours(batch: ImageBatch, views: ViewsConfig = VIEWS) -> MultiCropViews:
    return make_multicrop(batch, views, patch_colour=None, patch_px=PATCH_PX, seed=0)


def by_pil(images: list[Image.Image], batch: ImageBatch) -> list[torch.Tensor]:
    """Make each view of each image by PIL, drawing included; one normalised batch a view."""
    made = []
    for size_px, crops, colours in draw(batch, VIEWS):
        one_view = [
            pil_views.recolour(pil_views.crop(image, crops, at, size_px), colours, at)
            for at, image in enumerate(images)
        ]
        made.append(normalise(as_tensor(one_view)))
    return made


def tiles_by_torch(images: torch.Tensor, params: PatchPhotometric) -> torch.Tensor:
    """Recolour tile after tile with the operations of the library."""
    result = images.clone()
    columns = images.shape[3] // PATCH_PX
    for image, patch in np.ndindex(*params.hue.shape):
        y, x = patch // columns * PATCH_PX, patch % columns * PATCH_PX
        box = result[image : image + 1, :, y : y + PATCH_PX, x : x + PATCH_PX]
        box.copy_(recolour_tile(box, params, (image, patch)))
    return result


def recolour_tile(
    tile: torch.Tensor, params: PatchPhotometric, at: tuple[int, int]
) -> torch.Tensor:
    """Recolour one tile [1, 3, p, p]."""
    turn, factor = params.hue[at].view(1), params.brightness[at].view(1)
    for op in params.order[at].tolist():
        if OPS[op] == "jitter" and params.hue_first[at]:
            tile = colour.brightness(colour.hue(tile, turn), factor)
        elif OPS[op] == "jitter":
            tile = colour.hue(colour.brightness(tile, factor), turn)
        elif OPS[op] == "blur":
            tile = colour.gaussian_blur(tile, params.sigma_px[at].view(1), kernel_px=(5, 1))
        elif OPS[op] == "sharpness" and params.sharpen[at]:
            tile = colour.sharpness(tile, torch.tensor([params.sharpness]))
        elif OPS[op] == "posterise" and params.posterise[at]:
            tile = colour.posterise(tile, bits=params.posterise_bits)
    return tile


def tiles_by_pil(images: list[Image.Image], params: PatchPhotometric) -> None:
    """Recolour tile after tile with PIL, in place."""
    columns = images[0].width // PATCH_PX
    for image, patch in np.ndindex(*params.hue.shape):
        y, x = patch // columns * PATCH_PX, patch % columns * PATCH_PX
        tile = images[image].crop((x, y, x + PATCH_PX, y + PATCH_PX))
        images[image].paste(pil_views.recolour_tile(tile, params, (image, patch)), (x, y))


def time_views(batch: ImageBatch, images: list[Image.Image]) -> None:
    times = times_in_turn({"ours": lambda: ours(batch), "PIL": lambda: by_pil(images, batch)})
    print_ms("views", times)


def in_ms(times: Times, number: int) -> str:
    return f"{times.wall_s / number * 1e3:.2f} ({times.cpu_s / number * 1e3:.2f})"


def print_ms(what: str, times: dict[str, Times]) -> None:
    ms = "  ".join(f"{name} {in_ms(each, BATCH)}" for name, each in times.items())
    others = [each for name, each in times.items() if name != "ours"]
    wall = min(each.wall_s for each in others) / times["ours"].wall_s
    cpu = min(each.cpu_s for each in others) / times["ours"].cpu_s
    print(
        f"{what}, ms an image: {ms}; {wall:.1f} ({cpu:.1f}) times as fast as the next", flush=True
    )


def time_patches(batch: ImageBatch) -> None:
    """Recolour the patches of all views; ours with and without the drawing of parameters."""
    groups = []
    for side_px, views in ((VIEWS.global_px, range(2)), (VIEWS.local_px, range(2, 10))):
        drawn = [each for view, each in enumerate(draw(batch, VIEWS)) if view in views]
        crops = Crops.concatenate([crops for _, crops, _ in drawn])
        pixels = apply_crops(batch.pixels, batch.sizes, crops, size_px=side_px)
        keys = [DrawKey(0, 0, batch.ids.numpy(), view) for view in views]
        groups.append((pixels, keys, (side_px // PATCH_PX) ** 2))

    def sample(keys: list[DrawKey], patches: int) -> PatchPhotometric:
        return PatchPhotometric.concatenate(
            [sample_patch_photometric(key, patches, PATCHES) for key in keys]
        )

    params = [sample(keys, patches) for _, keys, patches in groups]
    images = [as_images(pixels) for pixels, _, _ in groups]

    def all_of_ours() -> None:
        for (pixels, _, _), drawn in zip(groups, params, strict=True):
            apply_patch_photometric(pixels, drawn, PATCH_PX)

    def loop_of_torch() -> None:
        for (pixels, _, _), drawn in zip(groups, params, strict=True):
            tiles_by_torch(pixels, drawn)

    def loop_of_pil() -> None:
        for some, drawn in zip(images, params, strict=True):
            tiles_by_pil([image.copy() for image in some], drawn)

    variants = {"ours": all_of_ours, "loop of torch": loop_of_torch, "loop of PIL": loop_of_pil}
    print_ms("patches, parameters given", times_in_turn(variants))


def time_growth(photos: list[Picture]) -> None:
    """Print whether time grows as the number of images and of views does."""
    batches = {n: collate((photos * n)[:n], list(range(n)), epoch=0) for n in (4, 8, 16, 32)}
    settings = {n: dataclasses.replace(VIEWS, local_count=n) for n in (2, 4, 8, 16)}
    variants: dict[str, Callable[[], object]] = {
        f"{n} images": functools.partial(ours, batch) for n, batch in batches.items()
    }
    variants |= {
        f"{n} local views": functools.partial(ours, batches[BATCH], views)
        for n, views in settings.items()
    }
    times = times_in_turn(variants)
    for name, each in times.items():
        number = int(name.split()[0]) if "images" in name else BATCH
        print(f"{name}: {in_ms(each, number)} ms an image")


def time_overlapping(batch: ImageBatch) -> None:
    """Time CoTAP's views beside as many of the same areas and colours that need not overlap."""
    free = ViewsConfig(
        **{f.name: getattr(OVERLAPPING, f.name) for f in dataclasses.fields(MultiCropConfig)},
        flip_prob=0.0,
        blur_probs=(OVERLAPPING.blur_prob,) * 3,
        solarise_probs=(0.0, 0.0, 0.0),
    )

    def overlapping() -> None:
        make_overlapping_views(batch, OVERLAPPING, patch_px=PATCH_PX, seed=0)

    times = times_in_turn({"overlapping": overlapping, "free": lambda: ours(batch, free)})
    ms = "  ".join(f"{name} {in_ms(each, BATCH)}" for name, each in times.items())
    ratio = times["overlapping"].cpu_s / times["free"].cpu_s
    print(
        f"2 + {OVERLAPPING.local_count} views, ms an image: {ms}; processor times {ratio:.2f} to 1"
    )


def time_step(batch: ImageBatch) -> None:
    """Print views beside forward and backward of a ViT-Ti/16 on them, float32."""
    vit = ViT(ViTConfig(dim=192, depth=12, heads=3, patch_px=16, image_px=224))
    views = make_multicrop(batch, VIEWS, patch_colour=PATCHES, patch_px=PATCH_PX, seed=0)

    def step() -> None:
        with torch.no_grad():
            vit(views.pixels[0])  # the teacher
        for pixels in views.pixels:
            vit(pixels).patches.square().mean().backward()

    def make() -> None:
        make_multicrop(batch, VIEWS, patch_colour=PATCHES, patch_px=PATCH_PX, seed=0)

    times = times_in_turn({"views": make, "backbone": step}, rounds=3)
    share = times["views"].cpu_s / sum(each.cpu_s for each in times.values())
    print(
        f"ViT-Ti/16, no head: views with patch colours {in_ms(times['views'], BATCH)} ms an image, "
        f"backbones {in_ms(times['backbone'], BATCH)}: a share of {share:.3f} of processor time"
    )


def main() -> None:
    """Print all of it."""
    torch.set_num_threads(1)
    pixels: list[Picture] = pictures(BATCH)
    images = [Image.fromarray(each) for each in pixels]
    batch = collate(pixels, list(range(BATCH)), epoch=0)
    print(machine())
    print("photographs" if are_there() else "synthetic scenes", [i.size for i in images])
    time_views(batch, images)
    time_patches(batch)
    time_growth(pixels)
    time_overlapping(batch)
    time_step(batch)
    print("mean absolute differences from PIL, grey levels of 255")
    for name, value in differences(pictures(16)).items():
        print(f"{name:32s} {value:.3f}")


if __name__ == "__main__":
    main()
