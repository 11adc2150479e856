"""Where the CLS token looks in the last block, before and after."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from patchwise.pictures.colours import HEAT, heat
from patchwise.pictures.drawing import Pixels, patch_map, resize
from patchwise.pictures.figure import Figure, Row, Scale, Tile
from patchwise.pictures.gallery import Gallery, Seen

_SHOWN_IMAGES = 4
_SHOWN_HEADS = 4
_CUT = 0.995  # of all values; the few above have the lightest colour
_VEIL = 0.75  # of the heat, over the image in grey


def relative_attention(attention: Float[Tensor, "B heads N"]) -> Float[Tensor, "B heads N"]:
    """Return attention as multiples of what each patch would get if all patches got the same.

    CLS may look at itself too; that part is left out, so that the mean of every map is 1.
    """
    return attention / attention.mean(dim=-1, keepdim=True).clamp(min=1e-12)


def overlay(
    image: UInt8[np.ndarray, "S S 3"], values: Float[np.ndarray, "rows columns"]
) -> UInt8[np.ndarray, "H W 3"]:
    """Lay a heat map of values in [0, 1] over an image in grey."""
    colours = patch_map(heat(values))
    grey = resize(image, *colours.shape[:2]).mean(axis=2, keepdims=True)
    mixed: Pixels = np.rint(_VEIL * colours + (1 - _VEIL) * grey).astype(np.uint8)
    return mixed


def attention_figure(gallery: Gallery, before: Seen, after: Seen) -> Figure:
    """Show the attention of CLS over some images: the mean of all heads, and some heads."""
    states = [("before", relative_attention(before.attention), before.grid)]
    states += [("after", relative_attention(after.attention), after.grid)]
    shown = min(gallery.shown, _SHOWN_IMAGES)
    heads = before.attention.shape[1]
    seen = torch.cat([values[:shown].flatten() for _, values, _ in states])
    top = max(float(seen.quantile(_CUT)), 2.0)
    rows = []
    for i in range(shown):
        for state, values, grid in states:
            name = gallery.names[i]
            tiles = [Tile(gallery.images[i], "image", f"The image {name}.")]
            maps = {"all heads": values[i].mean(dim=0)}
            maps |= {f"head {h + 1}": values[i, h] for h in range(min(heads, _SHOWN_HEADS))}
            for label, one in maps.items():
                pixels = overlay(gallery.images[i], (one.view(grid) / top).numpy())
                alt = (
                    f"Attention of CLS over {name} {state} training, {label}: "
                    f"at most {float(one.max()):.1f} times the mean."
                )
                tiles.append(Tile(pixels, label, alt))
            rows.append(Row(f"{name}, {state}", tuple(tiles)))
    scale = Scale(HEAT, "0", f"{top:.1f}", "attention to a patch, in multiples of an even spread")
    spread = [f"{_effective(values):.0%}" for _, values, _ in states]
    caption = (
        f"How much the feature of the whole image takes from each patch. Heads that pick out "
        f"objects have found what stands for the image; heads that look at the same places in "
        f"every image look at positions, not at content. A head spreads over {spread[0]} of the "
        f"patches before and {spread[1]} after; 100% is blind to content."
    )
    some = "" if heads <= _SHOWN_HEADS else f" The first {_SHOWN_HEADS} of {heads} heads are shown."
    facts = (
        f"Attention of the CLS token in the last block to the patches, without that to itself, "
        f"over the image in grey; one scale for all maps, 1 is an even spread.{some} The spread is "
        f"exp(entropy) over the number of patches, the mean over heads and all "
        f"{len(before.attention)} images. Images: {gallery.origin}."
    )
    title = "Where CLS looks"
    return Figure("attention", title, caption, facts, tuple(rows), scale=scale)


def _effective(values: Tensor) -> float:
    """Return exp(entropy) / N of the maps, the mean over images and heads: 1 for even ones."""
    share = values / values.sum(dim=-1, keepdim=True).clamp(min=1e-12)
    entropy = torch.special.entr(share).sum(dim=-1)
    return float(entropy.exp().mean() / values.shape[-1])
