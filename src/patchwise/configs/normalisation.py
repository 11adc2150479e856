"""How pixels become what a backbone is fed. Without torch."""

from dataclasses import dataclass

from patchwise.errors import RangeError

RGB = tuple[float, float, float]


@dataclass(frozen=True)
class Normalisation:
    """Mean and deviation of each channel of pixels in [0, 1].

    Raises:
        RangeError: ``mean`` is no three numbers in [0, 1], or ``std`` none in (0, 1].
    """

    mean: RGB
    std: RGB

    def __post_init__(self) -> None:
        check_rgb("Normalisation", mean=self.mean)
        check_rgb("Normalisation", positive=True, std=self.std)


def is_rgb(value: object, *, positive: bool = False) -> bool:
    """Tell whether a value is a number in [0, 1] for each channel; in (0, 1] if ``positive``."""
    return (
        isinstance(value, tuple)
        and len(value) == 3
        and all(type(v) in {int, float} and 0 <= v <= 1 and (v or not positive) for v in value)
    )


def check_rgb(caller: str, *, positive: bool = False, **values: object) -> None:
    """Raise `RangeError` unless `is_rgb`."""
    for name, value in values.items():
        if not is_rgb(value, positive=positive):
            raise RangeError(
                f"{caller}: {name} must be {rgb_rule(positive)}, got {value!r}; pixels are in "
                f"[0, 1], not in [0, 255]"
            )


def rgb_rule(positive: bool) -> str:
    """Return in words what `is_rgb` asks for."""
    return f"three numbers in {'(' if positive else '['}0, 1]"


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
