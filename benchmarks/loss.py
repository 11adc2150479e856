"""The loss alone, over K prototypes: ours, block by block, beside the whole matrices.

    python -m benchmarks.loss

Rows as in a step of ViT-Ti/16, 2 x 224 + 8 x 96 px, batch 8: 2,048 of the student in a pass and
2,560 of the teacher. Forward and backward; medians of five rounds; memory above that of a process
which holds the inputs and room for their gradients, each in a process of its own.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

from benchmarks.measuring import ROUNDS, machine, run_alone, seconds_in_turn
from patchwise.losses.matched_distillation import TokenPairs, matched_distillation_loss
from patchwise.methods.cut import Cut
from patchwise.ops.prototypes import expected_prototypes

STUDENT, TEACHER, CHANNELS, POSITIONS, PAIRS = 2048, 2560, 256, 197, 3072
SIZES = (1_000, 10_000, 65_536, 262_144)
MOST_OF_PLAIN = 65_536  # prototypes, beyond which whole matrices do not fit
STUDENT_TEMPERATURE, TEACHER_TEMPERATURE = 0.1, 0.04

Loss = Callable[["Inputs"], None]


class Inputs:
    """Random tokens and prototypes, with room for gradients."""

    def __init__(self, prototypes: int) -> None:
        torch.manual_seed(0)
        self.student = F.normalize(torch.randn(STUDENT, CHANNELS), dim=1).requires_grad_()
        self.prototypes = torch.randn(prototypes, CHANNELS).requires_grad_()
        self.teacher = F.normalize(torch.randn(TEACHER, CHANNELS), dim=1)
        self.teachers_prototypes = torch.randn(prototypes, CHANNELS)
        self.centre = torch.zeros(POSITIONS, prototypes)
        self.position = torch.arange(TEACHER) % POSITIONS
        teacher, student = torch.randint(TEACHER, (PAIRS,)), torch.randint(STUDENT, (PAIRS,))
        self.pairs = TokenPairs(teacher, student, torch.full((PAIRS,), 1 / PAIRS))
        for leaf in (self.student, self.prototypes):
            leaf.grad = torch.zeros_like(leaf)


def ours(inputs: Inputs) -> None:
    """Backward the library's loss as a step does: the targets' part last."""
    target = expected_prototypes(
        inputs.teacher,
        inputs.teachers_prototypes,
        inputs.prototypes,
        temperature=TEACHER_TEMPERATURE,
        centre=inputs.centre,
        position=inputs.position,
    )
    cut = Cut(target)
    loss = matched_distillation_loss(
        inputs.student,
        inputs.prototypes,
        cut.leaf,
        inputs.pairs,
        student_temperature=STUDENT_TEMPERATURE,
    )
    loss.backward()  # type: ignore[no-untyped-call]
    cut.rest().backward()  # type: ignore[no-untyped-call]


def plain(inputs: Inputs) -> None:
    """Backward the same from the matrices tokens x K."""
    scores = inputs.teacher @ F.normalize(inputs.teachers_prototypes, dim=1).mT
    scores = scores - inputs.centre[inputs.position]
    target = (scores / TEACHER_TEMPERATURE).softmax(dim=1)
    answers = inputs.student @ F.normalize(inputs.prototypes, dim=1).mT
    answers = (answers / STUDENT_TEMPERATURE).log_softmax(dim=1)
    total = inputs.student.new_zeros(())
    for some in torch.arange(PAIRS).reshape(-1, 256):
        pairs = inputs.pairs.select(some)
        each = -(target[pairs.teacher] * answers[pairs.student]).sum(dim=1)
        total = total + (pairs.weight * each).sum()
    total.backward()  # type: ignore[no-untyped-call]


def nothing(inputs: Inputs) -> None:
    """Hold the inputs."""


LOSSES: dict[str, Loss] = {"ours": ours, "plain": plain, "nothing": nothing}


def main() -> None:
    """Print a table, or run one loss alone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--alone", nargs=2, metavar=("LOSS", "K"))
    alone = parser.parse_args().alone
    if alone:
        inputs = Inputs(int(alone[1]))
        times = []
        for _ in range(3):
            start = time.perf_counter()
            LOSSES[alone[0]](inputs)
            times.append(time.perf_counter() - start)
        print(statistics.median(times))
        return
    print(machine())
    print(f"{'K':>10}{'':>8}{'s':>8}{'MiB more':>10}")
    for size in SIZES:
        names = [n for n in ("ours", "plain") if n == "ours" or size <= MOST_OF_PLAIN]
        peaks = {n: run_alone("benchmarks.loss", ["--alone", n, str(size)]).mib for n in LOSSES
                 if n in names or n == "nothing"}  # fmt: skip
        inputs = Inputs(size)
        acts = {name: functools.partial(LOSSES[name], inputs) for name in names}
        for name, seconds in seconds_in_turn(acts, rounds=ROUNDS).items():
            more = peaks[name] - peaks["nothing"]
            print(f"{size:10,}{name:>8}{seconds:8.2f}{more:10.0f}", flush=True)


if __name__ == "__main__":
    main()
