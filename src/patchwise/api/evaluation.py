"""Scoring a backbone by named protocols."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from patchwise.api.data import Data, Opened, open_data, short_side_px
from patchwise.api.models import Model, open_subject
from patchwise.checks import check_choice, check_positive
from patchwise.errors import ConfigError, DataError, PatchwiseError
from patchwise.eval.files import read_results, write_results
from patchwise.eval.presets import LARGEST_SHORT_PX, PROTOCOLS, Facts, Kind, make_protocol
from patchwise.eval.results import Result, headline
from patchwise.eval.run_health import RunRecord
from patchwise.eval.setup import Runnable, package_versions, settings_of
from patchwise.features.subject import Subject

Say = Callable[[str], None]


def evaluate(
    model: Model | Subject,
    *,
    protocol: str,
    data: Data | None = None,
    settings: Mapping[str, Any] | None = None,
    name: str | None = None,
    device: str | None = None,
) -> Result:
    """Score a backbone by a named protocol.

    Args:
        model: A weights file, the folder of a run, ``"module:name"``, or a backbone: anything that
            maps normalised images to patch features; see `open_subject`, whose subject may stand
            here too.
        protocol: Name of the protocol; `patchwise list protocols` shows them.
        data: For protocols of images, see `open_labelled_data`; for protocols of pixels, see
            `open_segmentation`. Both take published data sets as they are unpacked. For protocols
            of images alone, see `open_source`, or labelled pixels; for those of runs, the folder
            of the run, which may stand as the model and be left out here.
        settings: Settings of the protocol to change, by name. The result says so.
        name: What the result calls the model; by default its file, its name or its class.
        device: Where what is named is loaded to; None: a GPU if there is one.

    Returns:
        Scores in [0, 1], with everything that stands behind them.

    Raises:
        PatchwiseError: Model, data or settings cannot be used; the message says what to do.
    """
    check_choice("evaluate", PROTOCOLS, protocol=protocol)
    named = _named(model, data, protocol)
    opened = open_data(named, PROTOCOLS[protocol].kind)
    subject = open_subject(model, name=name, device=device)
    return score(subject, opened, protocol, settings=settings)


def evaluate_many(  # noqa: PLR0913 - one option each
    model: Model | Subject,
    *,
    protocols: Sequence[str],
    data: Data | None,
    seeds: int | None = None,
    settings: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    say: Say | None = None,
) -> list[Result]:
    """Score a backbone by several protocols, one after the other, or with several seeds.

    Args:
        model: As of `evaluate`.
        protocols: Their names; `protocols_of` returns those of a suite.
        data: As of `evaluate`. Of several protocols, those for which it has not the labels, and
            those that cannot be run on it or on the model, are left out, and named.
        seeds: Every protocol is run with the seeds 0 to ``seeds`` - 1; None: with its own one.
        settings: Settings to change, which all protocols must have.
        out: File that is written after every result. What is in it stays, and is not measured
            again where protocol, data, settings, seed, weights and package versions are the same.
        say: Called with a line for every protocol that was run or left out; None: it is printed
            on stderr.

    Returns:
        The results, in the order of the protocols and seeds.

    Raises:
        PatchwiseError: Something cannot be used, or no protocol can be served.
    """
    check_choice("evaluate", PROTOCOLS, **{f"protocols[{i}]": p for i, p in enumerate(protocols)})
    tell = say or Console(stderr=True, markup=False, highlight=False, soft_wrap=True).print
    path = None if out is None else Path(out).expanduser()
    if path is not None and not path.parent.is_dir():
        raise DataError(
            f"evaluate: out must lie in a folder that is there, got '{path}'; make it first"
        )
    kept = read_results(path) if path is not None and path.exists() else []
    if data is None:
        raise DataError(f"evaluate: data must name images for {', '.join(protocols)}, got None")
    served = _serve(data, protocols, tell)
    subject = open_subject(model)
    plan = [
        (protocol, kind)
        for name in protocols
        if (kind := PROTOCOLS[name].kind) in served
        for protocol in _with_seeds(_choose(subject, served[kind], name, settings or {}), seeds)
    ]
    done = list(kept)  # what this call adds, it does not ask for again
    digests = {kind: opened.fingerprint() for kind, opened in served.items()} if done else {}
    results = []
    for protocol, kind in plan:
        same = (found for found in done if _is_of(found, protocol, subject, digests[kind]))
        result, source = next(same, None), f" (from {path})"
        if result is None:
            try:
                result, source = protocol.run(subject, served[kind]), ""
            except PatchwiseError as error:
                if len(protocols) == 1:
                    raise
                tell(f"{protocol.preset} is left out: {error}")
                continue
            if path is not None:
                kept.append(result)
                write_results(path, kept)
        results.append(result)
        metric, value = headline(result)
        seed = "" if seeds is None else f" seed {protocol.seed}"
        tell(f"{protocol.preset}{seed}: {metric} {value:.4f}{source}")
    return results


def score(
    subject: Subject,
    data: Opened,
    protocol: str,
    *,
    settings: Mapping[str, Any] | None = None,
    largest_px: int = LARGEST_SHORT_PX,
) -> Result:
    """Score a model on data of the protocol's kind; short forms see ``largest_px`` at most."""
    opened = open_data(data, PROTOCOLS[protocol].kind)
    chosen = _choose(subject, opened, protocol, settings or {}, largest_px=largest_px)
    return chosen.run(subject, opened)


