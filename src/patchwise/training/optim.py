"""AdamW over a method's parameter groups, and what is done to gradients and rates."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from patchwise.configs.run import OptimConfig
from patchwise.errors import TrainingError
from patchwise.methods.method import ParameterGroup, Step
from patchwise.ops.schedules import cosine, warmup_cosine


def build_optimizer(groups: Sequence[ParameterGroup]) -> torch.optim.AdamW:
    """Return AdamW over the groups; rates and decays are set by `apply_schedules`.

    Raises:
        TrainingError: A parameter is in two groups.
    """
    seen: dict[int, str] = {}
    for group in groups:
        for name, parameter in group.parameters.items():
            if id(parameter) in seen:
                raise TrainingError(
                    f"build_optimizer: every parameter must be in one group, got {name!r} again "
                    f"as {seen[id(parameter)]!r}"
                )
            seen[id(parameter)] = name
    return torch.optim.AdamW(
        [
            {
                "params": list(group.parameters.values()),
                "names": list(group.parameters),
                "decayed": group.decayed,
                "rate_scale": group.rate_scale,
                "frozen_epochs": group.frozen_epochs,
            }
            for group in groups
        ],
        fused=True,
    )


def apply_schedules(
    optimizer: torch.optim.Optimizer, config: OptimConfig, *, batch: int, step: Step
) -> tuple[float, float]:
    """Set every group's learning rate and weight decay for a step; return the base values.

    A group's ``rate_scale`` multiplies the peak. All groups end at ``config.final_lr``, or at
    their own peak where that is lower.

    Args:
        optimizer: From `build_optimizer`.
        config: Peak, end and warm-up.
        batch: Images a step over all processes: the rate is proportional to it.
        step: Where the run stands.
    """
    peak = config.lr_per_256 * batch / 256

    def rate(scale: float) -> float:
        return warmup_cosine(
            peak * scale,
            min(config.final_lr, peak * scale),
            at=step.index,
            warmup=config.warmup_epochs * step.steps_per_epoch,
            total=step.total,
        )

    decay = cosine(config.weight_decay, config.final_weight_decay, progress=step.progress)
    for group in optimizer.param_groups:
        group["lr"] = rate(group["rate_scale"])
        group["weight_decay"] = decay if group["decayed"] else 0.0
    return rate(1.0), decay


def drop_frozen_gradients(optimizer: torch.optim.Optimizer, step: Step) -> None:
    """Make the optimiser pass over the groups that do not move yet."""
    for group in optimizer.param_groups:
        if step.epoch < group["frozen_epochs"]:
            for parameter in group["params"]:
                parameter.grad = None


@torch.no_grad()
def clip_gradients(parameters: Iterable[nn.Parameter], *, max_norm: float) -> Tensor:
    """Scale down each parameter's gradient whose own norm is above ``max_norm``.

    Args:
        parameters: Those without a gradient are passed over.
        max_norm: 0 leaves all gradients as they are.

    Returns:
        Norm of all gradients together, before clipping.

    Source: DINO's training script clips each parameter on its own, not the whole.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return torch.zeros(())
    norms = torch.stack(torch._foreach_norm(gradients))
    if max_norm > 0:
        scales = (max_norm / (norms + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(gradients, list(scales))
    total: Tensor = norms.norm()
    return total


@torch.no_grad()
def relative_update(optimizer: torch.optim.Optimizer) -> Tensor:
    """Return how far AdamW's last step moved the weights, decay apart: |update| / |weights|.

    About 0.001 to 0.01 in a healthy run; weights that move by their own length within some ten
    steps keep nothing of what they learnt.
    """
    moved, lengths = [], []
    for group in optimizer.param_groups:
        parameters = [p for p in group["params"] if p.grad is not None and optimizer.state[p]]
        if not parameters or group["lr"] == 0:
            continue
        beta1, beta2 = group["betas"]
        states = [optimizer.state[p] for p in parameters]
        steps = float(states[0]["step"])
        size = torch._foreach_sqrt([state["exp_avg_sq"] for state in states])
        torch._foreach_div_(size, (1 - beta2**steps) ** 0.5)
        torch._foreach_add_(size, group["eps"])
        update = torch._foreach_div([state["exp_avg"] for state in states], size)
        scale = group["lr"] / (1 - beta1**steps)
        moved.append(torch.stack(torch._foreach_norm(update)).norm() * scale)
        lengths.append(torch.stack(torch._foreach_norm(parameters)).norm())
    if not moved:
        return torch.zeros(())
    ratio: Tensor = torch.stack(moved).norm() / torch.stack(lengths).norm().clamp(min=1e-12)
    return ratio
