"""Names of protocols stand for settings."""

import dataclasses
from typing import Any

import pytest

from patchwise.errors import ChoiceError, ConfigError
from patchwise.eval.fcn import FCNSegmentation
from patchwise.eval.images import KNNImages
from patchwise.eval.incontext import InContext
from patchwise.eval.linseg import LinearSegmentation
from patchwise.eval.overcluster import Overclustering
from patchwise.eval.presets import PROTOCOLS, Facts, make_protocol
from patchwise.eval.unsupseg import UnsupervisedSegmentation

FACTS = Facts(short_side_px=100, patch_px=8)


def published(name: str) -> Any:
    return make_protocol(name, FACTS, {})


def test_published_settings_do_not_depend_on_the_data() -> None:
    for name, preset in PROTOCOLS.items():
        if name.endswith("-short") or preset.kind == "images":
            continue  # short forms and measures of health look at the images' own size
        assert make_protocol(name, Facts(5000, 16), {}) == published(name)


def test_the_papers_numbers() -> None:
    assert published("knn/dino") == KNNImages("knn/dino", 20, 0.07, 256, 224)
    in_context = published("incontext/hummingbird")
    assert in_context == InContext(in_context.preset, 512, 10_240_000, 30, 0.02, 1.0)
    linear = published("linseg/cotap")
    assert linear == LinearSegmentation(
        "linseg/cotap", train_px=336, test_px=448, steps=781, batch=128, rate=3e-3,
        area_frac=(0.64, 1.0), aspect=(3 / 4, 4 / 3), flip_prob=0.5,
    )  # fmt: skip


def test_the_papers_numbers_of_clusters() -> None:
    for ending, clusters in (("", 500), ("-300", 300), ("-classes", None)):
        name = f"overcluster/leopart{ending}"
        assert published(name) == Overclustering(name, 448, 100, clusters, 50, 5, 100, 5, 256)
        short = published(f"{name}-short")
        assert (short.size_px, short.label_px, short.clusters) == (96, 96, clusters)
    found = published("unsupseg/stego")
    assert found == UnsupervisedSegmentation("unsupseg/stego", 320, 1024, 100, 100, 5)
    assert published("unsupseg/stego-short").size_px == 96


def test_the_numbers_for_single_data_sets() -> None:
    usual, fcn = LinearSegmentation("linseg/cotap"), FCNSegmentation("fcn/cotap")
    city: Any = {
        "batch": 64, "train_px": 896, "test_px": 1024, "area_frac": (0.36, 1.0),
        "native_labels": True,
    }  # fmt: skip
    expected = {
        "linseg/cotap-coco27": dataclasses.replace(usual, batch=256, steps=390),
        "linseg/cotap-cityscapes": dataclasses.replace(usual, steps=1562, rate=1e-3, **city),
        "fcn/cotap-voc": dataclasses.replace(fcn, test_px=336),
        "fcn/cotap-cityscapes": dataclasses.replace(fcn, steps=6250, **city),
    }
    for name, protocol in expected.items():
        assert published(name) == dataclasses.replace(protocol, preset=name)


def test_the_numbers_of_other_heads() -> None:
    fcn = published("fcn/cotap")
    assert (fcn.steps, fcn.batch, fcn.rate, fcn.end_rate) == (3125, 128, 3e-3, 1e-4)
    assert (fcn.test_px, fcn.widths, fcn.dropout) == (448, (512, 384, 256), 0.1)
    leopart = published("linseg/leopart")
    assert (leopart.size_px, leopart.label_px, leopart.batch) == (448, 100, 120)
    assert (leopart.rate, leopart.momentum, leopart.weight_decay) == (0.01, 0.9, 1e-4)
    assert (leopart.epochs, leopart.drop_epoch, leopart.area_frac) == (25, 20, (0.8, 1.0))
    dinov2 = published("linseg/dinov2")
    assert (dinov2.short_px, dinov2.window_px, dinov2.stride_px) == (512, 512, 341)
    assert (dinov2.steps, dinov2.batch, dinov2.warmup_steps) == (40_000, 16, 1500)
    assert (dinov2.rate, dinov2.weight_decay, dinov2.scale) == (1e-3, 1e-4, (0.5, 2.0))


