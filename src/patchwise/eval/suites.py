"""Named sets of protocols: what a backbone is commonly measured by."""

from patchwise.checks import check_choice
from patchwise.eval.presets import PROTOCOLS

SUITES: dict[str, tuple[str, ...]] = {
    "dense": (
        "incontext/hummingbird",
        "linseg/cotap",
        "fcn/cotap",
        "overcluster/leopart",
        "unsupseg/stego",
    ),
    "global": ("knn/dino", "linear/cotap", "linear/dino"),
}


def protocols_of(suite: str, *, short: bool = False) -> tuple[str, ...]:
    """Return the names of a suite's protocols, in the order in which they are run.

    Args:
        suite: One of ``SUITES``.
        short: Take the short form of each; those without one are left out.

    Raises:
        ChoiceError: There is no such suite.
    """
    check_choice("evaluate", SUITES, suite=suite)
    if not short:
        return SUITES[suite]
    forms = (f"{name}-short" for name in SUITES[suite])
    return tuple(name for name in forms if name in PROTOCOLS)
