"""From text to settings and back: everything arrives, and every mistake gets one clear sentence."""

import dataclasses
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patchwise.configs.backbone import ViTConfig
from patchwise.configs.cotap import CoTAPConfig
from patchwise.configs.loader import (
    apply_settings,
    dump_toml,
    flatten,
    parse_settings,
    read_config,
    read_settings,
)
from patchwise.configs.methods import METHOD_CONFIGS, DINOConfig, MethodConfig, PWSelfConfig
from patchwise.configs.neighbours import NeighboursConfig
from patchwise.configs.run import DataConfig, OptimConfig, RunConfig, TrainConfig
from patchwise.configs.views import ViewsConfig
from patchwise.errors import ConfigError


def make_config(method: MethodConfig | None = None) -> RunConfig:
    return RunConfig(
        recipe="small",
        data=DataConfig(),
        backbone=ViTConfig(),
        method=method or PWSelfConfig(),
        optim=OptimConfig(),
        train=TrainConfig(),
    )


VIEWS = ViewsConfig(base="square", aspect=(0.1, 1 / 3), blur_probs=(1.0, 0.0, 0.1))
CONFIGS = [
    make_config(),
    make_config(DINOConfig(prototypes=7)),
    make_config(PWSelfConfig(cls_weight=0.25, matching="none")),
    make_config(PWSelfConfig(views=VIEWS)),
    make_config(CoTAPConfig(ranking_cells=(3, 5, 9), neighbours=NeighboursConfig(k=3))),
    dataclasses.replace(
        make_config(),
        recipe='größe "quoted" \\ and # more',
        train=TrainConfig(precision="bf16", device="cuda", epochs=1e-7),
        optim=OptimConfig(lr_per_256=0.1 + 0.2, final_lr=5e-324),
    ),
    dataclasses.replace(
        make_config(),
        backbone=ViTConfig(pixel_mean=(1 / 3, 0.0, 0.5), pixel_std=(0.1 + 0.2, 1.0, 0.5)),
    ),
]
WriteTOML = Callable[[str], Path]


@pytest.fixture
def toml(tmp_path: Path) -> WriteTOML:
    def write(text: str) -> Path:
        path = tmp_path / "config.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refusal(*texts: str, method: MethodConfig | None = None) -> str:
    """Return the one sentence that a user gets to read."""
    with pytest.raises(ConfigError) as caught:
        apply_settings(make_config(method), parse_settings(texts))
    return str(caught.value)


@pytest.mark.parametrize("config", CONFIGS)
def test_what_is_written_is_read_back(config: RunConfig, toml: WriteTOML) -> None:
    assert read_config(toml(dump_toml(config))) == config
    assert dump_toml(read_config(toml(dump_toml(config)))) == dump_toml(config)


@pytest.mark.parametrize("config", CONFIGS)
def test_a_whole_file_is_also_a_file_of_settings(config: RunConfig, toml: WriteTOML) -> None:
    start = dataclasses.replace(make_config(type(config.method)()), recipe=config.recipe)
    assert apply_settings(start, read_settings(toml(dump_toml(config)))) == config


@pytest.mark.parametrize("config", CONFIGS)
def test_no_settings_change_nothing(config: RunConfig) -> None:
    assert apply_settings(config, {}) == config
    assert apply_settings(config, {"recipe": config.recipe, "method.name": config.method.name}) == (
        config
    )


def leaves(kind: type[Any]) -> list[tuple[Any, object]]:
    """Return (annotation, default) of every option of a section."""
    found: list[tuple[Any, object]] = []
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(field.default):
            found += leaves(type(field.default))
        else:
            found.append((field.type, field.default))
    return found


