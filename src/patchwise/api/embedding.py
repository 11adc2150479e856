"""Features of images, kept on the disk."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from patchwise.api.data import open_labels
from patchwise.api.models import Model, open_subject
from patchwise.checks import check_choice, check_positive, check_within
from patchwise.data.segmentation import SegmentationData
from patchwise.data.source import ImageSource, open_source
from patchwise.environment import usable_cores
from patchwise.errors import DataError
from patchwise.features.content import Request
from patchwise.features.embed import embed_source
from patchwise.features.store import FeatureStore
from patchwise.features.transform import parse_size
from patchwise.features.windows import Windows, check_windows

DEFAULT_SIZE = "most:448"


def embed(  # noqa: PLR0913 - one option each
    model: Model,
    data: str | Path | ImageSource,
    *,
    out: str | Path,
    patches: bool = False,
    size: str = DEFAULT_SIZE,
    window: int | None = None,
    stride: int | None = None,
    part: Literal["fit", "test"] | None = None,
    device: str | None = None,
    batch: int = 32,
    workers: int | None = None,
) -> FeatureStore:
    """Write a model's features of all images into a folder, or those that it lacks.

    The folder may be written to by several processes at the same time, on one machine or on many
    that share it: each takes parts that no other one has. The same call goes on with what was
    interrupted.

    Args:
        model: As `evaluate` takes it.
        data: Images as `open_source` opens them, or which are open; with ``part``, labelled ones.
        out: The folder: a store of these very features, or none yet.
        patches: Store patch features besides CLS.
        size: What images are brought to; see `parse_size`. By default the short side is at most
            448 px, and the shape is kept, in whole patches.
        window: Side of the windows in which larger images are seen, pixels; None: images are seen
            whole.
        stride: From one window to the next, pixels; None: half a window, in whole patches.
        part: Of labelled images those to learn from, or those to be scored.
        device: Where a weights file is loaded to; None: a GPU if there is one.
        batch: Images that the model sees at a time.
        workers: Processes that read images ahead; None: 1, or with a GPU all cores but one.

    Raises:
        PatchwiseError: Something cannot be used, or the folder holds other features; the message
            says in what they differ.
    """
    check_positive("embed", batch=batch)
    source = _open(data, part)
    subject = open_subject(model, device=device)
    if subject.identity.sha256 is None:
        raise DataError(
            f"embed: model must have weights by which its features can be told from others, "
            f"got {subject.identity.name}"
        )
    patch_px = subject.backbone.patch_px
    if workers is None:
        workers = 1 if subject.backbone.device.type == "cpu" else max(1, usable_cores() - 1)
    check_within("embed", 0, 1024, workers=workers)
    transform, windows = parse_size(size, patch_px), _windows(window, stride, patch_px)
    request = Request(source, transform, windows, patches)
    return embed_source(
        replace(subject, batch=batch, workers=workers), request, Path(out).expanduser()
    )


def describe_store(store: FeatureStore) -> str:
    """Return in a line what a store holds."""
    content = store.content
    what = "CLS and patches" if store.has_patches else "CLS"
    seen = f", {content.windows}" if content.windows else ""
    taken = sum(file.stat().st_size for file in store.path.rglob("*.npy"))
    return (
        f"{store.path}: {what} of {content.data} by {content.model.name}, "
        f"{content.transform['words']}{seen}, {store.dim} channels, {taken / 2**20:.1f} MiB"
    )


def _open(data: str | Path | ImageSource, part: str | None) -> ImageSource:
    """Open images; of labelled ones a part."""
    if not isinstance(data, (str, Path)):
        return data
    if part is None:
        return open_source(data)
    check_choice("embed", ("fit", "test"), part=part)
    labelled = open_labels(data)
    if isinstance(labelled, SegmentationData):
        return (labelled.fit if part == "fit" else labelled.test).images
    if part == "test" and labelled.test is None:
        raise DataError(
            f"embed: part must be left out, or fit, where there is one part only, got {part!r} "
            f"for {labelled.name!r}"
        )
    return labelled.fit if part == "fit" or labelled.test is None else labelled.test


def _windows(window: int | None, stride: int | None, patch_px: int) -> Windows | None:
    if window is None:
        if stride is not None:
            raise DataError(
                f"embed: stride must be given with a window, got {stride} alone; add the window"
            )
        return None
    if stride is None:
        stride = max(1, window // 2 // patch_px) * patch_px
    windows = Windows(window, stride)
    check_windows(windows, patch_px)
    return windows
