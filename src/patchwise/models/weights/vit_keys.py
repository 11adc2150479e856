"""Weights of a ViT under the names that all families share: those of timm and of DINO.

Such files do not say what they are: the architecture is read off names and shapes. The number of
heads cannot be read off; it follows from the width by a table of what a family has published, and
other widths are refused.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from patchwise.configs.backbone import ViTConfig
from patchwise.errors import PatchwiseError, WeightsError
from patchwise.models.filtered_vit import FilteredViT
from patchwise.models.vit import ViT
from patchwise.models.weights.files import first_names
from patchwise.models.weights.fitting import Origin, Translate, build, same_name
from patchwise.models.weights.layout import Loaded, gather

_PATCH, _POSITIONS = "patch_embed.proj.weight", "pos_embed"
# Regular expression of the names of the weights of a plain ViT, for what is left out.
PLAIN_NAMES = (
    r"(cls_token|pos_embed|(patch_embed\.proj|norm)\.(weight|bias)"
    r"|blocks\.\d+\.(norm[12]|attn\.(qkv|proj)|mlp\.fc[12])\.(weight|bias))"
)
# Of a projection head in DINO's form: layers, then a weight-normalised one.
HEAD_NAMES = (
    r"head\.(mlp(\.\d+)?\.(weight|bias|running_mean|running_var|num_batches_tracked)"
    r"|last_layer\.(weight|weight_[gv]|parametrizations\.weight\.original[01]))"
)


@dataclass(frozen=True)
class Heads:
    """How many heads a ViT of some width has."""

    widths: str  # those that are known, in words
    count: Callable[[int], int | None]  # None: not known


def heads_of_64(most: int) -> Heads:
    """Return the rule of 64 channels a head; ViTs narrower than 192 have narrower heads."""
    return Heads(
        f"a multiple of 64, at least 192 and at most {most}",
        lambda dim: dim // 64 if dim % 64 == 0 and 192 <= dim <= most else None,
    )


def heads_by_width(table: Mapping[int, int]) -> Heads:
    """Return the rule of a table of what was published."""
    return Heads(f"one of {', '.join(map(str, table))}", table.get)


@dataclass(frozen=True)
class ViTKeys:
    """Weights of a ViT by the names of a file, which end as ours do."""

    path: Path
    source: str  # name of the format that was tried, for messages
    tensors: Mapping[str, Tensor]
    prefix: str = ""  # before the name of every weight of the backbone
    beside: tuple[str, ...] = ()  # names of what the file holds besides these tensors

    def infer_config(self, heads: Heads, *, learned: bool = True) -> ViTConfig:
        """Return the architecture of a ViT, as names and shapes tell it.

        What they do not tell is left at its default. Shapes that make no sense are left to
        `build`, which names them.

        Args:
            heads: How many there are.
            learned: Whether the position of CLS and of a square grid of patches is stored.

        Raises:
            WeightsError: There is no ViT, or none whose number of heads is known.
        """
        self.require(_PATCH, *((_POSITIONS,) if learned else ()))
        dim, patch_px = self._patch_shape()
        found = heads.count(dim)
        if found is None:
            raise WeightsError(
                f"load_backbone: dim of '{self.path}' must be {heads.widths} (read as "
                f"{self.source}), got {dim}; the number of heads cannot be told"
            )
        side = self._stored_side() if learned else 14  # without: any size will do
        blocks = {
            block[1] for name in self._names() if (block := re.match(r"blocks\.(\d+)\.", name))
        }
        hidden_dim = self.length("blocks.0.mlp.fc1.weight", axis=0, axes=2)
        with self.possible():
            return ViTConfig(
                dim=dim,
                depth=len(blocks),
                heads=found,
                patch_px=patch_px,
                image_px=side * patch_px,
                mlp_ratio=4.0 if hidden_dim is None else hidden_dim / dim,
                # LayerScale is there or not; its initial value is no longer known.
                layer_scale=1.0 if self.any_named(r"blocks\.\d+\.ls[12]\.gamma") else 0.0,
            )

    def load(
        self, config: ViTConfig, *, origin: Translate = same_name, unused: Sequence[str] = ()
    ) -> Loaded:
        """Return the ViT of that architecture with these weights; see `load_into`."""
        return self.load_into(lambda: ViT(config), origin=origin, unused=unused)

    def load_into(
        self,
        make: Callable[[], ViT | FilteredViT],
        *,
        origin: Translate = same_name,
        unused: Sequence[str] = (),
    ) -> Loaded:
        """Return a backbone with these weights.

        Args:
            make: Makes it, with any weights.
            origin: Where each weight of ours comes from, by the file's names less the prefix.
            unused: Regular expressions; tensors whose whole name fits one are left out.

        Raises:
            WeightsError: Something is missing, left over, of another shape or not finite.
        """

        def with_prefix(name: str) -> Origin:
            found = origin(name)
            return replace(found, names=tuple(self.prefix + each for each in found.names))

        backbone, not_used = build(
            make,
            self.tensors,
            path=self.path,
            source=self.source,
            origin=with_prefix,
            unused=unused,
        )
        used = set(self.tensors) - set(not_used)
        left_out = gather(not_used, used) + gather(self.beside, ())
        return Loaded(backbone, self.source, left_out)

    def require(self, *names: str) -> None:
        """Raise `WeightsError` if a weight is missing that tells the architecture."""
        missing = [self.prefix + name for name in names if self.find(name) is None]
        if missing:
            raise WeightsError(
                f"load_backbone: '{self.path}' must tell its architecture (read as "
                f"{self.source}), got missing {first_names(missing)} among "
                f"{first_names(list(self.tensors))}"
            )

    def find(self, name: str) -> Tensor | None:
        """Return the tensor that has a name of ours, behind the prefix."""
        return self.tensors.get(self.prefix + name)

    def any_named(self, pattern: str) -> bool:
        """Tell whether a whole name, less the prefix, fits a regular expression."""
        return any(re.fullmatch(pattern, name) for name in self._names())

    def length(self, name: str, *, axis: int, axes: int) -> int | None:
        """Return how long a tensor is; None if it is not there or has not so many axes."""
        weight = self.find(name)
        return weight.shape[axis] if weight is not None and weight.ndim == axes else None

    @contextmanager
    def possible(self) -> Iterator[None]:
        """Say of an architecture that cannot be that it was read off this file."""
        try:
            yield
        except PatchwiseError as error:
            raise WeightsError(
                f"load_backbone: '{self.path}' must hold a possible ViT (read as {self.source}), "
                f"got {error}"
            ) from error

    def _names(self) -> Iterator[str]:
        start = len(self.prefix)
        return (name[start:] for name in self.tensors if name.startswith(self.prefix))

    def _patch_shape(self) -> tuple[int, int]:
        """Return channels and patch side."""
        shape = tuple(self.tensors[self.prefix + _PATCH].shape)
        if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
            raise WeightsError(
                f"load_backbone: '{self.prefix}{_PATCH}' of '{self.path}' must have shape "
                f"(D, 3, patch, patch) (read as {self.source}), got {shape}"
            )
        return shape[0], shape[2]

    def _stored_side(self) -> int:
        """Return how many patches there are along a side of the stored grid."""
        shape = tuple(self.tensors[self.prefix + _POSITIONS].shape)
        side = math.isqrt(max(shape[1] - 1, 0)) if len(shape) == 3 else 0
        if side < 1 or shape[1] != 1 + side**2:
            raise WeightsError(
                f"load_backbone: '{self.prefix}{_POSITIONS}' of '{self.path}' must have shape "
                f"(1, 1 + side * side, D) (read as {self.source}), got {shape}"
            )
        return side