@pytest.mark.parametrize(
    "section", [DataConfig, ViTConfig, OptimConfig, TrainConfig, *METHOD_CONFIGS.values()]
)
def test_what_can_be_none_is_so_by_default(section: type[Any]) -> None:
    """TOML has no none: it is written by leaving it out, which must mean the same when read."""
    for annotation, default in leaves(section):
        if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
            assert default is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("train.batch=32", 32),
        (" train.batch = 32 ", 32),
        ("train.epochs=3", 3.0),
        ("train.epochs=0.5", 0.5),
        ("optim.lr_per_256=1e-3", 1e-3),
        ("train.precision=bf16", "bf16"),
        ("train.precision='bf16'", "bf16"),
        ("train.precision=none", None),
        ("method.cls_weight=None", None),
        ("method.cls_weight=1", 1.0),
        ("method.matching=nearest", "nearest"),
        ("method.matching=none", "none"),
        ("method.centre=none", "none"),
        ("method.views.base=square", "square"),
        ("method.views.aspect=[0.5, 2]", (0.5, 2.0)),
        ("method.views.blur_probs=[1, 0.1, 0]", (1.0, 0.1, 0.0)),
        ("method.patch_colour.posterise_bits=8", 8),
        ("backbone.depth=2", 2),
        ("data.workers=0", 0),
    ],
)
def test_one_option_is_changed_and_nothing_else(text: str, value: object) -> None:
    before = make_config(PWSelfConfig(cls_weight=0.5))
    after = apply_settings(before, parse_settings([text]))
    name = text.partition("=")[0].strip()
    expected = dict(flatten(dataclasses.asdict(before))) | {name: value}
    found = dict(flatten(dataclasses.asdict(after)))
    assert found == expected
    assert type(found[name]) is type(value)


def test_none_undoes_an_optional_word() -> None:
    config = apply_settings(make_config(), {"train.precision": "bf16"})
    assert apply_settings(config, {"train.precision": None}) == make_config()


def test_settings_are_checked_together() -> None:
    """Neither of these two is possible without the other."""
    config = apply_settings(make_config(), {"train.batch": 90, "train.accumulate": 5})
    assert (config.train.batch, config.train.accumulate) == (90, 5)


def test_the_last_setting_of_a_name_counts() -> None:
    assert parse_settings(["a.b=1", "a.b=2"]) == {"a.b": 2}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=", ""),
        ("a=b=c", "b=c"),
        ("a=1 2", "1 2"),
        ("a=NONE", None),
        ("a='none'", "none"),
        ("a=[1, 'x']", [1, "x"]),
        ("a=true", True),
        ("a=True", "True"),
        ("a=inf", float("inf")),
    ],
)
def test_values_are_toml_or_plain_text(text: str, value: object) -> None:
    assert parse_settings([text]) == {"a": value}


def test_numpy_numbers_and_tuples_are_values_too() -> None:
    config = apply_settings(make_config(), {"method.views.aspect": (0.5, 2)})
    assert config.method.views.aspect == (0.5, 2.0)


def test_empty_sections_of_a_file_change_nothing(toml: WriteTOML) -> None:
    assert read_settings(toml("[optim]\n[train]\nbatch = 3\n")) == {"train.batch": 3}


