"""Two steps of a run on made-up images, in a process of its own: what they need and take.

    python -m patchwise.training.probe CONFIG.toml IMAGES

The most memory that a process ever held can be asked for, but never be made to fall: hence a
process for each question. The steps take IMAGES images at a time, twice each.
"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from patchwise.configs.loader import dump_toml, read_config
from patchwise.configs.run import RunConfig
from patchwise.environment import peak_bytes
from patchwise.errors import TrainingError
from patchwise.methods import build_method, inputs_read
from patchwise.methods.method import Batch
from patchwise.models.vit import ViT
from patchwise.training.engine import build_fabric
from patchwise.training.loop import Training
from patchwise.training.optim import build_optimizer
from patchwise.types import ImageBatch

_PARTS = 2  # the second meets the gradients of the first
_READ_AHEAD = 3  # batches: the one in use, and those that workers have ready


@dataclass(frozen=True)
class Need:
    """What some settings need."""

    bytes: int  # at most, by the whole process; on a GPU, of its memory
    seconds: float  # of a part of a step


def probe(config: RunConfig, images: int) -> Need | None:
    """Measure settings in a new process.

    Args:
        config: With its precision resolved; batch and accumulation do not matter.
        images: That go through the method together.

    Returns:
        None if the memory did not suffice.

    Raises:
        TrainingError: The process failed for another reason.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.toml"
        path.write_text(dump_toml(config))
        command = [sys.executable, "-m", "patchwise.training.probe", str(path), str(images)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return Need(**json.loads(done.stdout.splitlines()[-1]))
    out_of_memory = ("OutOfMemoryError", "MemoryError", "can't allocate memory")
    if done.returncode == -9 or any(sign in done.stderr for sign in out_of_memory):  # 9: killed
        return None
    raise TrainingError(
        f"fit: two steps with {images} images at a time must be possible, got {done.stderr}"
    )


def measure_need(config: RunConfig, images: int) -> Need:
    """Make the two steps, in this process.

    Neither what is read nor the teacher's weights matter for memory, nor at which step a run is.
    """
    parts = replace(config.train, batch=_PARTS * images, accumulate=_PARTS)
    config = replace(config, train=parts)
    assert config.train.precision is not None, "the precision is resolved"
    fabric = build_fabric(config.train.device, config.train.precision)
    method = build_method(ViT(config.backbone), config.method).to(fabric.device)
    method.settle()
    optimizer = build_optimizer(method.parameter_groups())
    training = Training(method, optimizer, config, 10, 10, fabric)
    batch = make_batch(config, _PARTS * images)
    for _ in range(2):
        start = time.perf_counter()
        training.step(batch)
        if fabric.device.type == "cuda":
            torch.cuda.synchronize()
    seconds = (time.perf_counter() - start) / _PARTS
    return Need(peak_bytes(fabric.device), seconds)


def make_batch(config: RunConfig, images: int) -> Batch:
    """Return noise of the size that images have after they were read, for each input."""
    side = config.method.views.base_px
    size = (side, side if config.method.views.base == "square" else round(side * 4 / 3))
    pixels = torch.randint(0, 256, (images, 3, *size), dtype=torch.uint8)
    batch = ImageBatch(pixels, torch.tensor([size] * images), torch.arange(images), 0)
    wanted = inputs_read(config.method).values()
    names = [i.name for i in wanted] + [i.neighbour_name for i in wanted if i.neighbours]
    return dict.fromkeys(names, batch)


def waiting_bytes(config: RunConfig) -> int:
    """Return what a CPU holds of images that wait for their step."""
    if config.train.device != "cpu":
        return 0
    batch = make_batch(config, 1).values()
    return sum(b.pixels.nbytes for b in batch) * config.train.batch * _READ_AHEAD


def main() -> None:
    """Print what the config needs."""
    path, images = sys.argv[1:]
    print(json.dumps(asdict(measure_need(read_config(Path(path)), int(images)))))


if __name__ == "__main__":
    main()
