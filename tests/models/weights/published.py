"""Files as the families of published weights save them, made from a ViT of ours.

Names and containers are those of the authors' own code; sizes are small, but for the widths by
which the number of heads is known.
"""

import argparse
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from patchwise.configs.backbone import ViTConfig
from patchwise.models.filtered_vit import FilteredViT
from patchwise.models.vit import ViT
from tests.models.redrawing import redraw

Tensors = dict[str, Tensor]


def noise(*shape: int) -> Tensor:
    """Return a tensor that changes every feature it gets into."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def others(weights: Mapping[str, Tensor]) -> Tensors:
    """Return other weights of the same names and shapes."""
    return {name: noise(*weight.shape) for name, weight in weights.items()}


def prefixed(prefix: str, weights: Mapping[str, Tensor]) -> Tensors:
    return {f"{prefix}{name}": weight for name, weight in weights.items()}


def same(weights: Tensors) -> Tensors:
    return dict(weights)


def bare(tensors: Tensors) -> dict[str, Any]:
    return OrderedDict(tensors)


@dataclass(frozen=True)
class Published:
    """A family's file."""

    name: str
    layout: str  # the name by which users ask for it
    config: ViTConfig
    rename: Callable[[Tensors], Tensors] = same  # from our names to the file's
    companions: Tensors | None = None  # what lies beside the weights
    wrap: Callable[[Tensors], dict[str, Any]] = bare
    left_out: tuple[str, ...] = ()  # what is said of it
    suffix: str = ".pth"
    untold: tuple[str, ...] = ()  # names without which the file is a good one of other kind
    prototypes: int = 0  # of the filter behind the ViT; 0: there is none

    @cached_property
    def backbone(self) -> ViT | FilteredViT:
        """Return the backbone of the file."""
        vit = ViT(self.config)
        backbone = FilteredViT(vit, self.prototypes) if self.prototypes else vit
        redraw(backbone)
        if self.config.positions == "rotary":
            periods = vit.rope_embed.periods
            periods.mul_(1 + noise(*periods.shape).abs())
        return backbone.eval()

    @cached_property
    def mapped(self) -> Tensors:
        """Return the weights of `backbone` under the file's names."""
        return self.rename(dict(self.backbone.state_dict()))

    def contents(self, mapped: Tensors | None = None) -> dict[str, Any]:
        """Return what the file holds; with other weights than `mapped` if they are given."""
        weights = self.mapped if mapped is None else mapped
        return self.wrap({**weights, **(self.companions or {})})

    def write(self, folder: Path) -> Path:
        """Write the file, and return its path."""
        path = folder / f"weights{self.suffix}"
        if self.suffix == ".safetensors":
            save_file({n: t.contiguous() for n, t in self.contents().items()}, path)
        else:
            torch.save(self.contents(), path)
        return path


TINY = ViTConfig(dim=192, depth=2, heads=3, patch_px=4, image_px=16, mlp_ratio=0.5)
SCALED = replace(TINY, layer_scale=1.0)
WIDE = replace(TINY, dim=768, depth=1, heads=12, interpolation="size")
REGISTERED = replace(SCALED, registers=4, interpolation="size-antialias")
# Heads of DINOv3 are told by its periods.
ROTARY = replace(
    SCALED,
    dim=64,
    heads=2,
    image_px=56,
    registers=4,
    positions="rotary",
    qkv_bias="no_key",
    norm_eps=1e-5,
)
TIMM = replace(TINY, interpolation="size-antialias")


def dino_head(prefix: str = "head.") -> Tensors:
    layers = {
        f"mlp.{layer}.{kind}": noise(3, 3)[: 3 if kind == "weight" else 1]
        for layer in (0, 2, 4)
        for kind in ("weight", "bias")
    }
    last = {"last_layer.weight_g": noise(5, 1), "last_layer.weight_v": noise(5, 3)}
    return prefixed(prefix, {**layers, **last})


def training_state(args: dict[str, object]) -> dict[str, Any]:
    """Return what DINO's script saves besides weights; its rates come from an array of numpy."""
    return {
        "optimizer": {
            "state": {0: {"step": 3, "exp_avg": noise(4)}},
            "param_groups": [{"lr": np.float64(1e-3), "weight_decay": np.float64(0.04)}],
        },
        "epoch": 7,
        "args": argparse.Namespace(arch="vit_small", local_crops_scale=(0.05, 0.4), **args),
        "fp16_scaler": {"scale": 65536.0, "growth_factor": 2.0},
    }


