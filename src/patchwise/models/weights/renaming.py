"""Names of the weights of a ViT in files that call them otherwise."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from patchwise.models.weights.fitting import Origin

_IN_BLOCK = re.compile(r"blocks\.(?P<index>\d+)\.(?P<part>.+)")


@dataclass(frozen=True)
class Names:
    """What a family calls the weights of a ViT.

    Both tables go from our names to theirs, of whole weights (``cls_token``) or of modules
    (``norm``, for ``norm.weight`` and ``norm.bias``). Where one of ours is several of theirs, these
    lie one over the other.
    """

    blocks: str  # what stands before a block's number
    outside: Mapping[str, str]
    inside: Mapping[str, tuple[str, ...]]  # of a block

    def origin(self, name: str) -> Origin:
        """Return where a weight of ours comes from."""
        found = _IN_BLOCK.fullmatch(name)
        if found is None:
            return Origin(_renamed({k: (v,) for k, v in self.outside.items()}, name))
        before = f"{self.blocks}.{found['index']}."
        return Origin(tuple(before + each for each in _renamed(self.inside, found["part"])))


def prefix_among(names: Iterable[str], prefixes: Sequence[str], then: str) -> str:
    """Return the first of the prefixes that stands before ``then`` in any name, or nothing."""
    known = list(names)
    return next((p for p in prefixes if any(n.startswith(p + then) for n in known)), "")


def empty_names(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return expressions for the names of tensors that hold nothing."""
    return [re.escape(name) for name, tensor in tensors.items() if not tensor.numel()]


def no_key_bias(query: Tensor, value: Tensor) -> Tensor:
    """Return the bias of queries, keys and values where keys have none."""
    return torch.cat([query, torch.zeros_like(query), value])


def _renamed(table: Mapping[str, tuple[str, ...]], name: str) -> tuple[str, ...]:
    if name in table:
        return table[name]
    module, _, kind = name.rpartition(".")
    return tuple(f"{theirs}.{kind}" for theirs in table[module])
