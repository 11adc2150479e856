"""Settings of a whole training run."""

from dataclasses import dataclass
from typing import Literal, get_args

from patchwise.checks import check_choice, check_positive, check_within
from patchwise.configs.backbone import ViTConfig
from patchwise.configs.methods import MethodConfig
from patchwise.configs.option import option
from patchwise.errors import ConfigError

Keep = Literal["auto", "device", "none"]
MAX_EPOCHS = 1e6


@dataclass(frozen=True)
class DataConfig:
    """How images are read."""

    workers: int = option(1, "Processes that read images; 0: the training process itself.")
    tolerated_bad_images: int = option(
        10,
        "Unreadable, empty, truncated, enormous, elongated or tiny images that are replaced before "
        "stopping.",
    )
    keep: Keep = option(
        "auto",
        "Where resized images stay once they have been read. device: in the memory of "
        "train.device, so that later epochs decode nothing; auto: there if they take at most a "
        "quarter of a CPU's free memory or half of a GPU's; none: nowhere.",
    )

    def __post_init__(self) -> None:
        check_choice("DataConfig", get_args(Keep), keep=self.keep)
        check_within("DataConfig", 0, 1024, workers=self.workers)
        check_within("DataConfig", 0, 1e9, tolerated_bad_images=self.tolerated_bad_images)


@dataclass(frozen=True)
class OptimConfig:
    """AdamW and its schedules. Defaults are PW-Self's (arXiv:2310.18651)."""

    lr_per_256: float = option(5e-4, "Peak learning rate for a batch of 256; scaled linearly.")
    final_lr: float = option(1e-6, "Learning rate at the end (cosine).")
    warmup_epochs: float = option(10.0, "Epochs of linear warm-up from 0.")
    weight_decay: float = option(0.04, "Weight decay at the start; none on biases and norms.")
    final_weight_decay: float = option(0.4, "Weight decay at the end (cosine).")
    clip_norm: float = option(3.0, "Largest gradient norm of each parameter; 0: no clipping.")

    def __post_init__(self) -> None:
        check_positive("OptimConfig", lr_per_256=self.lr_per_256)
        check_within("OptimConfig", 0.0, self.lr_per_256, final_lr=self.final_lr)
        check_within("OptimConfig", 0.0, MAX_EPOCHS, warmup_epochs=self.warmup_epochs)
        check_within(
            "OptimConfig",
            0.0,
            1e9,
            weight_decay=self.weight_decay,
            final_weight_decay=self.final_weight_decay,
            clip_norm=self.clip_norm,
        )


@dataclass(frozen=True)
class TrainConfig:
    """Length, size and housekeeping of a run."""

    epochs: float = option(100.0, "Passes over the images; parts of one count.")
    batch: int = option(64, "Images a step, over all processes and accumulated parts.")
    accumulate: int = option(
        1,
        "Parts into which a batch is split to save memory; CoTAP assigns and ranks each on its "
        "own, so that what it computes is not quite the same.",
    )
    recompute: bool = option(
        False,
        "Keep few activations, and compute the others again for the gradient: less memory, about "
        "a quarter more time.",
    )
    seed: int = option(0, "Of initial weights, order and views.")
    device: Literal["cpu", "cuda"] = option("cpu", "Where to train.")
    precision: Literal["float32", "bf16"] | None = option(
        None, "Number format; none: the faster of the two in a short measurement."
    )
    log_every_steps: int = option(10, "Steps between two lines of log.jsonl.")
    checkpoint_every_steps: int = option(500, "Steps between two checkpoints.")
    keep_checkpoints: int = option(
        2, "Newest checkpoints that are kept; more, to choose among them with `patchwise eval`."
    )
    val_every_epochs: float = option(10.0, "Epochs between two evaluations on the labelled data.")

    def __post_init__(self) -> None:
        check_positive(
            "TrainConfig",
            epochs=self.epochs,
            batch=self.batch,
            accumulate=self.accumulate,
            log_every_steps=self.log_every_steps,
            checkpoint_every_steps=self.checkpoint_every_steps,
            keep_checkpoints=self.keep_checkpoints,
            val_every_epochs=self.val_every_epochs,
        )
        check_within("TrainConfig", 0.0, MAX_EPOCHS, epochs=self.epochs)
        check_within("TrainConfig", 0, 2**31 - 1, seed=self.seed)
        if self.batch % self.accumulate:
            raise ConfigError(
                f"TrainConfig: batch must be a multiple of accumulate, "
                f"got batch {self.batch} and accumulate {self.accumulate}"
            )


@dataclass(frozen=True)
class RunConfig:
    """Everything that determines a run, but for the images themselves."""

    recipe: str  # the one these settings came from
    data: DataConfig
    backbone: ViTConfig
    method: MethodConfig
    optim: OptimConfig
    train: TrainConfig
