"""Tables of what there is to choose from, made from the definitions themselves."""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

from rich.table import Table
from rich.text import Text

from patchwise.configs.backbone import ViTConfig
from patchwise.configs.methods import METHOD_CONFIGS
from patchwise.configs.run import DataConfig, OptimConfig, TrainConfig
from patchwise.eval.presets import EXAMPLE, PROTOCOLS
from patchwise.eval.setup import settings_of
from patchwise.recipes import DESCRIPTIONS

_SECTIONS: dict[str, type[Any]] = {
    "train": TrainConfig,
    "optim": OptimConfig,
    "data": DataConfig,
    "backbone": ViTConfig,
    "method": METHOD_CONFIGS["pwself"],
}


def recipes() -> Table:
    """Return the recipes with what each is for."""
    table = Table("recipe", "what it is")
    for name, description in DESCRIPTIONS.items():
        table.add_row(name, description)
    return table


def protocols() -> Table:
    """Return the evaluation protocols: what each measures, its settings, and whether it trains."""
    table = Table("protocol", "data", "what it is", "settings", "trains")
    for name, preset in PROTOCOLS.items():
        made = preset.make(name, EXAMPLE)
        settings = {key: str(value) for key, value in settings_of(made).items()}
        if name.endswith("-short"):
            settings |= {key: "own" for key in settings if key.endswith("_px")}
        shown = Text(" ".join(f"{key}={value}" for key, value in settings.items()))
        trained = bool({"steps", "epochs"} & settings.keys())
        table.add_row(name, preset.kind, preset.help, shown, "a head" if trained else "nothing")
    return table


def options() -> Table:
    """Return every option with its default and help; recipes set others."""
    table = Table("option", "default", "help")
    for section, config in _SECTIONS.items():
        for name, default, text in iterate_options(config, f"{section}."):
            table.add_row(name, Text(default), Text(text))  # brackets are no markup
    return table


def iterate_options(config: type[Any], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield (dotted name, default as it is typed after ``--set``, help) of each option."""
    for field in dataclasses.fields(config):
        if dataclasses.is_dataclass(field.type) and isinstance(field.type, type):
            yield from iterate_options(field.type, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, _as_typed(field.default), field.metadata["help"]


def _as_typed(value: Any) -> str:  # noqa: ANN401
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value)
