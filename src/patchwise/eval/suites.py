"""Named sets of protocols: what a backbone is commonly measured by."""

from patchwise.checks import check_choice
from patchwise.eval.presets import PROTOCOLS

SUITES: dict[str, tuple[str, ...]] = {
    "dense": (
        "incontext/hummingbird",
        "linseg/cotap",
        "linseg/leopart",
        "linseg/dinov2",
        "fcn/cotap",
        "overcluster/leopart",
        "overcluster/leopart-classes",
        "unsupseg/stego",
    ),
    "global": ("knn/dino", "knn/cotap", "linear/cotap", "linear/dino"),
    "health": ("health/features", "health/dense"),
}


def protocols_of(suite: str, *, short: bool = False) -> tuple[str, ...]:
    """Return the names of a suite's protocols, in the order in which they are run.

    Args:
        suite: One of ``SUITES``.
        short: Take the short form of each that has one.

    Raises:
        ChoiceError: There is no such suite.
    """
    check_choice("evaluate", SUITES, suite=suite)
    if not short:
        return SUITES[suite]
    forms = ((f"{name}-short", name) for name in SUITES[suite])
    return tuple(form if form in PROTOCOLS else name for form, name in forms)