def test_the_numbers_of_linear_layers_and_grids() -> None:
    for dim, blocks in ((384, 4), (768, 1)):
        dino: Any = make_protocol("linear/dino", Facts(500, 16, dim), {})
        assert (dino.blocks, dino.mean_patch) == (blocks, blocks == 1)
    assert (dino.rate_per_256, dino.batch, dino.epochs, dino.momentum) == (1e-3, 1024, 100, 0.9)
    assert (dino.resize_px, dino.crop_px, dino.area_frac) == (256, 224, (0.08, 1.0))
    cotap = published("linear/cotap")
    assert (cotap.steps, cotap.batch, cotap.rate) == (5000, 256, 1e-3)
    grid = published("knn/cotap")
    assert grid.k == (5, 10, 20, 50, 100)
    assert grid.temperature == (0.05, 0.07, 0.1, 0.15, 0.2)
    assert published("knn/dino").other_k == (10, 100, 200)


def test_short_forms_see_the_images_own_size_in_whole_patches() -> None:
    for name in PROTOCOLS:
        if name.endswith("-short"):
            sides = {
                value
                for key, value in dataclasses.asdict(published(name)).items()
                if key in ("size_px", "crop_px", "train_px", "test_px", "window_px", "short_px")
            }
            assert sides == {96}, name


@pytest.mark.parametrize(
    ("ending", "memory", "fraction"),
    [
        ("", 10_240_000, 1.0),
        ("-1024x1000", 1_024_000, 1.0),
        ("-1024x100", 102_400, 1.0),
        ("-1of8", 10_240_000, 1 / 8),
        ("-1of64", 10_240_000, 1 / 64),
        ("-1of128", 10_240_000, 1 / 128),
        ("-short", 102_400, 1.0),
        ("-1of8-short", 102_400, 1 / 8),
        ("-1of64-short", 102_400, 1 / 64),
        ("-1of128-short", 102_400, 1 / 128),
    ],
)
def test_in_context_in_memory_sizes_and_fractions(
    ending: str, memory: int, fraction: float
) -> None:
    name = f"incontext/hummingbird{ending}"
    made: Any = published(name)
    expected = (name, memory, fraction, "exact", "rare", 30, 0.02)
    assert expected == (
        made.preset, made.memory, made.fraction, made.search, made.sampling, made.k,
        made.temperature,
    )  # fmt: skip
    assert made.size_px == (FACTS.side_px if "short" in ending else 512)


def test_a_changed_setting_is_in_the_name() -> None:
    changed: Any = make_protocol("incontext/hummingbird", FACTS, {"k": 5, "size_px": 448})
    assert (changed.k, changed.size_px) == (5, 448)
    assert changed.preset == "incontext/hummingbird (changed: k,size_px)"
    assert published("incontext/hummingbird") == make_protocol(
        "incontext/hummingbird", FACTS, {"k": 30}
    )


def test_patches_that_do_not_divide_512_px_see_a_little_less() -> None:
    for name, size_px in (("incontext/hummingbird", 504), ("unsupseg/stego", 308)):
        seen: Any = make_protocol(name, Facts(5000, 14), {})
        assert seen.size_px == size_px


def test_a_setting_that_is_given_as_it_was_is_no_change() -> None:
    changed: Any = make_protocol("incontext/hummingbird", FACTS, {"k": 5, "temperature": 0.02})
    assert changed.preset == "incontext/hummingbird (changed: k)"


def test_another_seed_is_no_change() -> None:
    assert make_protocol("linseg/cotap", FACTS, {"seed": 4}).preset == "linseg/cotap"


@pytest.mark.bad_input
def test_unknown_names_are_told_the_nearest() -> None:
    with pytest.raises(ChoiceError, match=r"got 'knn/dinno'; did you mean 'knn/dino'"):
        make_protocol("knn/dinno", FACTS, {})
    with pytest.raises(ConfigError, match=r"key 'temprature' must be an option.*'temperature'"):
        make_protocol("knn/dino", FACTS, {"temprature": 1.0})


@pytest.mark.bad_input
def test_sizes_must_be_whole_patches() -> None:
    message = "'crop_px' of knn/dino must be a multiple of .* 8 px, got 223; use --set crop_px=224"
    with pytest.raises(ConfigError, match=message):
        make_protocol("knn/dino", FACTS, {"crop_px": 223})


@pytest.mark.bad_input
def test_the_name_is_no_setting() -> None:
    with pytest.raises(ConfigError, match="'preset' must be left out, got 'mine'"):
        make_protocol("knn/dino", FACTS, {"preset": "mine"})


@pytest.mark.bad_input
def test_values_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"'knn/dino.k' must be valid .*integer.*got 'five'"):
        make_protocol("knn/dino", FACTS, {"k": "five"})
    with pytest.raises(ConfigError, match="k must be positive, got 0"):
        make_protocol("knn/dino", FACTS, {"k": 0})
