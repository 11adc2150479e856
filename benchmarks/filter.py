"""What the object-aware filter costs beside the plain ViT that it is behind.

    python -m benchmarks.filter [SIZE]     # a named size, small by default

ViT of patch 16, images of 224 px, 32 at a time, 64 prototypes; forward alone, and forward and
backward; processor seconds, medians of five rounds, both in turn. Then the same for the ways in
which scores could be computed: one convolution, whose groups are the heads, with maps of queries
that lie channels last, as they are, or channels first; patches unfolded into 3 x 3 neighbourhoods
and one product; nine products of shifted maps. The filter does the first.
"""

import functools
import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.measuring import machine, times_in_turn
from patchwise.configs.backbone import vit_config
from patchwise.models.filtered_vit import FilteredViT
from patchwise.models.vit import ViT

IMAGES, SIDE_PX, PATCH_PX, PROTOTYPES = 32, 224, 16, 64
PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16}

Scores = Callable[[Tensor, Tensor], Tensor]
"""From maps of queries (B, rows, columns, heads, d) and keys (heads, M, d, 3, 3) to scores of any
order of axes."""


def one_convolution(maps: Tensor, keys: Tensor) -> Tensor:
    channels_last = maps.flatten(3).permute(0, 3, 1, 2)
    return F.conv2d(channels_last, keys.flatten(0, 1), padding=1, groups=len(keys))


def channels_first(maps: Tensor, keys: Tensor) -> Tensor:
    contiguous = maps.flatten(3).permute(0, 3, 1, 2).contiguous()
    return F.conv2d(contiguous, keys.flatten(0, 1), padding=1, groups=len(keys))


def unfolded(maps: Tensor, keys: Tensor) -> Tensor:
    neighbourhoods = F.unfold(maps.flatten(3).permute(0, 3, 1, 2), 3, padding=1)
    per_head = neighbourhoods.reshape(len(maps), len(keys), -1, neighbourhoods.shape[-1])
    return keys.flatten(2) @ per_head


def nine_products(maps: Tensor, keys: Tensor) -> Tensor:
    rows, columns = maps.shape[1:3]
    padded = F.pad(maps, (0, 0, 0, 0, 1, 1, 1, 1)).permute(0, 3, 1, 2, 4)
    return sum(
        (
            padded[:, :, i : i + rows, j : j + columns].flatten(2, 3) @ keys[..., i, j].mT
            for i in range(3)
            for j in range(3)
        ),
        start=torch.zeros((), dtype=maps.dtype),
    )


WAYS: dict[str, Scores] = {
    "one convolution": one_convolution,
    "channels first": channels_first,
    "unfolded": unfolded,
    "nine products": nine_products,
}


def run_backbone(backbone: nn.Module, images: Tensor, *, backward: bool, half: bool) -> None:
    """Compute features, and the gradients of all weights if wanted."""
    with torch.set_grad_enabled(backward), torch.autocast("cpu", torch.bfloat16, enabled=half):
        output = backbone(images)
    if backward:
        found = [output.cls, output.patches]
        torch.autograd.backward(found, [torch.ones_like(part) for part in found])
        backbone.zero_grad(set_to_none=True)


def run_way(way: Scores, maps: Tensor, keys: Tensor, *, backward: bool) -> None:
    """Compute scores, and their gradients if wanted."""
    with torch.set_grad_enabled(backward):
        scores = way(maps, keys)
    if backward:
        torch.autograd.grad(scores, [maps, keys], torch.ones_like(scores))


def main() -> None:
    """Print two tables."""
    size = sys.argv[1] if len(sys.argv) > 1 else "small"
    config = vit_config(size, patch_px=PATCH_PX, image_px=SIDE_PX)
    images, head_dim = torch.rand(IMAGES, 3, SIDE_PX, SIDE_PX), config.dim // config.heads
    backbones = {"plain": ViT(config), "filtered": FilteredViT(ViT(config), PROTOTYPES)}
    print(machine())
    print(f"ViT {config.dim} wide, {config.depth} deep, {IMAGES} images, {PROTOTYPES} prototypes")
    for name, dtype in PRECISIONS.items():
        for backward in (False, True):
            what = f"{name}, forward{' and backward' if backward else ''}"
            options = {"backward": backward, "half": dtype == torch.bfloat16}
            variants = {
                kind: functools.partial(run_backbone, backbone, images, **options)
                for kind, backbone in backbones.items()
            }
            found = {kind: times.cpu_s for kind, times in times_in_turn(variants).items()}
            ratio = found["filtered"] / found["plain"]
            print(f"{what}: plain {found['plain']:.2f} s, filtered x{ratio:.3f}", flush=True)
            shape = (IMAGES, config.grid, config.grid, config.heads, head_dim)
            maps = torch.randn(shape, dtype=dtype).requires_grad_()
            shape = (config.heads, PROTOTYPES, head_dim, 3, 3)
            keys = torch.randn(shape, dtype=dtype).requires_grad_()
            ways = {
                way: functools.partial(run_way, function, maps, keys, backward=backward)
                for way, function in WAYS.items()
            }
            found = {way: times.cpu_s for way, times in times_in_turn(ways).items()}
            listed = "  ".join(f"{way} {1e3 * seconds:.0f}" for way, seconds in found.items())
            print(f"  scores alone, milliseconds: {listed}", flush=True)


if __name__ == "__main__":
    main()
