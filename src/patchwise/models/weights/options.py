"""Options of another library's config.json and the like, each checked as it is read."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patchwise.configs.normalisation import RGB, is_rgb, rgb_rule
from patchwise.errors import WeightsError

_MISSING = "no such option"


@dataclass(frozen=True)
class Options:
    """What such a file says. What a method returns is honoured; `require` refuses the rest."""

    path: Path  # of the weights, for messages
    values: Mapping[str, Any]
    source: str = "config.json"  # whose options they are, for messages

    def count(self, name: str, default: int | None = None) -> int:
        """Return a whole number that is not negative.

        Raises:
            WeightsError: It is none, or it is missing and has no default.
        """
        value = self.values.get(name, _MISSING if default is None else default)
        if type(value) is not int or value < 0:
            raise self._error(name, "be a whole number", value)
        return value

    def side(self, name: str) -> int:
        """Return the side of a square, which may be given twice."""
        value = self.values.get(name, _MISSING)
        if isinstance(value, list) and value in ([value[0]] * 2 for _ in value[:1]):
            value = value[0]
        if type(value) is not int or value < 1:
            raise self._error(name, "be the side of a square", value)
        return value

    def number(self, name: str, default: float) -> float:
        """Return a positive number."""
        value = self.values.get(name, default)
        if type(value) not in {int, float} or not 0 < value < math.inf:
            raise self._error(name, "be a positive number", value)
        return float(value)

    def rgb(self, name: str, default: RGB | None = None, *, positive: bool = False) -> RGB:
        """Return a number in [0, 1] for each channel, from three, or from one for all.

        Args:
            name: Of the option.
            default: Of a missing option; None: it may not be missing.
            positive: Whether 0 is refused.
        """
        value = self.values.get(name, _MISSING if default is None else list(default))
        channels = tuple(value if isinstance(value, list) else [value] * 3)
        if not is_rgb(channels, positive=positive):
            raise self._error(name, f"be {rgb_rule(positive)}", value)
        red, green, blue = map(float, channels)
        return red, green, blue

    def flag(self, name: str, default: bool) -> bool:
        """Return true or false."""
        value = self.values.get(name, default)
        if not isinstance(value, bool):
            raise self._error(name, "be true or false", value)
        return value

    def require(self, name: str, wanted: object, why: str, *, default: object = None) -> None:
        """Refuse any other value.

        Args:
            name: Of the option.
            wanted: The only value that there is a ViT of ours for.
            why: In words: what that is.
            default: What a config.json without the option means; None: what is wanted.
        """
        value = self.values.get(name, wanted if default is None else default)
        if value != wanted:
            raise self._error(name, f"be {wanted!r} ({why})", value)

    def _error(self, name: str, rule: str, value: object) -> WeightsError:
        shown = value if value is _MISSING else repr(value)
        return WeightsError(
            f"load_backbone: option {name} in {self.source} of '{self.path}' must {rule}, "
            f"got {shown}"
        )