def dino_full(teacher: Tensors) -> dict[str, Any]:
    student = prefixed("module.", others(teacher))
    loss = {"dino_loss": {"center": noise(1, 5)}}
    return {"student": student, "teacher": teacher, **training_state({"lr": 0.1}), **loss}


def student_alone(student: Tensors) -> dict[str, Any]:
    return {"student": prefixed("module.", student), "epoch": 1}


def ibot_full(teacher: Tensors) -> dict[str, Any]:
    student = {**others(teacher), "backbone.masked_embed": noise(1, 192)}
    state = training_state({"shared_head": True})
    loss = {"ibot_loss": {"center": noise(1, 5), "center2": noise(1, 1, 5)}}
    return {"student": prefixed("module.", student), "teacher": teacher, **state, **loss}


def backbone_prefix(weights: Tensors) -> Tensors:
    return prefixed("backbone.", weights)


def in_state_dict(tensors: Tensors) -> dict[str, Any]:
    return {"state_dict": tensors}


def lightning(tensors: Tensors) -> dict[str, Any]:
    return {
        "epoch": 4,
        "global_step": 100,
        "pytorch-lightning_version": "1.4.0",
        "state_dict": OrderedDict(tensors),
        "callbacks": {"ModelCheckpoint": {"best_model_score": noise(1)[0], "dirpath": "runs"}},
        "optimizer_states": [{"state": {0: {"exp_avg": noise(4)}}}],
        "lr_schedulers": [{"base_lrs": [1e-3]}],
        "hyper_parameters": {"gpus": 2, "nmb_crops": [2, 4], "arch": "vit-small"},
    }


def leopart_companions() -> Tensors:
    head = {
        f"projection_head.{layer}.{k}": noise(3) for layer in (0, 2, 4) for k in ("weight", "bias")
    }
    head["prototypes.weight"] = noise(4, 3)
    teacher = others(ViT(TINY).state_dict())
    return {**prefixed("model.", head), **prefixed("teacher.", {**teacher, **head})}


def cotap_names(weights: Tensors) -> Tensors:
    """Return the names of their student; the filter's norms are the last block's."""
    last = f"blocks.{TINY.depth - 1}."
    theirs: Tensors = {}
    for name, weight in weights.items():
        part, _, rest = name.partition(".")
        if part == "filter":
            rest = "kernel" if rest == "prototypes" else last + rest
        theirs[f"net.model.{rest}"] = weight
    return theirs


def cotap_companions() -> Tensors:
    """Return norms of blocks that nobody uses, heads, and a whole teacher."""
    dim = TINY.dim
    widths = {"norm_in": dim, "norm_out_patch": 2 * dim, "norm_out_cls": 2 * dim}
    kinds = ("weight", "bias")
    unused = {f"blocks.0.{n}.{kind}": noise(w) for n, w in widths.items() for kind in kinds}
    layers = {f"projection_head.{i}.{kind}": noise(3) for i in (0, 2, 4) for kind in kinds}
    layers |= {"last_layer.weight_g": noise(4, 1), "last_layer.weight_v": noise(4, 3)}
    heads = {
        f"projection_heads.{i}.{name}": tensor for i in (0, 1) for name, tensor in layers.items()
    }
    student = cotap_names(dict(FilteredViT(ViT(TINY), 3).state_dict()))
    teacher = {n.replace("net.", "net_teacher."): noise(*w.shape) for n, w in student.items()}
    return {
        **prefixed("net.model.", {**unused, **heads}),
        **prefixed("net_teacher.model.", {**unused, **heads}),
        **teacher,
    }


def block_names(weights: Mapping[str, Tensor], to: str) -> Tensors:
    """Return other weights for the first block, under another name."""
    first = "blocks.0."
    return {
        n.replace(first, to): noise(*w.shape) for n, w in weights.items() if n.startswith(first)
    }


def mae_decoder() -> Tensors:
    linear = {
        f"decoder_{part}.{k}": noise(3)
        for part in ("embed", "norm", "pred")
        for k in ("weight", "bias")
    }
    blocks = block_names(ViT(TINY).state_dict(), "decoder_blocks.0.")
    return {"mask_token": noise(1, 1, 3), "decoder_pos_embed": noise(1, 5, 3), **linear, **blocks}


