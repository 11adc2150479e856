"""What there is to say about the images and their training, and what to do about it."""

from collections.abc import Iterator

from patchwise.checkup.report import Copies, Finding, Proposal, Severity
from patchwise.checkup.survey import Survey
from patchwise.configs.run import DataConfig
from patchwise.training.progress import duration

_ORDER: tuple[Severity, ...] = ("error", "warning", "note")
_FEW_IMAGES = 1_000
_LARGE_SIDE_PX = 1_000  # short side from which on decoding takes most of the time
_NIGHT_S = 12 * 3600
_LONG_S = 24 * 3600
_MUCH_MEMORY = 0.9  # of what there is
_MANY_COPIES = 0.01  # of the images
_MANY_FLAT = 0.02  # likewise

# What each reason means to whoever has such files.
_REMEDIES = {
    "unreadable": "no permission, or no known format; convert to JPEG or PNG",
    "empty": "0 bytes; copy or download again",
    "truncated": "cut short or damaged; copy or download again",
    "enormous": "too many pixels; cut into tiles, or shrink",
    "elongated": "too long for their width; cut into pieces",
    "tiny": "too small to learn from; leave out",
}


def in_order(findings: list[Finding]) -> tuple[Finding, ...]:
    """Return the most important first; of equal importance in the order given."""
    return tuple(sorted(findings, key=lambda finding: _ORDER.index(finding.severity)))


def image_findings(survey: Survey, *, images: int, checked: int, listing: str) -> Iterator[Finding]:
    """Yield what the images themselves give reason to say.

    Args:
        survey: Of the images that were read.
        images: How many there are.
        checked: How many of them were read.
        listing: How bad images and copies are left out; empty if the source allows no list.
    """
    if not survey.usable:
        yield Finding("error", "No image can be used", "Training cannot begin.")
    if checked < images:
        yield Finding(
            "note",
            f"Only {checked} of {images} images were read, evenly spread (--limit)",
            "All numbers are of these. Copies of one image are mostly missed this way.",
        )
    yield from _bad(survey, scale=images / checked, listing=listing)
    yield from _flat(survey, listing)
    yield from _copies(survey, checked, listing)
    if 0 < survey.usable * images / checked < _FEW_IMAGES:
        yield Finding(
            "warning",
            f"Few images: {round(survey.usable * images / checked)}",
            "Features learnt from scratch will be weak: begin with weights (--init WEIGHTS), or "
            "add images, labelled or not.",
        )
    yield from _kinds(survey)


def training_findings(proposal: Proposal, memory: int) -> Iterator[Finding]:
    """Yield what the forecast gives reason to say.

    Args:
        proposal: What would be run.
        memory: Bytes that training may use; 0: not known.
    """
    cost = proposal.forecast
    if proposal.problem is not None:
        yield Finding("error", "Training could not be tried", proposal.problem)
    if cost is None:
        return
    if memory and cost.peak_bytes > _MUCH_MEMORY * memory:
        yield Finding(
            "warning",
            f"Training needs {cost.peak_bytes / 2**30:.1f} of {memory / 2**30:.1f} GiB of memory",
            "Split each batch: --set train.accumulate=2",
        )
    if cost.seconds > _LONG_S:
        epochs = proposal.config["train"]["epochs"] * _NIGHT_S / cost.seconds
        yield Finding(
            "warning",
            f"Training takes {duration(cost.seconds)} on this machine",
            f"For a night: --set train.epochs={epochs:.3g}; or use a GPU. A run can be stopped and "
            f"resumed at any time.",
        )


def expected_bad(survey: Survey, *, images: int, checked: int) -> int:
    """Return how many bad images to tolerate: those found; of a sample, half more than it says."""
    if checked == images:
        return survey.bad
    return round(1.5 * survey.bad * images / checked)


def _bad(survey: Survey, *, scale: float, listing: str) -> Iterator[Finding]:
    if not survey.bad:
        return
    tolerated = DataConfig().tolerated_bad_images
    stops = survey.bad * scale > tolerated
    severity: Severity = "warning" if stops else "note"
    then = f"by default it stops after {tolerated}" if stops else f"it stops after {tolerated}"
    yield Finding(
        severity,
        f"Images that cannot be used: {survey.bad}",
        f"Training replaces and counts them; {then}. {listing}".rstrip(),
    )
    for kind in survey.bad_kinds():
        remedy = _REMEDIES[kind.reason]
        yield Finding(
            severity,
            f"- {kind.reason}: {kind.images.count} ({remedy})",
            names=kind.images.names,
        )


def _flat(survey: Survey, listing: str) -> Iterator[Finding]:
    flat = survey.flat()
    if not flat.count:
        return
    wholly = survey.flat_folders
    advice = "Label maps and masks are not for training: give only the folder of the photographs"
    if wholly:
        more = f" and {len(wholly) - 3} more" if len(wholly) > 3 else ""
        advice += f", without {', '.join(wholly[:3])}{more}. {listing}"
    yield Finding(
        "warning" if flat.count >= _MANY_FLAT * survey.usable else "note",
        f"Flat nearly everywhere (label maps, masks or drawings?): {flat.count}",
        advice.rstrip(". ") + ".",
        flat.names,
    )


def _copies(survey: Survey, checked: int, listing: str) -> Iterator[Finding]:
    same, alike = survey.copies(survey.same_pixels), survey.copies(survey.same_look)
    for copies, what in (
        (same, "Exact copies"),
        (alike, "Near-duplicates (saved again, resized, or frames of a video)"),
    ):
        if copies.extra:
            yield Finding(
                "warning" if copies.extra > _MANY_COPIES * checked else "note",
                f"{what}: {copies.extra}, in {copies.groups} groups",
                "They add little, and must not be split over training and test images. "
                f"{listing}".rstrip(),
                _group_names(copies),
            )


def _group_names(copies: Copies) -> tuple[str, ...]:
    return tuple(
        f"{group.kept} = {group.copies.names[0]}"
        + (f" and {group.copies.count - 1} more" if group.copies.count > 1 else "")
        for group in copies.largest
    )


def _kinds(survey: Survey) -> Iterator[Finding]:
    """Say what is done with unusual pictures: all of it is right for most, but not for all."""
    pictures = survey.pictures()
    if pictures is None:
        return
    if pictures.short_side_px.median >= _LARGE_SIDE_PX:
        yield Finding(
            "note",
            f"Large images: a short side of {pictures.short_side_px.median:.0f} px (median)",
            "Reading them may take longer than training: shrink copies once, to a short side of "
            "some 500 px, or raise data.workers.",
        )
    deep = sum(count for bits, count in pictures.bits.items() if int(bits) > 8)
    cmyk = pictures.channels.get("CMYK", 0)
    for count, what, advice in (
        (deep, "More than 8 bits a value", "They are scaled to 8 bits."),
        (cmyk, "CMYK", "They are converted without a colour profile."),
        (pictures.transparent, "Transparent", "They are laid on white."),
        (pictures.several_frames, "Several frames or pages", "The first is used."),
        (pictures.turned, "Turned by EXIF", "They are trained on upright."),
    ):
        if count:
            yield Finding("note", f"{what}: {count}", advice)