def test_names_are_flattened_and_in_order() -> None:
    assert list(flatten({"a": 1, "b": {"c": {"d": 2}, "e": {}}, "f": [3]})) == [
        ("a", 1),
        ("b.c.d", 2),
        ("f", [3]),
    ]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("name", "got"),
    [
        ("optim.lr_per256", "an unknown name; did you mean 'optim.lr_per_256'?"),
        ("tran.batch", "an unknown name; did you mean 'train.batch'?"),
        ("batch", "an unknown name; did you mean 'train.batch'?"),
        ("bath", "an unknown name; did you mean 'train.batch'?"),
        ("train.method.matching", "an unknown name; did you mean 'method.matching'?"),
        ("solarize_probs", "an unknown name; did you mean 'method.views.solarise_probs'?"),
        ("method.views.flip", "an unknown name; did you mean 'method.views.flip_prob'?"),
        ("method.views.aspect.low", "an unknown name; did you mean 'method.views.aspect'?"),
        ("qqqq", "an unknown name"),
        ("optim", "a section; set its options, such as 'optim.lr_per_256'"),
        ("method.views", "a section; set its options, such as 'method.views.base'"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(name: str, got: str, toml: WriteTOML) -> None:
    assert refusal(f"{name}=3") == f"config: key {name!r} must be an option, got {got}"
    whole = f"{name} = 3\n{dump_toml(make_config())}"
    if name.partition(".")[0] not in {"optim", "train", "method"}:  # else TOML itself refuses
        with pytest.raises(ConfigError) as caught:
            read_config(toml(whole))
        assert str(caught.value).endswith(f"{name!r} must be an option, got {got}")


@pytest.mark.bad_input
def test_options_of_another_method_are_refused() -> None:
    assert refusal("method.matching=nearest", method=DINOConfig()) == (
        "config: key 'method.matching' must be an option, got an unknown name; "
        "did you mean 'method.centre'?"
    )


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("text", "name", "rule", "got"),
    [
        ("optim.clip_norm=abc", "optim.clip_norm", "valid number", "'abc'"),
        ("optim.clip_norm=", "optim.clip_norm", "valid number", "''"),
        ("optim.clip_norm=true", "optim.clip_norm", "valid number", "True"),
        ("optim.clip_norm='3'", "optim.clip_norm", "valid number", "'3'"),
        ("optim.clip_norm=none", "optim.clip_norm", "valid number", "None"),
        ("optim.clip_norm=[3]", "optim.clip_norm", "valid number", "[3]"),
        ("optim.clip_norm={}", "optim.clip_norm", "valid number", "{}"),
        ("train.batch=true", "train.batch", "valid integer", "True"),
        ("train.batch=64.0", "train.batch", "valid integer", "64.0"),
        ("train.batch=none", "train.batch", "valid integer", "None"),
        ("train.seed=1979-05-27", "train.seed", "valid integer", "'1979-05-27'"),
        ("method.matching=1", "method.matching", "'thinned', 'nearest' or 'none'", "1"),
        ("method.matching=true", "method.matching", "'thinned', 'nearest' or 'none'", "True"),
        ("method.views.flip_prob=True", "method.views.flip_prob", "valid number", "'True'"),
        ("train.device=gpu", "train.device", "'cpu' or 'cuda'", "'gpu'"),
        ("train.device=none", "train.device", "'cpu' or 'cuda'", "'none'"),
        ("train.precision=fp16", "train.precision", "'float32' or 'bf16'", "'fp16'"),
        ("method.cls_weight=much", "method.cls_weight", "valid number", "'much'"),
        ("method.views.base=3", "method.views.base", "'short' or 'square'", "3"),
        ("method.views.aspect=3", "method.views.aspect", "valid array", "3"),
        ("method.views.aspect=[1]", "method.views.aspect[1]", "field required", "[1]"),
        ("method.views.aspect=[1,2,3]", "method.views.aspect", "at most 2 items", "[1, 2, 3]"),
        ("method.views.aspect=[1,'x']", "method.views.aspect[1]", "valid number", "'x'"),
    ],
)
def test_values_of_the_wrong_type_are_refused(text: str, name: str, rule: str, got: str) -> None:
    message = refusal(text)
    assert message.startswith(f"config: key {name!r} must be valid (")
    assert rule in message
    assert message.endswith(f"), got {got}")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("text", "section", "got"),
    [
        ("optim.lr_per_256=-1", "optim", "OptimConfig: lr_per_256 must be positive, got -1.0"),
        ("optim.lr_per_256=nan", "optim", "OptimConfig: lr_per_256 must be positive, got nan"),
        ("optim.lr_per_256=inf", "optim", "OptimConfig: lr_per_256 must be positive, got inf"),
        ("data.workers=-1", "data", "DataConfig: workers must lie in [0, 1024], got -1"),
        ("method.views.base_px=0", "method", "ViewsConfig: base_px must be positive, got 0"),
        (
            "train.accumulate=3",
            "train",
            "TrainConfig: batch must be a multiple of accumulate, got batch 64 and accumulate 3",
        ),
        (
            "backbone.depth=0",
            "backbone",
            "ViTConfig: depth must be a whole number of at least 1, got 0",
        ),
    ],
)
def test_values_out_of_range_are_refused(text: str, section: str, got: str) -> None:
    assert refusal(text) == f"config: section {section!r} must be valid, got {got}"


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("text", "name", "own", "got"),
    [
        ("recipe=demo", "recipe", "small", "'demo'"),
        ("method.name=dino", "method.name", "pwself", "'dino'"),
        ("method.name=[1]", "method.name", "pwself", "[1]"),
        ("method.name=none", "method.name", "pwself", "None"),
    ],
)
def test_recipe_and_method_cannot_be_set(text: str, name: str, own: str, got: str) -> None:
    assert refusal(text) == (
        f"config: key {name!r} must be {own!r}, got {got}; choose another recipe instead"
    )


