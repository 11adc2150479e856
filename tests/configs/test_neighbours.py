"""Options of the search for neighbours."""

import dataclasses

import pytest

from patchwise.configs.neighbours import NeighboursConfig
from patchwise.errors import RangeError


def test_defaults_are_the_papers() -> None:
    config = NeighboursConfig()
    assert (config.k, config.size, config.duplicate_cosine) == (7, "square:224", None)
    assert all(field.metadata["help"] for field in dataclasses.fields(config))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("name", "value"),
    [("k", 0), ("cells", 0), ("probes", -1), ("exact_images", -1), ("duplicate_cosine", 1.1)],
)
def test_impossible_numbers_are_named(name: str, value: float) -> None:
    with pytest.raises(RangeError, match=rf"NeighboursConfig: {name} must .* got {value}"):
        NeighboursConfig(**{name: value})  # type: ignore[arg-type]
