"""Training methods, by name."""

from typing import Any

from patchwise.configs.methods import MethodConfig
from patchwise.methods.dino import DINO
from patchwise.methods.method import Method
from patchwise.methods.pwself import PWSelf
from patchwise.models.vit import ViT

METHODS: dict[str, type[DINO] | type[PWSelf]] = {"dino": DINO, "pwself": PWSelf}


def build_method(backbone: ViT, config: MethodConfig) -> Method[Any, Any]:
    """Return the method that ``config`` is the configuration of, around ``backbone``."""
    return METHODS[config.name](backbone, config)  # type: ignore[arg-type]
