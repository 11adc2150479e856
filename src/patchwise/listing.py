"""Tables of what there is to choose from, made from the definitions themselves."""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from patchwise.configs.backbone import ViTConfig
from patchwise.configs.methods import METHOD_CONFIGS
from patchwise.configs.run import DataConfig, OptimConfig, TrainConfig
from patchwise.eval.presets import EXAMPLE, PROTOCOLS, Kind
from patchwise.eval.results import Setting
from patchwise.eval.setup import settings_of
from patchwise.recipes import DESCRIPTIONS

_SECTIONS: dict[str, type[Any]] = {
    "train": TrainConfig,
    "optim": OptimConfig,
    "data": DataConfig,
    "backbone": ViTConfig,
    "method": METHOD_CONFIGS["pwself"],
}

_DATA: dict[Kind, str] = {
    "images": "images",
    "labelled": "images with a class each",
    "run": "the folder of a run",
    "segmentation": "images with classes of pixels",
}


def recipes() -> Table:
    """Return the recipes with what each is for."""
    table = Table("recipe", "what it is")
    for name, description in DESCRIPTIONS.items():
        table.add_row(name, description)
    return table


def protocols() -> Group:
    """Return the evaluation protocols: the data they need, what each measures, its settings."""
    lines: list[RenderableType] = []
    for name, preset in PROTOCOLS.items():
        settings = settings_of(preset.make(name, EXAMPLE))
        shown = {key: _briefly(value) for key, value in settings.items()}
        if name.endswith("-short"):
            shown |= {key: "own" for key in shown if key.endswith("_px")}
        trained = ", trains a head" if {"steps", "epochs"} & shown.keys() else ""
        title = Text(name, style="bold")
        title.append(f"  {_DATA[preset.kind]}{trained}", style="not bold")
        values = " ".join(f"{key}={value}" for key, value in shown.items())
        lines += [title, _indented(preset.help), _indented(values, style="dim"), ""]
    return Group(*lines[:-1])


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


def _indented(text: str, style: str = "") -> Padding:
    return Padding(Text(text, style=style), (0, 0, 0, 4))


def _briefly(value: Setting) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_briefly, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _as_typed(value: Any) -> str:  # noqa: ANN401
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value)
