"""Training methods, by name."""

from typing import Any

from patchwise.configs.methods import MethodConfig
from patchwise.methods.cotap import CoTAP
from patchwise.methods.dino import DINO
from patchwise.methods.method import Input, Method
from patchwise.methods.pwself import PWSelf
from patchwise.models.filtered_vit import FilteredViT
from patchwise.models.vit import ViT

METHODS: dict[str, type[DINO] | type[PWSelf] | type[CoTAP]] = {
    "dino": DINO,
    "pwself": PWSelf,
    "cotap": CoTAP,
}


def build_method(backbone: ViT | FilteredViT, config: MethodConfig) -> Method[Any, Any]:
    """Return the method that ``config`` is the configuration of, around ``backbone``.

    Only CoTAP continues a backbone with a filter.
    """
    return METHODS[config.name](backbone, config)  # type: ignore[arg-type]


def inputs_read(config: MethodConfig) -> dict[int, Input]:
    """Return the inputs that settings train on, by their number; others are not read."""
    method = METHODS[config.name]
    return {
        number: wanted
        for number, wanted in enumerate(method.inputs)
        if method.reads(wanted, config)  # type: ignore[arg-type]
    }
