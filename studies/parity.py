"""Do weights of others give their features here? Every family that transformers and timm can make.

Each model is made offline with every weight redrawn, saved by its library, loaded here, and both
are shown the same images, of the size that positions are stored for and of others. One command:

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
from tests.models.weights.peers import (
    GRIDS,
    Peer,
    is_left_out,
    largest_difference,
    make_peer,
    peer_names,
)

from patchwise.files import write_text
from patchwise.models.weights.folder import read_folder
from patchwise.models.weights.load import read_backbone

RESULTS = Path(__file__).with_suffix(".json")
PAGE = Path(__file__).parents[1] / "docs" / "parity.md"
PATCHES_PX = (4, 8, 14, 16)
_BEGINNING = """# Weights of others, side by side

Each model of another library is made small and offline, every weight is redrawn, biases, norms and
tokens included, the library saves it, and `patchwise.load_backbone` reads the folder. Both see the
same images: patches of {patches} px; {grids} patches, the first being what positions are stored
for. The largest difference of any number of any token, over all sizes, in float32 on a CPU:

| library | model | CLS | patches | tensors read | left out |
|---|---|---|---|---|---|
"""
_END = """
Tokens are about 1 in size. What is left out serves pre-training or classification. The command is
`python -m studies.parity`; the tests do the same with a tolerance of 1e-5, and show that each
tensor counts: without it, or by another name, loading fails and names it.
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


def page(rows: Iterable[Row]) -> str:
    """Return the table, with what is behind it, as Markdown."""
    lines = [
        f"| {row.library} | {row.model} | {row.cls:.1e} | {row.patches:.1e} | {row.read} | "
        f"{', '.join(f'`{name}`' for name in row.left_out)} |\n"
        for row in rows
    ]
    beginning = _BEGINNING.format(
        patches=", ".join(map(str, PATCHES_PX)),
        grids=", ".join(f"{rows} x {columns}" for rows, columns in GRIDS),
    )
    return beginning + "".join(lines) + _END


def read_rows() -> list[Row]:
    """Return the results that were written last."""
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    return [Row(**{**row, "left_out": tuple(row["left_out"])}) for row in found]


def _compare_saved(peer: Peer, library: str, name: str) -> Row:
    with TemporaryDirectory() as folder:
        peer.save(Path(folder))
        loaded = read_backbone(folder)
        held = read_folder(Path(folder)).contents
    differences = [largest_difference(peer, loaded.backbone, grid) for grid in GRIDS]
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
    rows = []
    for library, name in peer_names():
        rows.append(compare(library, name))
        print(rows[-1], flush=True)
    write_text(RESULTS, json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    write_text(PAGE, page(rows))


if __name__ == "__main__":
    main()
