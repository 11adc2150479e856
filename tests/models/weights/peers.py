"""Models of transformers and timm, made offline, with every weight redrawn, saved as they save."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from patchwise.errors import WeightsError
from patchwise.models.vit import ViT
from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.folder import read_folder
from patchwise.models.weights.load import LAYOUTS, read_backbone, recognise
from tests.models.redrawing import redraw

DIM, DEPTH, HEADS = 48, 2, 3
STORED = 6  # patches along a side
GRIDS = [(6, 6), (4, 4), (9, 9), (4, 8), (7, 3)]  # native, smaller, larger, not square

# Class of transformers, and its options beside the sizes.
TRANSFORMERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ViT": ("ViTModel", {"intermediate_size": 2 * DIM}),
    "ViT, eps and biases": (
        "ViTModel",
        {"intermediate_size": 72, "layer_norm_eps": 0.1, "qkv_bias": False},
    ),
    "ViT, classifier": ("ViTForImageClassification", {"intermediate_size": 2 * DIM}),
    "ViTMAE": ("ViTMAEModel", {"intermediate_size": 2 * DIM, "mask_ratio": 0.0}),
    "ViTMSN": ("ViTMSNModel", {"intermediate_size": 2 * DIM}),
    "Dinov2": ("Dinov2Model", {"mlp_ratio": 2}),
    "Dinov2, eps and biases": (
        "Dinov2Model",
        {"mlp_ratio": 3, "layer_norm_eps": 0.1, "qkv_bias": False},
    ),
    "Dinov2, SwiGLU": (  # the hidden layer is rounded up
        "Dinov2Model",
        {"use_swiglu_ffn": True, "hidden_size": 40, "num_attention_heads": 2},
    ),
    "Dinov2, classifier": ("Dinov2ForImageClassification", {"mlp_ratio": 2}),
    "Dinov2WithRegisters": (
        "Dinov2WithRegistersModel",
        {"mlp_ratio": 2, "num_register_tokens": 3},
    ),
    "Dinov2WithRegisters, SwiGLU": ("Dinov2WithRegistersModel", {"use_swiglu_ffn": True}),
    "Dinov2WithRegisters, classifier": (
        "Dinov2WithRegistersForImageClassification",
        {"mlp_ratio": 2},
    ),
    "Dinov2WithRegisters, none": ("Dinov2WithRegistersModel", {"num_register_tokens": 0}),
    "DINOv3ViT": ("DINOv3ViTModel", {"intermediate_size": 2 * DIM, "num_register_tokens": 4}),
    "DINOv3ViT, gated": (
        "DINOv3ViTModel",
        {
            "intermediate_size": 72,
            "num_register_tokens": 4,
            "use_gated_mlp": True,
            "hidden_act": "silu",
        },
    ),
    "DINOv3ViT, all biases": (
        "DINOv3ViTModel",
        {"intermediate_size": 72, "key_bias": True, "layer_norm_eps": 0.1},
    ),
    "DINOv3ViT, no biases, other periods": (
        "DINOv3ViTModel",
        {"intermediate_size": 72, "query_bias": False, "value_bias": False, "rope_theta": 30.0},
    ),
}
# Architecture of timm, and its arguments beside the sizes.
TIMM: dict[str, tuple[str, dict[str, Any]]] = {
    "ViT": ("vit_small_patch16_224", {"num_classes": 0}),
    "ViT, classifier": ("vit_small_patch16_224", {"num_classes": 5, "mlp_ratio": 2.0}),
    "ViT, no biases": ("vit_small_patch16_224", {"num_classes": 0, "qkv_bias": False}),
    "ViT, registers placed": (
        "vit_small_patch16_224",
        {"num_classes": 0, "reg_tokens": 2, "init_values": 1e-5},
    ),
    "DINOv2": ("vit_small_patch14_dinov2", {}),
    "DINOv2, registers": ("vit_small_patch14_reg4_dinov2", {}),
    "DINOv2, SwiGLU": ("vit_giant_patch14_dinov2", {}),
    "DINOv3": ("vit_small_patch16_dinov3", {}),
    "DINOv3, biases": ("vit_small_patch16_dinov3_qkvb", {"num_reg_tokens": 2}),
    "DINOv3, SwiGLU": ("vit_huge_plus_patch16_dinov3", {"mlp_ratio": 1.5}),
    "DINOv3, classifier": ("vit_base_patch16_dinov3_qkvb", {"num_classes": 5}),
}


@dataclass(frozen=True)
class Peer:
    """A model of another library."""

    patch_px: int
    tokens: Callable[[Tensor], Tensor]  # images to CLS, registers and patches after the last norm
    save: Callable[[Path], object]  # into a folder, as the library does


def transformers_peer(name: str, patch_px: int = 4, *, published: bool = True) -> Peer:
    """Return a model of transformers.

    Args:
        name: Of `TRANSFORMERS`.
        patch_px: Side of a patch.
        published: Save it under the names in which models are published, or those of its modules.
    """
    transformers: Any = pytest.importorskip("transformers")
    transformers.utils.logging.disable_progress_bar()
    class_name, options = TRANSFORMERS[name]
    made_by = getattr(transformers, class_name)
    sizes = {
        "hidden_size": DIM,
        "num_hidden_layers": DEPTH,
        "num_attention_heads": HEADS,
        "image_size": STORED * patch_px,
        "patch_size": patch_px,
    }
    model = made_by(made_by.config_class(**(sizes | options))).eval()
    redraw(model)
    base = getattr(model, model.base_model_prefix) if "For" in class_name else model
    resized = {"interpolate_pos_encoding": True} if class_name.startswith("ViT") else {}

    def tokens(images: Tensor) -> Tensor:
        # Of MAE, which would shuffle the patches.
        count = images.shape[-2] // patch_px * images.shape[-1] // patch_px
        in_order = {"noise": torch.arange(count).expand(len(images), -1).float()}
        last: Tensor = base(
            images, **resized, **(in_order if "MAE" in class_name else {})
        ).last_hidden_state
        return last

    def save(folder: Path) -> None:
        model.save_pretrained(folder, save_original_format=published)

    return Peer(patch_px, tokens, save)


def timm_peer(name: str, patch_px: int = 4) -> Peer:
    """Return a model of timm, of `TIMM`."""
    timm: Any = pytest.importorskip("timm")
    from timm.models._hub import save_for_hf  # noqa: PLC0415

    architecture, arguments = TIMM[name]
    model = timm.create_model(
        architecture,
        embed_dim=DIM,
        depth=DEPTH,
        num_heads=HEADS,
        patch_size=patch_px,
        img_size=STORED * patch_px,
        dynamic_img_size=True,
        **arguments,
    ).eval()
    redraw(model)
    return Peer(
        patch_px,
        model.forward_features,
        lambda folder: save_for_hf(model, str(folder), safe_serialization=True),
    )


def peer_names() -> list[tuple[str, str]]:
    """Return library and name of all models."""
    return [("transformers", name) for name in TRANSFORMERS] + [("timm", name) for name in TIMM]


def make_peer(library: str, name: str, patch_px: int = 4) -> Peer:
    """Return a model of `peer_names`, saved as it is published."""
    return (transformers_peer if library == "transformers" else timm_peer)(name, patch_px)


def make_images(grid: tuple[int, int], patch_px: int) -> Tensor:
    """Return images of so many patches, the same ones for the same numbers."""
    generator = torch.Generator().manual_seed(grid[0] * 100 + grid[1])
    return torch.randn(2, 3, *(side * patch_px for side in grid), generator=generator)


@torch.no_grad()
def largest_difference(peer: Peer, ours: ViT, grid: tuple[int, int]) -> tuple[float, float]:
    """Return the largest difference of CLS and of patches, of images of so many patches."""
    images = make_images(grid, peer.patch_px)
    theirs, found = peer.tokens(images), ours(images)
    assert theirs.isfinite().all()
    assert theirs.abs().mean() > 0.3, "features are large beside the tolerance"
    patches = theirs[:, 1 + ours.config.registers :]
    assert patches.shape == found.patches.shape
    return (
        float((theirs[:, 0] - found.cls).abs().max()),
        float((patches - found.patches).abs().max()),
    )


def check_features(peer: Peer, folder: Path) -> ViT:
    """Save the peer, load it here, and compare features at all sizes; return what was loaded."""
    peer.save(folder)
    ours = read_backbone(folder).vit
    for grid in GRIDS:
        assert max(largest_difference(peer, ours, grid)) < 1e-5, grid
    return ours


def check_every_key_counts(folder: Path, layout: str) -> None:
    """Take each tensor away, and rename each: but for those left out, that fails by its name."""
    file = read_folder(folder)
    assert recognise(file) is LAYOUTS[layout]
    read = LAYOUTS[layout].read
    left_out = [n for n in file.contents if is_left_out(n, read(file).left_out)]
    for name in file.contents:
        rest = {other: tensor for other, tensor in file.contents.items() if other != name}
        if name in left_out:
            read(replace(file, contents=rest))
            continue
        for changed in (rest, rest | {f"{name}_": file.contents[name]}):
            with pytest.raises(WeightsError, match=f"'{name}['_]"):
                read(replace(file, contents=changed))


def with_options(file: WeightsFile, **options: object) -> WeightsFile:
    """Return a file whose config.json says something else."""
    return replace(file, config={**file.config, **options})


def with_arguments(file: WeightsFile, **arguments: object) -> WeightsFile:
    """Return a file of timm whose config.json has other arguments of the model as well."""
    return with_options(file, model_args={**file.config["model_args"], **arguments})


def without_options(file: WeightsFile, *names: str) -> WeightsFile:
    """Return a file whose config.json does not say some things."""
    return replace(file, config={k: v for k, v in file.config.items() if k not in names})


def is_left_out(name: object, left_out: Iterable[str]) -> bool:
    """Tell whether a tensor is among what was said to be left out."""
    return any(fnmatchcase(str(name), part) for part in left_out)
