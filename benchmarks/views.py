"""Views of training against PIL: speed on one core, and differences in grey levels.

    PATCHWISE_DATA=FOLDER python -m benchmarks.views

Without ``PATCHWISE_DATA`` synthetic scenes, enlarged, take the place of photographs. Views are 2 of
224 px and 8 of 96 px with DINO's settings. PIL makes the same views, from the same drawn numbers,
one after the other, as DINO's code does; both end in normalised float32 batches. Patches are recoloured
with PW-Self's settings, beside loops over the tiles that use the same operations on one tile at a
time, of torch and of PIL. All in turn, one thread, medians of five rounds. Decoding is not counted.
"""

import numpy as np
import torch
from PIL import Image

from benchmarks import pil_views
from benchmarks.measuring import machine, seconds_in_turn
from benchmarks.photographs import Picture, are_there, pictures
from patchwise.augment.crop import Crops, apply_crops, sample_crops
from patchwise.augment.draw import DrawKey
from patchwise.augment.multicrop import MultiCropViews, make_multicrop
from patchwise.augment.patch_photometric import (
    OPS,
    PatchPhotometric,
    apply_patch_photometric,
    sample_patch_photometric,
)
from patchwise.augment.photometric import Photometric, apply_photometric, sample_photometric
from patchwise.configs.views import PatchColourConfig, ViewsConfig
from patchwise.data.images import collate
from patchwise.normalisation import normalise
from patchwise.ops import colour
from patchwise.types import ImageBatch

BATCH, PATCH_PX = 8, 16
VIEWS, PATCHES = ViewsConfig(), PatchColourConfig()
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


def as_tensor(images: list[Image.Image]) -> torch.Tensor:
    """Return images of one size in [0, 1], [B, 3, H, W]."""
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images]))
    return pixels.permute(0, 3, 1, 2).float().div_(255).contiguous()


def tiles_by_torch(images: torch.Tensor, params: PatchPhotometric) -> torch.Tensor:
    """Recolour tile after tile with the operations of the library."""
    result = images.clone()
    columns = images.shape[3] // PATCH_PX
    for image, patch in np.ndindex(*params.hue.shape):
        y, x = patch // columns * PATCH_PX, patch % columns * PATCH_PX
        box = result[image : image + 1, :, y : y + PATCH_PX, x : x + PATCH_PX]
        box.copy_(recolour_tile(box, params, (image, patch)))
    return result


def recolour_tile(tile: torch.Tensor, params: PatchPhotometric, at: tuple[int, int]) -> torch.Tensor:
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


def as_images(views: torch.Tensor) -> list[Image.Image]:
    pixels = (views * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    return [Image.fromarray(image) for image in pixels]


def time_views(batch: ImageBatch, images: list[Image.Image]) -> None:
    times = seconds_in_turn({"ours": lambda: ours(batch), "PIL": lambda: by_pil(images, batch)})
    print_ms("views", times)


def print_ms(what: str, times: dict[str, float]) -> None:
    ms = "  ".join(f"{name} {each / BATCH * 1e3:.2f}" for name, each in times.items())
    ratio = min(each for name, each in times.items() if name != "ours") / times["ours"]
    print(f"{what}, ms an image: {ms}; {ratio:.1f} times as fast as the next", flush=True)


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
    print_ms("patches, parameters given", seconds_in_turn(variants))


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


if __name__ == "__main__":
    main()
