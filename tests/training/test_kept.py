"""The backbones of a run: found in order, and those that the run had."""

from pathlib import Path

import pytest
import torch

import patchwise
from patchwise.configs.loader import read_config
from patchwise.errors import CheckpointError
from patchwise.models.filtered_vit import FilteredViT
from patchwise.models.weights import load_backbone
from patchwise.training.checkpoint import load_checkpoint
from patchwise.training.folder import RunFolder
from patchwise.training.kept import KeptBackbone, list_kept
from tests.small_runs import small_filtered
from tests.test_cli import TINY


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of 6 steps with checkpoints after 2, 4 and 6."""
    out = tmp_path_factory.mktemp("kept") / "run"
    settings = {**TINY, "train.epochs": 2, "train.keep_checkpoints": 9}
    patchwise.train("scenes:12", out=out, settings=settings)
    return RunFolder(out)


def weights(vit: torch.nn.Module) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in vit.state_dict().values()])


def test_all_are_listed_from_first_to_last(folder: RunFolder) -> None:
    names = [str(kept.path.relative_to(folder.path)) for kept in list_kept(folder)]
    checkpoints = [f"checkpoints/step-{step:09d}.safetensors" for step in (2, 4, 6)]
    assert names == ["initial.safetensors", *checkpoints, "backbone.safetensors"]


def test_a_filtered_backbone_is_kept_too(folder: RunFolder, tmp_path: Path) -> None:
    path = tmp_path / "backbone.safetensors"
    patchwise.save_backbone(small_filtered(), path)
    backbone, step = KeptBackbone(path, is_checkpoint=False).load(read_config(folder.config))
    assert isinstance(backbone, FilteredViT)
    assert step is None


def test_what_is_not_there_is_not_listed(tmp_path: Path) -> None:
    assert list_kept(RunFolder(tmp_path)) == []


def test_files_and_checkpoints_hold_what_the_run_had(folder: RunFolder) -> None:
    config = read_config(folder.config)
    loaded = [kept.load(config) for kept in list_kept(folder)]
    assert [step for _, step in loaded] == [None, 2, 4, 6, None]
    assert all(not vit.training for vit, _ in loaded)
    flat = [weights(vit) for vit, _ in loaded]
    assert torch.equal(flat[0], weights(load_backbone(folder.initial)))
    assert torch.equal(flat[3], flat[4])
    assert not torch.equal(flat[1], flat[2])


def test_a_checkpoints_backbone_is_the_teachers(folder: RunFolder) -> None:
    kept = list_kept(folder)[1]
    vit, _ = kept.load(read_config(folder.config))
    tensors = load_checkpoint(kept.path).tensors
    prefix = "method/teacher.module.backbone."
    teacher = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    assert teacher.keys() == vit.state_dict().keys()
    assert all(torch.equal(teacher[name], t) for name, t in vit.state_dict().items())


@pytest.mark.bad_input
def test_what_is_no_checkpoint_of_the_run_is_refused(folder: RunFolder) -> None:
    config = read_config(folder.config)
    with pytest.raises(CheckpointError, match="must be of format 1"):
        KeptBackbone(folder.initial, is_checkpoint=True).load(config)
    other = patchwise.RunConfig(
        config.recipe, config.data, config.backbone,
        patchwise.DINOConfig(prototypes=3), config.optim, config.train,
    )  # fmt: skip
    with pytest.raises(CheckpointError, match="must hold the method of its run"):
        list_kept(folder)[1].load(other)
