"""One of several processes that embed the same images into the same store.

    python -m tests.features.embedding_process STORE IMAGES LOG [FSYNC]

It begins when a line comes in. What the model sees goes into LOG, a line a batch. With FSYNC, the
process kills itself when it is about to make a file safe for that time: its content is written, but
it has not got its name.
"""

import os
import signal
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from patchwise.features.content import Request
from patchwise.features.embed import embed_source
from patchwise.features.subject import Subject
from patchwise.features.transform import Whole
from patchwise.models.backbone import BackboneOutput
from tests.eval.tiny import Sighted
from tests.features.stored import IDENTITY, Photos


class Slow(Sighted):
    def __init__(self, log: Path) -> None:
        self.log = log

    def __call__(self, images: Tensor, *, attention: bool = False) -> BackboneOutput:
        with self.log.open("a") as file:
            file.write(f"{os.getpid()} {len(images)}\n")
        time.sleep(0.005)
        return super().__call__(images)


def kill_at(call: int) -> None:
    calls = 0
    fsync = os.fsync

    def counted(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(descriptor)

    os.fsync = counted  # type: ignore[assignment]


if __name__ == "__main__":
    store, images, log, *fatal = sys.argv[1:]
    torch.set_num_threads(1)
    print("ready", flush=True)
    sys.stdin.readline()
    if fatal:
        kill_at(int(fatal[0]))
    subject = Subject(Slow(Path(log)), IDENTITY, batch=5)
    embed_source(subject, Request(Photos(int(images)), Whole(8)), Path(store))
