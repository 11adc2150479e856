"""Teacher that follows the student."""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

from patchwise.checks import check_within

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class EMATeacher(nn.Module, Generic[ModuleT]):
    """Frozen copy of a module, moved towards it by :meth:`follow`."""

    module: ModuleT

    def __init__(self, student: ModuleT) -> None:
        super().__init__()
        self.module = copy.deepcopy(student).requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> "EMATeacher[ModuleT]":
        """Stay in eval mode: calling ``train()`` on a method must not wake its teacher."""
        return super().train(False)

    @torch.no_grad()
    def follow(self, student: ModuleT, *, momentum: float) -> None:
        """Move: teacher <- momentum * teacher + (1 - momentum) * student."""
        check_within("EMATeacher.follow", 0.0, 1.0, momentum=momentum)
        mine = [parameter.data for parameter in self.module.parameters()]
        theirs = [parameter.data for parameter in student.parameters()]
        torch._foreach_lerp_(mine, theirs, 1 - momentum)
        for copied, source in zip(self.module.buffers(), student.buffers(), strict=True):
            copied.copy_(source)