@pytest.mark.bad_input
def test_a_method_is_not_changed_even_if_its_options_would_fit() -> None:
    assert "'method.name' must be 'dino', got 'pwself'" in refusal(
        "method.name=pwself", method=DINOConfig()
    )


@pytest.mark.bad_input
@pytest.mark.parametrize("text", ["train.batch", "", "=3", " = 3"])
def test_a_setting_without_name_or_value_is_refused(text: str) -> None:
    assert refusal(text) == f"config: a setting must read key=value, got {text!r}"


@pytest.mark.bad_input
@pytest.mark.parametrize("got", ["'dinov9'", "3", "['dino']", "{a = 1}", ""])
def test_a_file_must_name_a_method(got: str, toml: WriteTOML) -> None:
    line = f"name = {got}" if got else ""
    with pytest.raises(ConfigError) as caught:
        read_config(toml(f"[method]\n{line}"))
    shown = {"{a = 1}": "{'a': 1}", "": "None"}.get(got, got)
    assert str(caught.value) == (
        f"config: key 'method.name' must be one of {', '.join(METHOD_CONFIGS)}, got {shown}"
    )


@pytest.mark.bad_input
@pytest.mark.parametrize("text", ["", "method = 'dino'", "method = 3", "[[method]]\nname='dino'"])
def test_a_file_whose_method_is_no_section_is_refused(text: str, toml: WriteTOML) -> None:
    with pytest.raises(ConfigError, match=r"^config: key 'method.name' must be one of .* got None"):
        read_config(toml(text))


@pytest.mark.bad_input
@pytest.mark.parametrize("section", ["recipe", "data", "backbone", "optim", "train"])
def test_a_file_without_a_section_is_refused(section: str, toml: WriteTOML) -> None:
    values = dataclasses.asdict(make_config())
    lines = [f"[{name}]" for name in values if name not in {section, "recipe", "method"}]
    recipe = "" if section == "recipe" else "recipe = 'small'\n"
    with pytest.raises(ConfigError) as caught:
        read_config(toml(recipe + "[method]\nname = 'dino'\n" + "\n".join(lines)))
    assert str(caught.value) == f"config: key {section!r} must be there, got a file without it"


@pytest.mark.bad_input
def test_a_file_with_a_recipe_that_is_no_name_is_refused(toml: WriteTOML) -> None:
    text = dump_toml(make_config()).replace('recipe = "small"', "recipe = 3")
    with pytest.raises(ConfigError, match=r"^config: key 'recipe' must be valid \(.*\), got 3$"):
        read_config(toml(text))


@pytest.mark.bad_input
@pytest.mark.parametrize("read", [read_settings, read_config])
def test_files_that_cannot_be_read_are_named(
    read: Callable[[Path], object], tmp_path: Path, toml: WriteTOML
) -> None:
    with pytest.raises(ConfigError, match=r"^config: .*none\.toml must be a readable file, got "):
        read(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match=r"must be a readable file, got .*irectory"):
        read(tmp_path)
    with pytest.raises(ConfigError, match=r"config: .*config\.toml must be TOML, got .*line 2"):
        read(toml("[train]\nbatch = \nseed = 1"))
    with pytest.raises(ConfigError, match=r"must be TOML, got .*verwrite"):
        read(toml("[train]\nbatch = 1\nbatch = 2"))
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"binary\.toml must be TOML, got .*utf-8"):
        read(tmp_path / "binary.toml")
