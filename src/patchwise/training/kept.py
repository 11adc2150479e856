"""The backbones that a run has kept: the initial one, those of its checkpoints, the last one."""

from dataclasses import dataclass
from pathlib import Path

from patchwise.configs.run import RunConfig
from patchwise.errors import CheckpointError
from patchwise.methods import build_method
from patchwise.models.filtered_vit import FilteredViT
from patchwise.models.vit import ViT
from patchwise.models.weights import load_backbone
from patchwise.training.checkpoint import list_checkpoints, load_checkpoint
from patchwise.training.folder import RunFolder

_METHOD = "method/"


@dataclass(frozen=True)
class KeptBackbone:
    """A backbone of a run, on the disk."""

    path: Path
    is_checkpoint: bool  # or a file of weights alone

    def load(self, config: RunConfig) -> tuple[ViT | FilteredViT, int | None]:
        """Return the backbone in evaluation mode, on the CPU, and its step if the file tells.

        Of a checkpoint it is the method's backbone: the teacher's, where there is a teacher.

        Raises:
            CheckpointError: The checkpoint is damaged or another run's.
            WeightsError: The weights file is damaged.
        """
        if not self.is_checkpoint:
            return load_backbone(self.path), None
        checkpoint = load_checkpoint(self.path)
        own = {
            name.removeprefix(_METHOD): tensor
            for name, tensor in checkpoint.tensors.items()
            if name.startswith(_METHOD)
        }
        method = build_method(ViT(config.backbone), config.method)
        try:
            method.load_state_dict(own)
        except RuntimeError as error:
            raise CheckpointError(
                f"load: {self.path} must hold the method of its run, got {error}"
            ) from error
        backbone = method.backbone
        assert isinstance(backbone, ViT | FilteredViT), "all methods train one of these"
        return backbone.eval(), checkpoint.step


def list_kept(folder: RunFolder) -> list[KeptBackbone]:
    """Return what a run has kept, in the order in which it came to it."""
    files = [KeptBackbone(folder.initial, is_checkpoint=False)]
    for path in reversed(list_checkpoints(folder.checkpoints)):
        files.append(KeptBackbone(path, is_checkpoint=True))
    files.append(KeptBackbone(folder.backbone, is_checkpoint=False))
    return [file for file in files if file.path.is_file()]
