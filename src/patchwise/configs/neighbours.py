"""Options of the search for the nearest images of each image."""

from dataclasses import dataclass

from patchwise.checks import check_positive, check_within
from patchwise.configs.option import option


@dataclass(frozen=True)
class NeighboursConfig:
    """Which images are neighbours, and from how many on the search is not exact.

    ``k`` is CoTAP's; so is 224 px. Whether images are squashed or cut to that is not published.
    """

    k: int = option(7, "Neighbours of each image.")
    size: str = option(
        "square:224",
        "What images are brought to: square:PX, short:PX, most:PX (of the short side), own or "
        "crop:PX,PX.",
    )
    duplicate_cosine: float | None = option(
        None,
        "Images with this cosine or a higher one are near-duplicates, and no neighbours; none: "
        "they are.",
    )
    exact_images: int = option(300_000, "Up to so many images the search is exact.")
    cells: int = option(4096, "Groups of like images of a search that is not.")
    probes: int = option(64, "Of these groups, those that are searched for each image.")

    def __post_init__(self) -> None:
        name = type(self).__name__
        check_positive(name, k=self.k, cells=self.cells, probes=self.probes)
        check_within(name, 0, float("inf"), exact_images=self.exact_images)
        if self.duplicate_cosine is not None:
            check_within(name, -1, 1, duplicate_cosine=self.duplicate_cosine)
