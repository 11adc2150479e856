"""Do weights of others give their features here? Every family that tests can make a file of.

Each model of transformers and timm is made offline with every weight redrawn, saved by its library,
loaded here, and both are shown the same images, of the size that positions are stored for and of
others. One command:

    python -m studies.parity

It writes ``studies/parity.json`` and, from it, ``docs/parity.md``.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import tests.conftest  # noqa: F401 - lets timm be imported where torchvision is broken
import torch
from tests.models.weights.peers import (
    GRIDS,
    Peer,
    is_left_out,
    largest_difference,
    make_images,
    make_peer,
    peer_names,
)
from tests.models.weights.published import FAMILIES, Published

from patchwise.files import write_text
from patchwise.models.weights.folder import read_folder
from patchwise.models.weights.load import read_backbone

RESULTS = Path(__file__).with_suffix(".json")
PAGE = Path(__file__).parents[1] / "docs" / "parity.md"
PATCHES_PX = (4, 8, 14, 16)
_AUTHORS = "authors' names"
_BEGINNING = """# Weights of others, side by side

Each model of another library is made small and offline, every weight is redrawn, biases, norms and
tokens included, the library saves it, and `patchwise.load_backbone` reads the folder. Both see the
same images: patches of {patches} px; {grids} patches, the first
being what positions are stored for. The largest difference of any number of any token, over all
sizes, in float32 on a CPU:

| library | model | CLS | patches | tensors read | left out |
|---|---|---|---|---|---|
"""
_MIDDLE = """
Families whose code is no package are compared with the backbone that a file was made of, by the
names of the authors' code ([backbones.md](backbones.md)): names and containers are
theirs, the rest is ours.

| what | file | CLS | patches | tensors read | left out |
|---|---|---|---|---|---|
"""
_END = """
Numbers of tokens are about 1 in size; 0 is equal to the bit. What is left out serves pre-training
or classification. The command is `python -m studies.parity`; the tests do the same with a tolerance
of 1e-5, and show that each tensor counts: without it, or by another name, loading fails and names
it, but for the few that [backbones.md](backbones.md) lists.
"""


@dataclass(frozen=True)
class Row:
    """One model, over all sizes of patches and images."""

    library: str  # with its version
    model: str
    cls: float  # largest difference
    patches: float
    read: int  # tensors of the file
    left_out: tuple[str, ...]


def compare(library: str, name: str) -> Row:
    """Compare one model with ours."""
    rows = [
        _compare_saved(make_peer(library, name, patch_px), library, name) for patch_px in PATCHES_PX
    ]
    return Row(
        rows[0].library,
        name,
        max(row.cls for row in rows),
        max(row.patches for row in rows),
        rows[0].read,
        rows[0].left_out,
    )


@torch.no_grad()
def authors_rows(families: Iterable[Published]) -> list[Row]:
    """Compare files by the authors' names with the backbones they were made of."""
    rows = []
    for family in families:
        with TemporaryDirectory() as folder:
            loaded = read_backbone(family.write(Path(folder)))
        differences = []
        for grid in GRIDS:
            images = make_images(grid, family.config.patch_px)
            theirs, ours = family.backbone(images), loaded.backbone(images)
            differences.append(
                (
                    float((theirs.cls - ours.cls).abs().max()),
                    float((theirs.patches - ours.patches).abs().max()),
                )
            )
        cls, patches = map(max, zip(*differences, strict=True))
        rows.append(Row(_AUTHORS, family.name, cls, patches, len(family.mapped), loaded.left_out))
    return rows


def page(rows: Iterable[Row]) -> str:
    """Return the tables, with what is behind them, as Markdown."""
    libraries: list[str] = []
    authors: list[str] = []
    for row in rows:
        left_out = ", ".join(f"`{name}`" for name in row.left_out)
        numbers = " | ".join(f"{x:.1e}" if x else "0" for x in (row.cls, row.patches))
        line = f"| {row.library} | {row.model} | {numbers} | {row.read} | {left_out} |\n"
        (authors if row.library == _AUTHORS else libraries).append(line)
    beginning = _BEGINNING.format(
        patches=", ".join(map(str, PATCHES_PX)),
        grids=", ".join(f"{rows} x {columns}" for rows, columns in GRIDS),
    )
    return beginning + "".join(libraries) + _MIDDLE + "".join(authors) + _END


def read_rows() -> list[Row]:
    """Return the results that were written last."""
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    return [Row(**{**row, "left_out": tuple(row["left_out"])}) for row in found]


def _compare_saved(peer: Peer, library: str, name: str) -> Row:
    with TemporaryDirectory() as folder:
        peer.save(Path(folder))
        loaded = read_backbone(folder)
        held = read_folder(Path(folder)).contents
    differences = [largest_difference(peer, loaded.vit, grid) for grid in GRIDS]
    return Row(
        f"{library} {version(library)}",
        name,
        max(cls for cls, _ in differences),
        max(patches for _, patches in differences),
        sum(not is_left_out(name, loaded.left_out) for name in held),
        loaded.left_out,
    )


def main() -> None:
    """Compare all models, write results and page."""
    rows = [compare(library, name) for library, name in peer_names()] + authors_rows(FAMILIES)
    write_text(RESULTS, json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    write_text(PAGE, page(rows))


if __name__ == "__main__":
    main()
