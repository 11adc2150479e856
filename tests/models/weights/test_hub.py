"""Models of the hub, without a network."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from patchwise.errors import WeightsError
from patchwise.models.weights.hub import download, names_hub
from patchwise.models.weights.load import load_backbone, read_backbone
from tests.models.weights.peers import largest_difference, transformers_peer

huggingface_hub: Any = pytest.importorskip("huggingface_hub")
COMMIT = "0" * 40


class Hub:
    """In the place of the hub: folders of files, and what was asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked: list[tuple[str, str | None, list[str]]] = []

    def fetch(self, name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        self.asked.append((name, revision, allow_patterns))
        return str(self.root)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    found = Hub(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", found.fetch)
    return found


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of huggingface_hub, offline."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def put(cache: Path, name: str, *, revision: str = "main") -> Path:
    """Return the folder in which the cache has a model."""
    home = cache / f"models--{name.replace('/', '--')}"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / revision).write_text(COMMIT)
    folder = home / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    return folder


def test_only_names_with_the_prefix_are_looked_for() -> None:
    assert names_hub("hub:facebook/dinov2-small")
    assert not names_hub("facebook/dinov2-small")
    assert not names_hub("github:x/y")


@pytest.mark.parametrize(
    ("text", "name", "revision"),
    [
        ("hub:facebook/dinov2-small", "facebook/dinov2-small", None),
        (
            "hub:timm/vit_small_patch16_dinov3.lvd1689m",
            "timm/vit_small_patch16_dinov3.lvd1689m",
            None,
        ),
        ("hub:a/b@refs/pr/3", "a/b", "refs/pr/3"),
        (f"hub:a/b@{COMMIT}", "a/b", COMMIT),
    ],
)
def test_only_what_is_needed_is_downloaded(
    text: str, name: str, revision: str | None, hub: Hub
) -> None:
    save_file({"a": torch.ones(1)}, hub.root / "model.safetensors")
    assert download(text) == hub.root
    (asked,) = hub.asked
    assert asked[:2] == (name, revision)
    assert set(asked[2]) == {
        "config.json",
        "preprocessor_config.json",
        "backbone.safetensors",
        "model.safetensors",
        "model.safetensors.index.json",
        "model-*-of-*.safetensors",
    }


@pytest.mark.parametrize("name", ["backbone.safetensors", "model.safetensors.index.json"])
def test_pickles_are_not_asked_for_where_there_are_safetensors(name: str, hub: Hub) -> None:
    (hub.root / name).touch()
    download("hub:a/b")
    assert len(hub.asked) == 1


def test_a_pickle_is_asked_for_where_there_is_nothing_else(hub: Hub) -> None:
    (hub.root / "config.json").touch()
    download("hub:a/b@c")
    assert [asked[:2] for asked in hub.asked] == [("a/b", "c"), ("a/b", "c")]
    assert hub.asked[1][2] == [
        "config.json",
        "preprocessor_config.json",
        "pytorch_model.bin",
    ]


@pytest.mark.parametrize("revision", ["main", "v1"])
def test_what_is_in_the_cache_needs_no_network(revision: str, cache: Path) -> None:
    peer = transformers_peer("Dinov2")
    peer.save(put(cache, "owner/tiny", revision=revision))
    name = "hub:owner/tiny" if revision == "main" else f"hub:owner/tiny@{revision}"
    assert max(largest_difference(peer, read_backbone(name).vit, (4, 8))) < 1e-5


def test_nothing_of_the_hub_is_imported_for_files() -> None:
    code = (
        "import sys, patchwise.models.weights.load; "
        "assert 'huggingface_hub' not in sys.modules, 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.bad_input
def test_what_is_not_in_the_cache_is_an_error_that_helps(cache: Path) -> None:
    message = (
        "hub:owner/gone must be in the cache or on the hub, got LocalEntryNotFoundError .*; "
        "check name and network, or download the model's folder and give its path"
    )
    with pytest.raises(WeightsError, match=message):
        load_backbone("hub:owner/gone")
    put(cache, "owner/tiny")
    with pytest.raises(WeightsError, match="hub:owner/tiny must be in the cache"):
        load_backbone("hub:owner/tiny@v2")


@pytest.mark.bad_input
def test_a_model_without_weights_says_what_is_there(cache: Path) -> None:
    (put(cache, "owner/tiny") / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"must hold .* got 'config.json'; or name"):
        load_backbone("hub:owner/tiny")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "text",
    ["hub:", "hub:dinov2", "hub:a/b/c", "hub:a/b@", "hub:a b/c", "hub:../a/b", "hub:a/b@c@d"],
)
def test_other_names_are_refused(text: str, hub: Hub) -> None:
    with pytest.raises(
        WeightsError, match=r"must be named hub:OWNER/NAME or .*REVISION, got 'hub:"
    ):
        download(text)
    assert not hub.asked


@pytest.mark.bad_input
def test_without_the_package_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    message = (
        r"huggingface_hub must be installed for models of the hub, got hub:a/b without it; "
        r"install patchwise\[hub\], or download"
    )
    with pytest.raises(WeightsError, match=message):
        download("hub:a/b")


@pytest.mark.bad_input
@pytest.mark.parametrize("error", [OSError("no\nnet"), ValueError("bad"), RuntimeError()])
def test_whatever_goes_wrong_is_told_in_a_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(WeightsError, match=f"got {type(error).__name__} .*; check") as caught:
        download("hub:a/b")
    assert "\n" not in str(caught.value)
