"""Options of the views that a method trains on."""

from dataclasses import dataclass
from typing import Literal

from patchwise.checks import check_positive, check_within
from patchwise.configs.option import option
from patchwise.errors import RangeError

Pair = tuple[float, float]
PerView = tuple[float, float, float]  # first global view, second global view, local views


@dataclass(frozen=True)
class ViewsConfig:
    """Two global and some local crops of each image, with colour changes.

    Defaults are DINO's, which PW-Self keeps, except ``base``: PW-Self's is "square".
    """

    base: Literal["short", "square"] = option(
        "short",
        "How images are resized before cropping. short: the short side to base_px, aspect kept; "
        "square: both sides to base_px.",
    )
    base_px: int = option(256, "Side to which images are resized before cropping, pixels.")
    global_px: int = option(224, "Side of the two global views, pixels.")
    global_area_frac: Pair = option((0.4, 1.0), "Share of the image that a global view shows.")
    local_count: int = option(8, "Local views of each image; 0 for none.")
    local_px: int = option(96, "Side of the local views, pixels.")
    local_area_frac: Pair = option((0.05, 0.4), "Share of the image that a local view shows.")
    aspect: Pair = option((3 / 4, 4 / 3), "Least and most width / height of a crop.")
    flip_prob: float = option(0.5, "Chance that a view is mirrored left to right.")
    jitter_prob: float = option(0.8, "Chance of changing brightness, contrast, saturation, hue.")
    brightness: float = option(0.4, "Brightness is multiplied by 1 - this to 1 + this.")
    contrast: float = option(0.4, "Contrast is multiplied by 1 - this to 1 + this.")
    saturation: float = option(0.2, "Saturation is multiplied by 1 - this to 1 + this.")
    hue: float = option(0.1, "Largest turn of the hue, as a share of the full circle.")
    grayscale_prob: float = option(0.2, "Chance that a view loses its colours.")
    blur_sigma_px: Pair = option((0.1, 2.0), "Standard deviation of the Gaussian blur, pixels.")
    blur_probs: PerView = option(
        (1.0, 0.1, 0.5), "Chance of blur: first global view, second global view, local views."
    )
    solarise_probs: PerView = option(
        (0.0, 0.2, 0.0), "Chance of solarising: first global, second global, local views."
    )
    shared_geometry: bool = option(
        False,
        "One draw of crops, flips and colours for all images of a batch, as PW-Self's authors "
        "do; images must be of one size.",
    )

    def __post_init__(self) -> None:
        name = type(self).__name__
        check_positive(name, base_px=self.base_px, global_px=self.global_px, local_px=self.local_px)
        check_positive(name, **_entries("aspect", self.aspect))
        _check_ordered(name, aspect=self.aspect)
        check_within(name, 0, 1000, local_count=self.local_count)
        for fracs in ("global_area_frac", "local_area_frac"):
            check_positive(name, **_entries(fracs, getattr(self, fracs)))
            check_within(name, 0, 1, **_entries(fracs, getattr(self, fracs)))
            _check_ordered(name, **{fracs: getattr(self, fracs)})
        check_within(
            name,
            0,
            1,
            flip_prob=self.flip_prob,
            jitter_prob=self.jitter_prob,
            grayscale_prob=self.grayscale_prob,
            **_entries("blur_probs", self.blur_probs),
            **_entries("solarise_probs", self.solarise_probs),
        )
        _check_colour(self)
        _check_not_negative(name, contrast=self.contrast, saturation=self.saturation)


@dataclass(frozen=True)
class PatchColourConfig:
    """Colour changes that every patch of a view draws for itself.

    Defaults are those of PW-Self's authors, arXiv:2310.18651.
    """

    brightness: float = option(0.1, "Brightness is multiplied by 1 - this to 1 + this.")
    hue: float = option(0.1, "Largest turn of the hue, as a share of the full circle.")
    blur_sigma_px: Pair = option((0.1, 2.0), "Standard deviation of the vertical blur, pixels.")
    sharpness_prob: float = option(0.5, "Chance that a patch's sharpness changes.")
    sharpness: float = option(2.0, "Factor: 0 smooths, 1 keeps, more than 1 sharpens.")
    posterise_prob: float = option(0.5, "Chance that a patch keeps only its highest bits.")
    posterise_bits: int = option(3, "Bits of each channel that posterising keeps, 1 to 8.")

    def __post_init__(self) -> None:
        name = type(self).__name__
        _check_colour(self)
        _check_not_negative(name, sharpness=self.sharpness)
        check_within(
            name, 0, 1, sharpness_prob=self.sharpness_prob, posterise_prob=self.posterise_prob
        )
        check_within(name, 1, 8, posterise_bits=self.posterise_bits)


def _check_colour(config: ViewsConfig | PatchColourConfig) -> None:
    name = type(config).__name__
    _check_not_negative(name, brightness=config.brightness)
    _check_not_negative(name, **_entries("blur_sigma_px", config.blur_sigma_px))
    _check_ordered(name, blur_sigma_px=config.blur_sigma_px)
    check_within(name, 0, 0.5, hue=config.hue)


def _check_not_negative(name: str, **values: float) -> None:
    check_within(name, 0, 1e6, **values)


def _check_ordered(name: str, **pairs: Pair) -> None:
    for option_name, (low, high) in pairs.items():
        if low > high:
            raise RangeError(
                f"{name}: {option_name} must be the least, then the most, "
                f"got [{low}, {high}]; swap them"
            )


def _entries(name: str, values: tuple[float, ...]) -> dict[str, float]:
    return {f"{name}[{index}]": value for index, value in enumerate(values)}
