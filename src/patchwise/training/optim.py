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
