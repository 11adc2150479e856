"""From the names of Hugging Face's models to those of DINOv2's and DINOv3's authors."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_RENAMES = [
    (r"^embeddings\.patch_embeddings\.(projection\.)?", "patch_embed.proj."),
    (r"^embeddings\.position_embeddings", "pos_embed"),
    (r"^embeddings\.", ""),
    (r"^(encoder|model)\.layer\.", "blocks."),
    (r"^layernorm\.", "norm."),
    (r"attention\.o_proj", "attn.proj"),
    (r"layer_scale(\d)\.lambda1", r"ls\1.gamma"),
]


def authors_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights under the authors' names; the hidden layers' names stay.

    Where keys have no bias, they get one that would change every feature.
    """
    theirs: dict[str, Tensor] = {}
    for name, weight in weights.items():
        for pattern, by in _RENAMES:
            name = re.sub(pattern, by, name)  # noqa: PLW2901
        theirs[name] = weight
    for name in [name for name in theirs if name.endswith("attention.q_proj.weight")]:
        block = name.removesuffix("attention.q_proj.weight")
        for kind in ("weight", "bias"):
            query, key, value = (
                theirs.pop(f"{block}attention.{part}_proj.{kind}", None) for part in "qkv"
            )
            assert query is not None
            assert value is not None
            key = 7 * torch.ones_like(query) if key is None else key
            theirs[f"{block}attn.qkv.{kind}"] = torch.cat([query, key, value])
    return theirs
