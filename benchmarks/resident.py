"""The images of an epoch: read from files, and served from memory once they are there.

    python -m benchmarks.resident [DEVICE]

Two sets are made in a temporary folder: 5,000 PNGs of 32 px, as those of CIFAR-10, and 256 JPEGs of
384 x 320 px, whose short side becomes 256 px. The stream alone is timed, without training: an epoch
from files by one worker, which starts and ends with it, and an epoch from the memory of DEVICE
("cpu" unless told), in turn; medians of five rounds. The batches' pixels are on DEVICE either way.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.measuring import machine, seconds_in_turn
from patchwise.data.bad_images import BadImages
from patchwise.data.images import ResizeRule
from patchwise.data.loader import BatchStream, LoadedBatch
from patchwise.data.resident import Residence, resident_bytes
from patchwise.data.source import open_source

# file type, number of images, their height and width, batch, base_px
SETS = [("png", 5_000, (32, 32), 250, 32), ("jpg", 256, (320, 384), 64, 256)]


def save_images(folder: Path, suffix: str, number: int, size: tuple[int, int]) -> None:
    """Save smooth noise, which compresses about as photographs do."""
    generator = np.random.default_rng(0)
    for index in range(number):
        coarse = generator.integers(0, 256, (size[0] // 4, size[1] // 4, 3)).astype(np.uint8)
        image = Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)
        image.save(folder / f"{index}.{suffix}")


def use(batches: Iterator[LoadedBatch], device: torch.device) -> None:
    """Bring the pixels of all batches to the device and wait for them."""
    for batch in batches:
        batch.images.to(device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def from_files(stream: BatchStream, device: torch.device) -> Callable[[], None]:
    """Return what reads one epoch."""
    steps = stream.steps_per_epoch
    return lambda: use(stream.batches(BadImages(""), stop_step=steps), device)


def main() -> None:
    """Print a line for each set."""
    device = torch.device(sys.argv[1] if len(sys.argv) > 1 else "cpu")
    print(machine())
    print(f"images/s of the stream alone, to {device}")
    for suffix, number, size, batch, base_px in SETS:
        with tempfile.TemporaryDirectory() as folder:
            save_images(Path(folder), suffix, number, size)
            source, rule = open_source(folder), ResizeRule(base_px=base_px)
            residence = Residence(device, resident_bytes(source, rule))
            plain = BatchStream(source, batch=batch, seed=0, workers=1, resize=rule)
            kept = BatchStream(
                source, batch=batch, seed=0, workers=1, resize=rule, residence=residence
            )
            with closing(kept.batches(BadImages(""))) as batches:
                steps = kept.steps_per_epoch
                use(islice(batches, steps), device)  # the first epoch fills the memory
                seconds = seconds_in_turn(
                    {
                        "files": from_files(plain, device),
                        "memory": lambda: use(islice(batches, steps), device),  # noqa: B023
                    }
                )
        speeds = {name: steps * batch / taken for name, taken in seconds.items()}
        print(
            f"{number} {suffix} of {size[1]} x {size[0]} px, batch {batch}: "
            f"files {speeds['files']:.0f}, memory {speeds['memory']:.0f} "
            f"({speeds['memory'] / speeds['files']:.0f} times), "
            f"{residence.expected_bytes / 2**20:.1f} MiB",
            flush=True,
        )


if __name__ == "__main__":
    main()