def _named(model: Model | Subject, data: Data | None, protocol: str) -> Data:
    """Return the data; for protocols of runs, the run may stand as the model alone."""
    if data is not None:
        return data
    if PROTOCOLS[protocol].kind == "run" and isinstance(model, (str, Path)):
        return model
    wanted = "the folder of a run" if PROTOCOLS[protocol].kind == "run" else "images"
    raise DataError(f"evaluate: data must name {wanted} for {protocol}, got None")


def _choose(
    subject: Subject,
    data: Opened,
    protocol: str,
    settings: Mapping[str, Any],
    *,
    largest_px: int = LARGEST_SHORT_PX,
) -> Runnable:
    """Return a protocol with its settings for this model and these data."""
    backbone = subject.backbone
    side_px = largest_px if isinstance(data, RunRecord) else short_side_px(data)
    facts = Facts(min(side_px, largest_px), backbone.patch_px, backbone.dim)
    return make_protocol(protocol, facts, dict(settings))


def _serve(data: Data, protocols: Sequence[str], tell: Say) -> dict[Kind, Opened]:
    """Return the data for each kind of protocol that they can serve; say of others why not."""
    served: dict[Kind, Opened] = {}
    problems: dict[Kind, DataError] = {}
    for name in protocols:
        kind = PROTOCOLS[name].kind
        if kind not in {**served, **problems}:
            try:
                served[kind] = open_data(data, kind)
            except DataError as error:
                problems[kind] = error
        if kind in problems:
            tell(f"{name} is left out: {problems[kind]}")
    if not served and problems:
        raise next(iter(problems.values()))
    return served


def _with_seeds(protocol: Any, seeds: int | None) -> list[Runnable]:  # noqa: ANN401 - a dataclass
    if seeds is None:
        return [protocol]
    check_positive("evaluate", seeds=seeds)
    if protocol.seed != 0:
        raise ConfigError(
            f"config: key 'seed' must be left out with seeds, got {protocol.seed}; the seeds are "
            f"0 to {seeds - 1}"
        )
    return [dataclasses.replace(protocol, seed=seed) for seed in range(seeds)]


def _is_of(found: Result, protocol: Runnable, subject: Subject, data_sha256: str) -> bool:
    """Tell whether a result is what running the protocol now would measure again."""
    mark = found.fingerprint
    return (
        subject.identity.sha256 is not None
        and mark.model == subject.identity
        and (mark.preset, mark.version) == (protocol.preset, protocol.version)
        and (mark.seed, mark.settings) == (protocol.seed, settings_of(protocol))
        and mark.data.sha256 == data_sha256
        and mark.packages == package_versions()
    )
