"""The architecture as a value."""

import dataclasses
import subprocess
import sys
from typing import Any

import pytest

from patchwise.configs.backbone import SIZES, FilteredViTConfig, ViTConfig, vit_config
from patchwise.configs.normalisation import IMAGENET, Normalisation
from patchwise.errors import ChoiceError, ConfigError, PatchwiseError, RangeError


def test_named_sizes_are_the_published_ones() -> None:
    published = {name: size for name, size in SIZES.items() if name != "nano"}
    assert published == {
        "tiny": (192, 12, 3),
        "small": (384, 12, 6),
        "base": (768, 12, 12),
        "large": (1024, 24, 16),
    }
    assert all(dim == heads * 64 for dim, _, heads in published.values())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("patch_px", [4, 8, 14, 16])
def test_every_size_goes_with_every_patch(size: str, patch_px: int) -> None:
    config = vit_config(size, patch_px=patch_px, image_px=10 * patch_px)
    assert (config.dim, config.depth, config.heads) == SIZES[size]
    assert (config.patch_px, config.grid) == (patch_px, 10)


def test_the_default_is_the_small_size_at_224() -> None:
    assert ViTConfig() == vit_config("small", patch_px=16, image_px=224)


def test_every_option_has_a_help_text() -> None:
    texts = [field.metadata.get("help", "") for field in dataclasses.fields(ViTConfig)]
    assert all(text.endswith(".") for text in texts)
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize(("dim", "ratio"), [(96, 4.0), (192, 8 / 3), (384, 1025 / 384)])
def test_hidden_width_is_the_nearest_whole_number(dim: int, ratio: float) -> None:
    config = ViTConfig(dim=dim, heads=3, mlp_ratio=ratio)
    assert abs(config.hidden_dim - dim * ratio) <= 0.5


@pytest.mark.parametrize("dim", [98, 192, 1408])  # in 98 and 1408 some ratios are rounded down
def test_every_hidden_width_survives_being_stored_as_a_ratio(dim: int) -> None:
    widths = range(1, 4 * dim)
    configs = [ViTConfig(dim=dim, heads=2, mlp_ratio=width / dim) for width in widths]
    assert [config.hidden_dim for config in configs] == list(widths)


@pytest.mark.parametrize("drop_path", [0, 1])
def test_the_ends_of_drop_path_are_allowed(drop_path: int) -> None:
    assert ViTConfig(drop_path=drop_path).drop_path == drop_path


def test_images_are_normalised_as_imagenets_unless_said_otherwise() -> None:
    assert ViTConfig().normalisation == IMAGENET
    other = ViTConfig(pixel_mean=(0.1, 0.2, 0.3), pixel_std=(0.4, 0.5, 0.6))
    assert other.normalisation == Normalisation((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_importing_the_configuration_does_not_import_torch() -> None:
    code = "import sys, patchwise.configs.backbone; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("dim", 0, "ViTConfig: dim must be a whole number of at least 1, got 0"),
        ("depth", 2.0, "ViTConfig: depth must be a whole number of at least 1, got 2.0"),
        ("heads", True, "ViTConfig: heads must be a whole number of at least 1, got True"),
        ("patch_px", -8, "ViTConfig: patch_px must be a whole number of at least 1, got -8"),
        ("image_px", "224", "ViTConfig: image_px must be a whole number of at least 1, got '224'"),
        ("registers", -1, "ViTConfig: registers must be a whole number of at least 0, got -1"),
        ("mlp_ratio", 0.0, "ViTConfig: mlp_ratio must be positive, got 0.0"),
        ("mlp_ratio", 1e-6, "ViTConfig: mlp_ratio must give a hidden layer, got 1e-06"),
        ("drop_path", 1.1, r"ViTConfig: drop_path must lie in \[0, 1\], got 1.1"),
        ("drop_path", float("nan"), r"ViTConfig: drop_path must lie in \[0, 1\], got nan"),
        ("layer_scale", -0.1, r"ViTConfig: layer_scale must lie in \[0, 1\], got -0.1"),
        ("interpolation", "sise", "got 'sise'; did you mean 'size'"),
        ("positions", "rotari", "got 'rotari'; did you mean 'rotary'"),
        ("mlp", "relu", "mlp must be one of gelu, swiglu, got 'relu'"),
        ("qkv_bias", "key", "qkv_bias must be one of full, no_key, none, got 'key'"),
        ("norm_eps", 0.0, "ViTConfig: norm_eps must be positive, got 0.0"),
        (
            "pixel_mean",
            (0.5, 0.5),
            r"ViTConfig: pixel_mean must be three numbers in \[0, 1\]",
        ),
        ("pixel_mean", [0.5, 0.5, 0.5], r"pixel_mean must be three .*, got \[0.5, 0.5, 0.5\]"),
        ("pixel_std", (0, 1, 1), r"ViTConfig: pixel_std must be three numbers in \(0, 1\], got "),
    ],
)
def test_impossible_options_are_refused(option: str, value: Any, message: str) -> None:
    with pytest.raises(PatchwiseError, match=message) as caught:
        dataclasses.replace(ViTConfig(), **{option: value})
    assert isinstance(caught.value, RangeError | ChoiceError)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"dim": 100},
            "dim must be a multiple of heads, got dim 100 and heads 6; use dim 96$",
        ),
        ({"dim": 4}, "use dim 6$"),
        (
            {"image_px": 230},
            "image_px must be a multiple of patch_px, got image_px 230 and patch_px 16; "
            "use image_px 224$",
        ),
        ({"image_px": 5}, "use image_px 16$"),
        (
            {"positions": "rotary", "heads": 64},
            "a multiple of 4 channels .*, got 6 channels a head",
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ViTConfig(**options)


@pytest.mark.bad_input
def test_an_unknown_size_is_refused() -> None:
    with pytest.raises(ChoiceError, match=r"size must be one of .*, got 'smal'; did you mean"):
        vit_config("smal", patch_px=16, image_px=224)


def test_a_filter_has_64_prototypes() -> None:
    assert FilteredViTConfig(ViTConfig()).prototypes == 64


@pytest.mark.bad_input
@pytest.mark.parametrize("prototypes", [0, -1, 2.0, "3", True])
def test_impossible_prototypes_are_refused(prototypes: Any) -> None:
    message = "prototypes must be a whole number of at least 1, got"
    with pytest.raises(RangeError, match=f"FilteredViTConfig: {message} {prototypes!r}"):
        FilteredViTConfig(ViTConfig(), prototypes)
