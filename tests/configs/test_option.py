"""An option is a dataclass field that knows its own help text."""

import dataclasses

from patchwise.configs.option import option


@dataclasses.dataclass(frozen=True)
class Inner:
    size: int = option(3, "A size.")


INNER = Inner()


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner = option(INNER, "A configuration inside.")  # noqa: RUF009 - frozen
    rate: float = option(0.5, "A rate.")


def test_defaults_are_those_given() -> None:
    assert Outer() == Outer(inner=Inner(size=3), rate=0.5)


def test_help_texts_can_be_read_back() -> None:
    texts = {field.name: field.metadata["help"] for field in dataclasses.fields(Outer)}
    assert texts == {"inner": "A configuration inside.", "rate": "A rate."}
