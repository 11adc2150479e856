"""The one strict way from text to settings: TOML files and ``key=value`` both go through here."""

import dataclasses
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import TypeAdapter, ValidationError

from patchwise.checks import did_you_mean
from patchwise.configs.methods import METHOD_CONFIGS
from patchwise.configs.run import RunConfig
from patchwise.errors import ConfigError

Values = dict[str, Any]


def apply_settings(config: RunConfig, settings: Mapping[str, Any]) -> RunConfig:
    """Return ``config`` with some options changed.

    Args:
        config: What to start from.
        settings: New values by dotted name, ``{"optim.lr_per_256": 1e-3}``.

    Raises:
        ConfigError: A name is unknown, or a value is of the wrong type or out of range.
    """
    values = dataclasses.asdict(config)
    known = {name for name, _ in flatten(values)}
    for name, value in settings.items():
        if name not in known:
            raise ConfigError(
                f"config: key {name!r} must be one of the options of recipe {config.recipe!r}, "
                f"got an unknown name{_nearest(name, known)}"
            )
        *sections, last = name.split(".")
        target = values
        for section in sections:
            target = target[section]
        target[last] = value
    return _build(values)


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
    method = values.get("method", {}).get("name")
    if method not in METHOD_CONFIGS:
        raise ConfigError(
            f"config: key 'method.name' must be one of {', '.join(METHOD_CONFIGS)}, got {method!r}"
        )
    known = {field.name for field in dataclasses.fields(RunConfig)}
    sections: Values = {}
    for name, value in values.items():
        if name not in known:
            raise ConfigError(
                f"config: key {name!r} must be one of {', '.join(sorted(known))}, "
                f"got an unknown name{did_you_mean(name, known)}"
            )
        if name == "recipe":
            sections[name] = str(value)
        elif name == "method":
            sections[name] = _validate(METHOD_CONFIGS[method], value, name)
        else:
            section_type = {f.name: f.type for f in dataclasses.fields(RunConfig)}[name]
            sections[name] = _validate(section_type, value, name)
    return RunConfig(**sections)


def _validate(section_type: Any, values: Values, section: str) -> Any:  # noqa: ANN401
    _refuse_unknown(section_type, values, section)
    try:
        return TypeAdapter(section_type).validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in (section, *first["loc"]) if not _is_branch(part))
        rule = first["msg"][0].lower() + first["msg"][1:]
        got = first["input"]
        raise ConfigError(f"config: key {name!r} must be valid ({rule}), got {got!r}") from error


def _refuse_unknown(section_type: Any, values: Values, section: str) -> None:  # noqa: ANN401
    fields = {field.name: field for field in dataclasses.fields(section_type)}
    for name, value in values.items():
        if name not in fields:
            raise ConfigError(
                f"config: key '{section}.{name}' must be one of {section_type.__name__}, "
                f"got an unknown name{did_you_mean(name, fields)}"
            )
        if dataclasses.is_dataclass(fields[name].type) and isinstance(value, dict):
            _refuse_unknown(fields[name].type, value, f"{section}.{name}")


def _is_branch(part: Any) -> bool:  # noqa: ANN401
    """Tell pydantic's names of union members (``literal[...]``) from names of options."""
    return isinstance(part, str) and ("[" in part or part in {"float", "int", "none"})


def _nearest(name: str, known: set[str]) -> str:
    """Suggest an option by its whole name, else by its last part alone."""
    by_last = {full.rpartition(".")[2]: full for full in sorted(known)}
    last = name.rpartition(".")[2]
    if last in by_last:
        return f"; did you mean {by_last[last]!r}?"
    return did_you_mean(name, known) or did_you_mean(last, by_last)


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
