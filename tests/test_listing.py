"""The tables show every choice there is, as it is typed."""

import dataclasses
import io
from typing import Any

import pytest
from rich.console import Console, RenderableType

from patchwise import listing
from patchwise.configs.backbone import ViTConfig
from patchwise.configs.loader import apply_settings, flatten, parse_settings
from patchwise.configs.methods import PWSelfConfig
from patchwise.configs.option import option
from patchwise.configs.run import DataConfig, OptimConfig, RunConfig, TrainConfig
from patchwise.eval.presets import PROTOCOLS
from patchwise.recipes import RECIPES

CONFIG = RunConfig(
    recipe="small",
    data=DataConfig(),
    backbone=ViTConfig(),
    method=PWSelfConfig(),
    optim=OptimConfig(),
    train=TrainConfig(),
)


@dataclasses.dataclass(frozen=True)
class Inner:
    size: int = option(3, "A size in [px].")


INNER = Inner()


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner = option(INNER, "Inner.")  # noqa: RUF009 - frozen
    name: str = option("a b", "A name.")
    maybe: float | None = option(None, "A number or none.")
    flag: bool = option(True, "A flag.")
    pair: tuple[float, float] = option((0.5, 1.0), "Two.")


def render(shown: RenderableType, width: int = 400) -> str:
    text = io.StringIO()
    Console(file=text, width=width).print(shown)
    return text.getvalue()


def test_options_are_listed_in_order_with_those_inside() -> None:
    assert list(listing.iterate_options(Outer, "x.")) == [
        ("x.inner.size", "3", "A size in [px]."),
        ("x.name", "a b", "A name."),
        ("x.maybe", "none", "A number or none."),
        ("x.flag", "true", "A flag."),
        ("x.pair", "[0.5, 1.0]", "Two."),
    ]


def test_every_option_is_listed_once() -> None:
    names = [str(name) for name in listing.options().columns[0].cells]
    known = {name for name, _ in flatten(dataclasses.asdict(CONFIG))}
    assert sorted(names) == sorted(known - {"recipe"})


def test_a_default_can_be_typed_as_it_is_shown() -> None:
    table = listing.options()
    names, defaults = ([str(cell) for cell in column.cells] for column in table.columns[:2])
    texts = [f"{name}={default}" for name, default in zip(names, defaults, strict=True)]
    assert apply_settings(CONFIG, parse_settings(texts)) == CONFIG


def test_every_text_is_shown_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    sections: dict[str, type[Any]] = {"outer": Outer, "train": TrainConfig}
    monkeypatch.setattr(listing, "_SECTIONS", sections)
    shown = render(listing.options())
    for section, config in sections.items():
        for texts in listing.iterate_options(config, f"{section}."):
            assert all(text in shown for text in texts)


def test_every_recipe_is_listed_with_what_it_is_for() -> None:
    table = listing.recipes()
    names, texts = ([str(cell) for cell in column.cells] for column in table.columns)
    assert sorted(names) == sorted(RECIPES)
    assert all(text.endswith(".") for text in texts)
    shown = render(table)
    assert all(text in shown for text in (*names, *texts))


def test_every_protocol_is_listed_with_its_settings() -> None:
    lines = render(listing.protocols()).splitlines()
    blocks = {line.split("  ")[0]: number for number, line in enumerate(lines) if line[:1].strip()}
    assert blocks.keys() == PROTOCOLS.keys()

    def block(name: str) -> list[str]:
        return [line.strip() for line in lines[blocks[name] : blocks[name] + 3]]

    title, text, settings = block("knn/dino")
    assert title == "knn/dino  images with a class each"
    assert text == PROTOCOLS["knn/dino"].help
    assert settings.startswith("k=20 temperature=0.07 resize_px=256 crop_px=224 other_k=10,100,200")
    assert "size_px=own" in block("incontext/hummingbird-short")[2]
    assert "size_px=512" in block("incontext/hummingbird")[2]
    assert block("linseg/cotap")[0].endswith("trains a head")
    assert "aspect=0.75,1.333" in block("linseg/cotap")[2]


def test_names_of_protocols_are_whole_on_a_narrow_terminal() -> None:
    shown = render(listing.protocols(), width=60)
    assert all(f"{name} " in shown for name in PROTOCOLS)
