"""Names of other families."""

import pytest
import torch

from patchwise.models.weights.fitting import one_over_the_other
from patchwise.models.weights.renaming import Names, empty_names, no_key_bias, prefix_among

NAMES = Names(
    "encoder.layer",
    {"cls_token": "embeddings.cls", "patch_embed.proj": "embeddings.patch", "norm": "last"},
    {"norm1": ("before",), "attn.qkv": ("q", "k", "v"), "ls1.gamma": ("scale",)},
)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("cls_token", ("embeddings.cls",)),
        ("patch_embed.proj.weight", ("embeddings.patch.weight",)),
        ("norm.bias", ("last.bias",)),
        ("blocks.0.norm1.weight", ("encoder.layer.0.before.weight",)),
        (
            "blocks.11.attn.qkv.bias",
            tuple(f"encoder.layer.11.{part}.bias" for part in ("q", "k", "v")),
        ),
        ("blocks.2.ls1.gamma", ("encoder.layer.2.scale",)),
    ],
)
def test_names_are_theirs(ours: str, theirs: tuple[str, ...]) -> None:
    origin = NAMES.origin(ours)
    assert origin.names == theirs
    assert origin.join is one_over_the_other


def test_the_first_prefix_that_is_there_counts() -> None:
    names = ["vit.embeddings.cls", "classifier.weight", "model.other"]
    assert prefix_among(names, ("model.", "vit."), "embeddings.") == "vit."
    assert prefix_among(iter(names), ("model.", "dinov2."), "embeddings.") == ""


def test_empty_tensors_are_found_by_their_whole_names() -> None:
    tensors = {"a.b": torch.empty(1, 0, 3), "a": torch.ones(1), "scalar": torch.tensor(0.0)}
    assert empty_names(tensors) == [r"a\.b"]


def test_keys_have_a_bias_of_zero() -> None:
    joined = no_key_bias(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]))
    assert joined.tolist() == [1, 2, 0, 0, 3, 4]
