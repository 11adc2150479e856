"""A report as a person reads it: what was found and what to do, the images, how to train."""

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from patchwise.checkup.naming import one_line
from patchwise.checkup.report import DoctorReport, Finding, Pictures, Proposal, Spread
from patchwise.training.progress import duration

_STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}
_SHORT = 70  # signs that fit a line of 80 beside the severity


def print_report(report: DoctorReport, console: Console) -> None:
    """Print the whole report. Names of files are shown on one line, and never as markup."""
    console.print(*_report(report), sep="\n")
    if report.proposal is not None:
        # Lines of this are not broken, so that it can be pasted.
        console.print("", Text(f"  {report.proposal.command}"), sep="\n", soft_wrap=True)


def _report(report: DoctorReport) -> Iterator[RenderableType]:
    yield from _summary(report)
    if report.findings:
        yield from ("", Text("What to know, and to do", style="bold"))
        for finding in report.findings:
            yield _finding(finding)
    else:
        yield from ("", Text("Nothing is wrong.", style="green"))
    if report.pictures is not None:
        yield from ("", Text("Images that can be used", style="bold"))
        yield from _pictures(report.pictures)
    if report.written is not None:
        yield from (
            "",
            Text(f"{report.written.images} paths are in {one_line(report.written.path)}"),
        )
    if report.proposal is not None:
        yield from ("", Text("How to train", style="bold"))
        yield from _proposal(report.proposal)


def _summary(report: DoctorReport) -> Iterator[Text]:
    limited = f", {report.checked} read" if report.checked < report.images else ""
    yield Text(one_line(report.data), style="bold", overflow="fold")
    yield Text(
        f"{report.images} images{limited}; {report.usable} can be used, {report.left} of them "
        f"without copies ({duration(report.seconds)})"
    )


def _finding(finding: Finding) -> RenderableType:
    """Return a finding in few lines: what fits one is put on one."""
    what, advice = one_line(finding.what), one_line(finding.advice)
    short = advice and len(what) + len(advice) < _SHORT
    texts = [f"{what}. {advice}"] if short else [what, advice] if advice else [what]
    names = [one_line(name) for name in finding.names]
    if len(", ".join(names)) < _SHORT:
        names = [", ".join(names)] if names else []
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True, width=7)
    table.add_column(overflow="fold")
    table.add_row(
        Text(finding.severity, style=_STYLES[finding.severity]),
        Group(*map(Text, texts), *(Text(name, style="dim", overflow="fold") for name in names)),
    )
    return table


def _pictures(pictures: Pictures) -> Iterator[RenderableType]:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("", "least", "5 %", "median", "95 %", "most"):
        table.add_column(title, justify="right" if title else "left")
    for name, spread in (
        ("short side, px", pictures.short_side_px),
        ("long side, px", pictures.long_side_px),
        ("long / short", pictures.aspect),
    ):
        table.add_row(name, *_numbers(spread))
    yield table
    counts = {"channels": pictures.channels, "bits a value": pictures.bits}
    for name, values in {**counts, "format": pictures.formats}.items():
        yield Text(f"{name}: " + ", ".join(f"{value} {n}" for value, n in values.items()))


def _numbers(spread: Spread) -> Iterator[str]:
    for value in (spread.least, spread.low, spread.median, spread.high, spread.most):
        yield f"{value:.0f}" if value >= 20 or value == int(value) else f"{value:.2f}"


def _proposal(proposal: Proposal) -> Iterator[RenderableType]:
    config = proposal.config
    vit, views, train = config["backbone"], config["method"]["views"], config["train"]
    yield Text(
        f"recipe {proposal.recipe}: {config['method']['name']}, ViT {vit['dim']} wide, "
        f"{vit['depth']} deep, patch {vit['patch_px']}; views 2 x {views['global_px']} + "
        f"{views['local_count']} x {views['local_px']} px; batch {train['batch']}, "
        f"{train['epochs']:g} epochs on {train['device']}"
    )
    cost = proposal.forecast
    if cost is not None:
        yield Text(
            f"forecast: {duration(cost.seconds)} for {cost.steps} steps at "
            f"{cost.images_per_s:.0f} images/s in {cost.precision}, {cost.peak_bytes / 2**30:.1f} "
            f"GiB of memory"
        )
