"""The one strict way from text to settings: TOML files and ``key=value`` both go through here."""

import dataclasses
import difflib
import json
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import tomli_w
from pydantic import TypeAdapter, ValidationError

from patchwise.configs.backbone import ViTConfig
from patchwise.configs.methods import METHOD_CONFIGS
from patchwise.configs.run import DataConfig, OptimConfig, RunConfig, TrainConfig
from patchwise.errors import ConfigError, PatchwiseError

Values = dict[str, Any]
OptionsT = TypeVar("OptionsT")  # a dataclass
_OF_THE_RECIPE = {"recipe", "method.name"}


def apply_settings(config: RunConfig, settings: Mapping[str, Any]) -> RunConfig:
    """Return ``config`` with some options changed.

    Args:
        config: What to start from.
        settings: New values by dotted name, ``{"optim.lr_per_256": 1e-3}``. None stands for the
            word "none" where an option's default is a word.

    Raises:
        ConfigError: A name is unknown or belongs to the recipe, or a value is of the wrong type or
            out of range.
    """
    values = dataclasses.asdict(config)
    known = dict(flatten(values))
    defaults = dict(flatten(dataclasses.asdict(_default(config.method.name))))
    _refuse_unknown(settings, known)
    for name, value in settings.items():
        if name in _OF_THE_RECIPE and value != known[name]:
            raise ConfigError(
                f"config: key {name!r} must be {known[name]!r}, got {value!r}; choose another "
                f"recipe instead"
            )
        *sections, last = name.split(".")
        target = values
        for section in sections:
            target = target[section]
        target[last] = "none" if value is None and isinstance(defaults[name], str) else value
    return _build(values)


def replace_options(config: OptionsT, settings: Mapping[str, Any], *, section: str) -> OptionsT:
    """Return one dataclass of options with some of them changed.

    Args:
        config: What to start from.
        settings: New values by field name.
        section: What messages call it.

    Raises:
        ConfigError: A name is unknown, or a value is of the wrong type or out of range.
    """
    names = [field.name for field in dataclasses.fields(cast(Any, config))]
    values = {name: getattr(config, name) for name in names}
    _refuse_unknown(settings, values)
    changed: OptionsT = _validate(type(config), {**values, **settings}, section)
    return changed


def parse_settings(texts: Iterable[str]) -> Values:
    """Read ``key=value`` texts; values are TOML, or plain text, or ``none``."""
    settings: Values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"config: a setting must read key=value, got {text!r}")
        settings[name.strip()] = _parse_value(value.strip())
    return settings


def read_settings(path: Path) -> Values:
    """Read a TOML file of some or all options as settings by dotted name."""
    return dict(flatten(_read_toml(path)))


def read_config(path: Path) -> RunConfig:
    """Read the complete, resolved configuration that a run wrote."""
    return _build(_read_toml(path))


def dump_toml(config: RunConfig) -> str:
    """Return the configuration as TOML; options that are none are left out."""
    return tomli_w.dumps(_without_none(dataclasses.asdict(config)))


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, value) of nested mappings."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _build(values: Values) -> RunConfig:
    method = values.get("method")
    name = method.get("name") if isinstance(method, dict) else None
    if name not in list(METHOD_CONFIGS):
        raise ConfigError(
            f"config: key 'method.name' must be one of {', '.join(METHOD_CONFIGS)}, got {name!r}"
        )
    default = _default(name)
    _refuse_unknown(dict(flatten(values)), dict(flatten(dataclasses.asdict(default))))
    sections: Values = {}
    for field in dataclasses.fields(RunConfig):
        if field.name not in values:
            raise ConfigError(f"config: key {field.name!r} must be there, got a file without it")
        section_type = type(getattr(default, field.name))
        sections[field.name] = _validate(section_type, values[field.name], field.name)
    return RunConfig(**sections)


def _default(method: str) -> RunConfig:
    return RunConfig(
        recipe="",
        data=DataConfig(),
        backbone=ViTConfig(),
        method=METHOD_CONFIGS[method](),
        optim=OptimConfig(),
        train=TrainConfig(),
    )


def _refuse_unknown(names: Iterable[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise ConfigError(
                f"config: key {name!r} must be an option, got {_describe_unknown(name, known)}"
            )


def _validate(section_type: type[Any], value: Any, section: str) -> Any:  # noqa: ANN401
    text = json.dumps(value, default=str)
    try:
        return TypeAdapter(section_type).validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        places = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        name = "".join((section, *places))
        rule = first["msg"][0].lower() + first["msg"][1:]
        got = first["input"]
        raise ConfigError(f"config: key {name!r} must be valid ({rule}), got {got!r}") from error
    except PatchwiseError as error:
        raise ConfigError(f"config: section {section!r} must be valid, got {error}") from error


def _describe_unknown(name: str, known: Collection[str]) -> str:
    """Say what a name is that is no option; suggest one by its whole name, else its last part."""
    inside = [full for full in known if full.startswith(f"{name}.")]
    if inside:
        return f"a section; set its options, such as {inside[0]!r}"
    by_last = {full.rpartition(".")[2]: full for full in known}
    last = name.rpartition(".")[2]
    near = by_last.get(last) or _nearest(name, known) or by_last.get(_nearest(last, by_last))
    return f"an unknown name; did you mean {near!r}?" if near else "an unknown name"


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return near[0] if near else ""


def _parse_value(text: str) -> Any:  # noqa: ANN401
    if text.lower() == "none":
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _read_toml(path: Path) -> Values:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"config: {path} must be a readable file, got {error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"config: {path} must be TOML, got {error}") from error


def _without_none(values: Values) -> Values:
    kept = {name: value for name, value in values.items() if value is not None}
    return {n: _without_none(v) if isinstance(v, dict) else v for n, v in kept.items()}
