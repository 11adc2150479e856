"""What becomes of images that cannot be read: replaced, counted, and too many are an error."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TypedDict

from patchwise.checks import check_within
from patchwise.data.images import ImageReason
from patchwise.errors import DataError

_SHOWN = 20  # files that the error names


@dataclass(frozen=True)
class BadImage:
    """One image that could not be used."""

    index: int  # in its source
    description: str  # what the source calls it
    reason: ImageReason
    message: str  # what exactly was wrong


class BadImagesState(TypedDict):
    """What `BadImages.state` returns: plain values."""

    found: list[dict[str, int | str]]


class BadImages:
    """The distinct bad images of a run so far.

    Args:
        source_name: What messages call the source.
        tolerated: As many may be replaced; one more is an error.
    """

    def __init__(self, source_name: str, *, tolerated: int = 10) -> None:
        check_within("BadImages", 0, float("inf"), tolerated=tolerated)
        self.source_name = source_name
        self.tolerated = tolerated
        self._found: dict[int, BadImage] = {}

    def __len__(self) -> int:
        return len(self._found)

    @property
    def counts(self) -> dict[ImageReason, int]:
        """How many there are of each reason, the most frequent first."""
        return dict(Counter(bad.reason for bad in self._found.values()).most_common())

    def add(self, found: Iterable[BadImage]) -> list[BadImage]:
        """Count images and return those that are new.

        Raises:
            DataError: More than the tolerated number are bad by now.
        """
        new = [bad for bad in found if bad.index not in self._found]
        self._found |= {bad.index: bad for bad in new}
        if len(self) > self.tolerated:
            counts = ", ".join(f"{count} {reason}" for reason, count in self.counts.items())
            raise DataError(
                f"BadImages: {self.source_name!r} must hold at most {self.tolerated} bad images, "
                f"got {len(self)} so far ({counts}); remove them or raise "
                f"data.tolerated_bad_images:\n{self._listing()}"
            )
        return new

    def state(self) -> BadImagesState:
        """Return what `restore` needs to go on in another process."""
        return {"found": [asdict(bad) for bad in self._found.values()]}

    def restore(self, state: BadImagesState) -> None:
        """Go on from ``state``; what was found here is forgotten."""
        images = [BadImage(**bad) for bad in state["found"]]  # type: ignore[arg-type]
        self._found = {bad.index: bad for bad in images}

    def _listing(self) -> str:
        shown = sorted(self._found.values(), key=lambda bad: bad.index)[:_SHOWN]
        lines = [f"  {bad.reason}: {bad.description!r}" for bad in shown]
        if len(self) > _SHOWN:
            lines.append(f"  and {len(self) - _SHOWN} more")
        return "\n".join(lines)