def mae_run(tensors: Tensors) -> dict[str, Any]:
    return {"model": tensors, **training_state({"norm_pix_loss": True}), "scaler": {"scale": 1.0}}


def mocov3_companions() -> Tensors:
    head = {"head.0.weight": noise(3, 3), "head.1.weight": noise(3), "head.1.bias": noise(3)}
    head |= {"head.1.running_mean": noise(3), "head.1.running_var": noise(3)}
    head["head.1.num_batches_tracked"] = torch.tensor(9)
    momentum = others(ViT(TINY).state_dict())
    return {
        **prefixed("module.base_encoder.", head),
        **prefixed("module.momentum_encoder.", {**momentum, **head}),
        **{f"module.predictor.{name.removeprefix('head.')}": t for name, t in head.items()},
    }


def mocov3_run(tensors: Tensors) -> dict[str, Any]:
    return {
        "epoch": 300,
        "arch": "vit_small",
        "state_dict": tensors,
        "optimizer": {"state": {0: {"mu": noise(3)}}},
    }


def dinov3_names(weights: Tensors) -> Tensors:
    theirs: Tensors = {}
    for name, weight in weights.items():
        if name == "register_tokens":
            theirs["storage_tokens"] = weight
        elif ".mlp.w12." in name:
            for part, half in zip(("w1", "w2"), weight.chunk(2), strict=True):
                theirs[name.replace("w12", part)] = half
        else:
            theirs[name] = weight
        if name.endswith("qkv.bias"):
            third = torch.ones(len(weight) // 3)
            theirs[f"{name}_mask"] = torch.cat([third, 0 * third, third])
    return theirs


def timm_names(*, placed: int) -> Callable[[Tensors], Tensors]:
    """Return a function to timm's names, with places for so many tokens before the patches."""

    def rename(weights: Tensors) -> Tensors:
        theirs = dict(weights)
        cls, patches = theirs["pos_embed"].tensor_split([1], dim=1)
        registers = theirs.pop("register_tokens", None)
        places = [patches]
        if placed > 1:
            assert registers is not None
            places.insert(0, noise(*registers.shape))
            registers = registers - places[0]
        if registers is not None:
            theirs["reg_token"] = registers
        if placed:
            places.insert(0, cls)
        else:
            theirs["cls_token"] = theirs["cls_token"] + cls
        theirs["pos_embed"] = torch.cat(places, dim=1)
        for name in [n for n in theirs if ".mlp.w" in n]:
            to = re.sub(r"\.w12\.", ".fc1.", re.sub(r"\.w3\.", ".fc2.", name))
            theirs[to] = theirs.pop(name)
        return theirs

    return rename


CLASSIFIER = {"head.weight": noise(10, 3), "head.bias": noise(10)}
MASK = {"mask_token": noise(1, 192)}
RELATION = block_names(ViT(TINY).state_dict(), "relation_blocks.0.")
SMALL_CROPS = {"local_cls_norm.weight": noise(3), "local_cls_norm.bias": noise(3)}
RUN = ("optimizer.*",)

FAMILIES = (
    Published("DINO", "dino", TINY),
    Published(
        "DINO, full",
        "dino",
        TINY,
        backbone_prefix,
        dino_head(),
        dino_full,
        ("head.*", "student.*", "optimizer.state.0.exp_avg", "dino_loss.center"),
    ),
    Published(
        "DINO, student",
        "dino",
        TINY,
        backbone_prefix,
        dino_head(),
        student_alone,
        ("module.head.*",),
    ),
    Published(
        "PW-Self",
        "dino",
        replace(TINY, patch_px=8, image_px=32),
        backbone_prefix,
        dino_head(),
        dino_full,
        ("head.*", "student.*", "optimizer.state.0.exp_avg", "dino_loss.center"),
    ),
    Published(
        "iBOT",
        "ibot",
        TINY,
        same,
        {"masked_embed": noise(1, 192)},
        in_state_dict,
        ("masked_embed",),
    ),
    Published(
        "iBOT, full",
        "ibot",
        TINY,
        backbone_prefix,
        {**dino_head(), "head.last_layer2.weight_g": noise(5, 1)},
        ibot_full,
        ("head.*", "student.*", "optimizer.state.0.exp_avg", "ibot_loss.*"),
    ),
    Published("Mugs", "mugs", TINY, same, RELATION, in_state_dict, ("relation_blocks.*",)),
    Published(
        "Leopart",
        "leopart",
        TINY,
        lambda w: prefixed("model.", w),
        leopart_companions(),
        lightning,
        (
            "model.projection_head.*",
            "model.prototypes.weight",
            "teacher.*",
            "callbacks.ModelCheckpoint.best_model_score",
        ),
        ".ckpt",
    ),
    Published(
        "Leopart, bare",
        "leopart",
        TINY,
        lambda w: prefixed("model.", w),
        leopart_companions(),
        bare,
        ("model.projection_head.*", "model.prototypes.weight", "teacher.*"),
        ".ckpt",
    ),
    Published(
        "CoTAP",
        "cotap",
        TINY,
        cotap_names,
        cotap_companions(),
        lightning,
        (
            "net_teacher.*",
            "net.model.projection_heads.*",
            "net.model.blocks.0.norm_in.*",
            "net.model.blocks.0.norm_out_patch.*",
            "net.model.blocks.0.norm_out_cls.*",
            "callbacks.ModelCheckpoint.best_model_score",
        ),
        ".ckpt",
        prototypes=3,
    ),
    Published("MAE", "mae", WIDE, same, None, lambda t: {"model": t}),
    Published(
        "MAE, full",
        "mae",
        WIDE,
        same,
        mae_decoder(),
        mae_run,
        (
            "mask_token",
            "decoder_pos_embed",
            "decoder_embed.*",
            "decoder_norm.*",
            "decoder_pred.*",
            "decoder_blocks.*",
            "optimizer.state.0.exp_avg",
        ),
    ),
    Published(
        "MoCo-v3",
        "mocov3",
        replace(WIDE, dim=384, heads=12),
        lambda w: prefixed("module.base_encoder.", w),
        mocov3_companions(),
        mocov3_run,
        (
            "module.base_encoder.head.*",
            "module.momentum_encoder.*",
            "module.predictor.*",
            "optimizer.state.0.mu",
        ),
        ".pth.tar",
    ),
    Published("DINOv2", "dinov2", SCALED, same, MASK, bare, ("mask_token",)),
    Published(
        "DINOv2, registers",
        "dinov2",
        REGISTERED,
        same,
        MASK,
        bare,
        ("mask_token",),
        untold=("register_tokens",),
    ),
    Published(
        "DINOv2, giant",
        "dinov2",
        replace(SCALED, mlp="swiglu"),
        same,
        MASK,
        bare,
        ("mask_token",),
    ),
    Published(
        "DINOv3",
        "dinov3",
        ROTARY,
        dinov3_names,
        MASK,
        bare,
        ("mask_token",),
    ),
    Published(
        "DINOv3, plus",
        "dinov3",
        replace(ROTARY, mlp="swiglu", mlp_ratio=2.0),
        dinov3_names,
        MASK,
        bare,
        ("mask_token",),
    ),
    Published(
        "DINOv3, 7B",
        "dinov3",
        replace(ROTARY, dim=256, qkv_bias="none", mlp="swiglu"),
        dinov3_names,
        {**MASK, **SMALL_CROPS},
        bare,
        ("mask_token", "local_cls_norm.*"),
    ),
    Published("timm", "timm", TIMM, same, CLASSIFIER, bare, ("head.*",)),
    Published(
        "timm, patches placed",
        "timm",
        replace(REGISTERED, registers=2),
        timm_names(placed=0),
        CLASSIFIER,
        bare,
        ("head.*",),
        ".bin",
        untold=("reg_token",),
    ),
    Published(
        "timm, CLS placed",
        "timm",
        REGISTERED,
        timm_names(placed=1),
        None,
        bare,
        (),
        ".safetensors",
        untold=("reg_token",),
    ),
    Published(
        "timm, all placed",
        "timm",
        REGISTERED,
        timm_names(placed=5),
        None,
        bare,
        (),
        ".safetensors",
    ),
    Published(
        "timm, giant",
        "timm",
        replace(SCALED, mlp="swiglu", interpolation="size-antialias"),
        timm_names(placed=1),
        None,
        bare,
        (),
        ".safetensors",
    ),
    Published(
        "timm, no bias",
        "timm",
        replace(TIMM, qkv_bias="none"),
        same,
        CLASSIFIER,
        bare,
        ("head.*",),
    ),
)
