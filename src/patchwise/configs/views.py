"""Options of the views that a method trains on."""

from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from patchwise.checks import check_positive, check_within
from patchwise.configs.option import option
from patchwise.errors import RangeError

Pair = tuple[float, float]
PerView = tuple[float, float, float]  # first global view, second global view, local views


def _check_colour(config: "MultiCropConfig | PatchColourConfig") -> None:
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


@dataclass(frozen=True)
class MultiCropConfig:
    """Two global and some local crops of each image, with colour changes: what all methods share.

    Defaults are DINO's, arXiv:2104.14294.
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
    jitter_prob: float = option(0.8, "Chance of changing brightness, contrast, saturation, hue.")
    brightness: float = option(0.4, "Brightness is multiplied by 1 - this to 1 + this.")
    contrast: float = option(0.4, "Contrast is multiplied by 1 - this to 1 + this.")
    saturation: float = option(0.2, "Saturation is multiplied by 1 - this to 1 + this.")
    hue: float = option(0.1, "Largest turn of the hue, as a share of the full circle.")
    grayscale_prob: float = option(0.2, "Chance that a view loses its colours.")
    blur_sigma_px: Pair = option((0.1, 2.0), "Standard deviation of the Gaussian blur, pixels.")

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
            jitter_prob=self.jitter_prob,
            grayscale_prob=self.grayscale_prob,
        )
        _check_colour(self)
        _check_not_negative(name, contrast=self.contrast, saturation=self.saturation)


@dataclass(frozen=True)
class ViewsConfig(MultiCropConfig):
    """Views that may be mirrored and solarised.

    Defaults are DINO's, which PW-Self keeps, except ``base``: PW-Self's is "square".
    """

    flip_prob: float = option(0.5, "Chance that a view is mirrored left to right.")
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
        super().__post_init__()
        check_within(
            type(self).__name__,
            0,
            1,
            flip_prob=self.flip_prob,
            **_entries("blur_probs", self.blur_probs),
            **_entries("solarise_probs", self.solarise_probs),
        )


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


@dataclass(frozen=True)
class OverlappingViewsConfig(MultiCropConfig):
    """Views, never mirrored, of which each shows a part of what each global one shows.

    Defaults are CoTAP's, arXiv:2509.09429; its authors do not resize images before they crop. With
    patches of 14 px, `fit_to_patches` makes local views of 98 px. ``recolour_patches`` is ours.
    """

    global_area_frac: Pair = option((0.25, 1.0), "Share of the image that a global view shows.")
    local_count: int = option(4, "Local views of each image; 0 for none.")
    local_area_frac: Pair = option((0.05, 0.1), "Share of the image that a local view shows.")
    brightness: float = option(0.8, "Brightness is multiplied by 1 - this to 1 + this.")
    contrast: float = option(0.8, "Contrast is multiplied by 1 - this to 1 + this.")
    saturation: float = option(0.8, "Saturation is multiplied by 1 - this to 1 + this.")
    hue: float = option(0.2, "Largest turn of the hue, as a share of the full circle.")
    blur_prob: float = option(0.5, "Chance that a view is blurred.")
    blur_window_px: int = option(7, "Side of the window of the Gaussian blur, pixels; odd.")
    recolour_patches: bool = option(
        False, "Recolour every patch of the student's views on its own, as PW-Self does."
    )
    patch_colour: PatchColourConfig = option(PatchColourConfig(), "How, if they are recoloured.")
    global_overlap_frac: float = option(
        0.02, "Least share of the image that both global views show."
    )
    local_overlap_frac: float = option(
        0.01, "Least share of the image that a local view shows of each global one."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        check_within(name, 0, 1, blur_prob=self.blur_prob)
        if self.blur_window_px < 1 or self.blur_window_px % 2 == 0:
            raise RangeError(
                f"{name}: blur_window_px must be odd and positive, got {self.blur_window_px}"
            )
        # Smaller global views could not overlap so much, and where both global views show less
        # than a local one must, there may be no place for it.
        shares, most = (self.global_overlap_frac, self.local_overlap_frac), self.global_area_frac[0]
        check_within(name, 0, most, global_overlap_frac=shares[0])
        check_within(name, 0, min(shares[0], self.local_area_frac[0]), local_overlap_frac=shares[1])


MultiCropT = TypeVar("MultiCropT", bound=MultiCropConfig)


def nearest_side(side_px: int, patch_px: int) -> int:
    """Return the multiple of a patch's side that is nearest to ``side_px``; one patch at least."""
    return max(patch_px, round(side_px / patch_px) * patch_px)


def fit_to_patches(views: MultiCropT, patch_px: int) -> MultiCropT:
    """Return the views with sides of whole patches.

    >>> fit_to_patches(OverlappingViewsConfig(), 14).local_px
    98
    """
    check_positive("fit_to_patches", patch_px=patch_px)
    return replace(
        views,
        global_px=nearest_side(views.global_px, patch_px),
        local_px=nearest_side(views.local_px, patch_px),
    )
