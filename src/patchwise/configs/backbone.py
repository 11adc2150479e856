"""What a vision transformer is made of. Without torch."""

from dataclasses import dataclass
from typing import Literal, get_args

from patchwise.checks import check_choice, check_positive, check_within
from patchwise.configs.normalisation import IMAGENET, RGB, Normalisation, check_rgb
from patchwise.configs.option import option
from patchwise.errors import ConfigError, RangeError

Interpolation = Literal["dino", "size", "size-antialias"]
Positions = Literal["learned", "rotary"]
MLPKind = Literal["gelu", "swiglu"]
QKVBias = Literal["full", "no_key", "none"]

# Channels, blocks, heads of the sizes that have a name.
SIZES: dict[str, tuple[int, int, int]] = {
    "nano": (128, 6, 4),  # ours, for images of 32 to 96 pixels
    "tiny": (192, 12, 3),
    "small": (384, 12, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
}


@dataclass(frozen=True)
class ViTConfig:
    """Architecture of a vision transformer: with its weights, all that is needed to rebuild it.

    Raises:
        RangeError: a number lies outside its range or is not whole where it must be.
        ChoiceError: ``interpolation`` or another choice is none of those there are.
        ConfigError: ``dim`` cannot be split into ``heads``, or ``image_px`` into patches.

    Source: Dosovitskiy et al. 2021, arXiv:2010.11929; LayerScale: Touvron et al. 2021,
        arXiv:2103.17239; stochastic depth: Huang et al. 2016, arXiv:1603.09382; registers:
        Darcet et al. 2024, arXiv:2309.16588.
    """

    dim: int = option(384, "Channels of every token; a multiple of heads.")
    depth: int = option(12, "Number of transformer blocks.")
    heads: int = option(6, "Attention heads of every block.")
    patch_px: int = option(16, "Side of the square patch that makes one token, in pixels.")
    image_px: int = option(
        224,
        "Image side that the position embedding is stored for, in pixels; a multiple of patch_px. "
        "Images of other sizes can be used all the same. Rotary positions have none.",
    )
    mlp_ratio: float = option(4.0, "Width of a block's hidden layer, in multiples of dim.")
    registers: int = option(0, "Tokens beside CLS that gather global information; not returned.")
    layer_scale: float = option(
        0.0, "Initial value of the learnt scale of every residual; 0: no such scale."
    )
    drop_path: float = option(
        0.0,
        "Stochastic depth: chance that an image skips a residual of the last block, rising "
        "linearly from 0 at the first block; in training only.",
    )
    interpolation: Interpolation = option(
        "dino",
        "How the position embedding is resized (bicubic) for images of other sizes. dino: by the "
        "factor (patches + 0.1) / stored patches, as DINO does; size: to the exact size; "
        "size-antialias: to the exact size, antialiased.",
    )
    positions: Positions = option(
        "learned",
        "How a patch knows its place. learned: by an embedding that is added; rotary: queries and "
        "keys are turned by it in every block, as in DINOv3.",
    )
    mlp: MLPKind = option(
        "gelu", "The hidden layer of every block. gelu: plain; swiglu: gated, as in DINOv2's giant."
    )
    qkv_bias: QKVBias = option(
        "full", "Biases of queries, keys and values; no_key: all but the keys', as in DINOv3."
    )
    norm_eps: float = option(1e-6, "Added to the variance in every LayerNorm.")
    pixel_mean: RGB = option(
        IMAGENET.mean,
        "What is taken from the pixels of images, in [0, 1], of each channel; ImageNet's mean.",
    )
    pixel_std: RGB = option(
        IMAGENET.std,
        "What they are then divided by, of each channel; ImageNet's standard deviation.",
    )

    def __post_init__(self) -> None:
        for name, least in _WHOLE_NUMBERS.items():
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise RangeError(
                    f"ViTConfig: {name} must be a whole number of at least {least}, got {value!r}"
                )
        check_positive("ViTConfig", mlp_ratio=self.mlp_ratio, norm_eps=self.norm_eps)
        check_within("ViTConfig", 0, 1, drop_path=self.drop_path, layer_scale=self.layer_scale)
        check_rgb("ViTConfig", pixel_mean=self.pixel_mean)
        check_rgb("ViTConfig", positive=True, pixel_std=self.pixel_std)
        for name, choices in _CHOICES.items():
            check_choice("ViTConfig", choices, **{name: getattr(self, name)})
        if self.hidden_dim < 1:
            raise RangeError(
                f"ViTConfig: mlp_ratio must give a hidden layer, got {self.mlp_ratio} with dim "
                f"{self.dim}"
            )
        if self.dim % self.heads:
            raise ConfigError(
                f"ViTConfig: dim must be a multiple of heads, got dim {self.dim} and heads "
                f"{self.heads}; use dim {self.dim // self.heads * self.heads or self.heads}"
            )
        if self.positions == "rotary" and self.dim // self.heads % 4:
            raise ConfigError(
                f"ViTConfig: dim must give heads of a multiple of 4 channels where positions are "
                f"rotary, got {self.dim // self.heads} channels a head; use other heads"
            )
        if self.image_px % self.patch_px:
            nearest = max(1, round(self.image_px / self.patch_px)) * self.patch_px
            raise ConfigError(
                f"ViTConfig: image_px must be a multiple of patch_px, got image_px {self.image_px} "
                f"and patch_px {self.patch_px}; use image_px {nearest}"
            )

    @property
    def grid(self) -> int:
        """Patches along one side of the stored position embedding."""
        return self.image_px // self.patch_px

    @property
    def normalisation(self) -> Normalisation:
        """How images are normalised before they are handed over."""
        return Normalisation(self.pixel_mean, self.pixel_std)

    @property
    def drop_rates(self) -> list[float]:
        """Chance of each block that a residual is left out, rising linearly from 0."""
        return [self.drop_path * block / max(1, self.depth - 1) for block in range(self.depth)]

    @property
    def hidden_dim(self) -> int:
        """Channels of the hidden layer of every block's MLP."""
        return round(self.dim * self.mlp_ratio)


@dataclass(frozen=True)
class FilteredViTConfig:
    """Architecture of a vision transformer with an object-aware filter behind its last block.

    Raises:
        RangeError: ``prototypes`` is no whole number of at least 1.

    Source: Wen et al. 2025, "Semantic Concentration for Self-Supervised Dense Representations
        Learning" (CoTAP), arXiv:2509.09429.
    """

    vit: ViTConfig
    prototypes: int = option(64, "Prototypes of objects that every patch is described by.")

    def __post_init__(self) -> None:
        if type(self.prototypes) is not int or self.prototypes < 1:
            raise RangeError(
                f"FilteredViTConfig: prototypes must be a whole number of at least 1, "
                f"got {self.prototypes!r}"
            )


_CHOICES = {
    "interpolation": get_args(Interpolation),
    "positions": get_args(Positions),
    "mlp": get_args(MLPKind),
    "qkv_bias": get_args(QKVBias),
}
_WHOLE_NUMBERS = {"dim": 1, "depth": 1, "heads": 1, "patch_px": 1, "image_px": 1, "registers": 0}


def vit_config(size: str, *, patch_px: int, image_px: int) -> ViTConfig:
    """Return the architecture of a named size; change other options by `dataclasses.replace`.

    Raises:
        ChoiceError: ``size`` is none of `SIZES`.
        ConfigError: ``image_px`` is not a multiple of ``patch_px``.

    Example:
        >>> vit_config("small", patch_px=16, image_px=224).heads
        6
    """
    check_choice("vit_config", SIZES, size=size)
    dim, depth, heads = SIZES[size]
    return ViTConfig(dim=dim, depth=depth, heads=heads, patch_px=patch_px, image_px=image_px)
