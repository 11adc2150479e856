"""The study's tables: every run can be asked for, and what comes when."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from studies.cotap_data import Some, health_data, locate, tuning_data, unseen_data
from studies.cotap_jobs import (
    ARMS,
    TABLES,
    Change,
    Job,
    Study,
    Values,
    ablation_jobs,
    base_job,
    final_jobs,
    jobs,
    neighbours_job,
    read_study,
    speeds_job,
    steps_of,
    tuning_jobs,
)

import patchwise
from patchwise.api.data import open_data
from patchwise.configs.backbone import ViTConfig
from patchwise.configs.loader import apply_settings
from patchwise.configs.run import RunConfig
from patchwise.data.source import open_source
from patchwise.data.synthetic import Scenes
from patchwise.eval.presets import PROTOCOLS, make_protocol
from patchwise.eval.presets import Facts as ProtocolFacts
from patchwise.features.read import read_features
from patchwise.features.transform import Squash
from patchwise.models.vit import ViT
from patchwise.recipes import Facts, make_config
from patchwise.training.plan import make_plan

WEIGHTS: Values = {"file": "base.safetensors", "weights": "abc"}
NEARBY: Values = {"seconds": 30.0}
SPEEDS: Values = {
    "step_s": {"cotap": 2.0, "control": 0.5},
    "start_s": -10.0,
    "clock": "processor",
    "machine": "x",
}
NAMES = [path.stem for path in sorted(TABLES.glob("*.toml"))]


class Records:
    """What is done, by key."""

    def __init__(self) -> None:
        self.done: dict[str, Values] = {}

    def __call__(self, job: Job) -> Values | None:
        return self.done.get(job.key)

    def add(self, job: Job, **values: Any) -> None:
        self.done[job.key] = values


def study(name: str = "scenes") -> Study:
    return replace(read_study(TABLES / f"{name}.toml"), train="scenes:640")


def measured(of: Study) -> Records:
    records = Records()
    records.add(base_job(of), **WEIGHTS)
    records.add(neighbours_job(of, WEIGHTS), **NEARBY)
    records.add(speeds_job(of, WEIGHTS), **SPEEDS)
    return records


def every_run(of: Study) -> Iterator[Job]:
    steps = {"cotap": 30, "control": 100}
    best = {arm: next(iter(of.arms[arm].tries)) for arm in ARMS}
    yield from tuning_jobs(of, WEIGHTS, steps)
    yield from final_jobs(of, WEIGHTS, steps, best)
    yield from ablation_jobs(of, WEIGHTS, steps, best)


def config_of(job: Job) -> RunConfig:
    vit = ViTConfig(dim=96, depth=4, heads=3, patch_px=8, image_px=64)
    facts = Facts(640, 64, "cpu", vit, 32, job.values["settings"]["train.epochs"])
    return apply_settings(make_config(job.values["recipe"], facts), job.values["settings"])


@pytest.mark.parametrize("name", NAMES)
def test_every_run_of_the_tables_can_be_planned(name: str) -> None:
    of = study(name)
    for job in every_run(of):
        config = config_of(job)
        change = of.ablation.get(job.name.split(", seed ")[0], Change())
        steps = change.times_as_long * (100 if config.method.name == "pwself" else 30)
        a_step = config.train.batch
        assert round(config.train.epochs * (640 // a_step)) == steps, job.name
        if config.method.name == "pwself":
            weights = ViT(config.backbone)
            assert make_plan(config, open_source("scenes:640"), weights).total_steps == steps
            assert config.optim.warmup_epochs == pytest.approx(0.1 * config.train.epochs)


@pytest.mark.parametrize("name", NAMES)
def test_all_runs_differ(name: str) -> None:
    keys = [job.key for job in every_run(study(name))]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_known_protocols(name: str) -> None:
    for wanted in study(name).scores.values():
        protocol = wanted["protocol"]
        make_protocol(protocol, ProtocolFacts(96, 8), wanted.get("settings", {}))
    assert study(name).scores.keys() == {"incontext", "linear", "knn", "health"}


@pytest.mark.parametrize("name", NAMES)
def test_both_arms_are_tuned_with_the_same_budget(name: str) -> None:
    of = study(name)
    assert len({len(of.arms[arm].tries) for arm in ARMS}) == 1
    first, second, *_ = tuning_jobs(of, WEIGHTS, {"cotap": 30, "control": 100})
    for job in (first, second):
        assert job.values["settings"]["train.seed"] == of.tuning_seed not in of.seeds
        assert job.values["images"] == "tuning"
        assert job.values["scores"].keys() == {"incontext"}


def test_what_can_be_done_follows_from_what_is_done() -> None:
    of = study()
    records = Records()
    assert [job.name for job in jobs(of, records)] == ["base"]
    records.add(base_job(of), **WEIGHTS)
    assert [job.name for job in jobs(of, records)] == ["base", "neighbours"]
    records.add(neighbours_job(of, WEIGHTS), **NEARBY)
    assert [job.kind for job in jobs(of, records)] == ["base", "neighbours", "speeds"]
    records.add(speeds_job(of, WEIGHTS), **SPEEDS)
    tries = list(jobs(of, records))[4:]
    assert [job.name for job in tries] == [
        f"tuning {arm}, {name}"
        for pair in zip(*(of.arms[arm].tries for arm in ARMS), strict=True)
        for arm, name in zip(ARMS, pair, strict=True)
    ]
    for place, job in enumerate(tries):
        assert len(list(jobs(of, records))) == 4 + len(tries)  # no try is forestalled
        records.add(job, scores={"incontext": 0.3 - 0.01 * abs(place - 3)})
    (speeds,) = list(jobs(of, records))[4 + len(tries) :]
    for arm, rate in {"cotap": 0.0096, "control": 0.002}.items():  # of what is taken
        assert speeds.values["arms"][arm]["settings"]["optim.lr_per_256"] == rate
    records.add(speeds, **SPEEDS)
    later = list(jobs(of, records))[5 + len(tries) :]
    names = [f"{arm} {seed}" for seed in (0, 1, 2) for arm in ARMS]
    changed = [
        name if not seed else f"{name}, seed {seed}"
        for name, change in of.ablation.items()
        for seed in ((0, 1, 2) if change.every_seed else (0,))
    ]
    assert [job.name for job in later] == names + changed
    # places 2 and 3 are the second tries of either arm
    assert later[0].values["settings"]["optim.lr_per_256"] == 0.0096
    assert later[1].values["settings"]["optim.lr_per_256"] == 0.002


def test_the_vit_of_every_seed_is_scored_alone() -> None:
    of = replace(study(), ablation={"hinge": Change(), "twice": Change(every_seed=True)})
    for filtered in (True, False):
        records = measured(of)
        plain = {"method.filter_prototypes": 0}
        arms = {**of.arms, "cotap": replace(of.arms["cotap"], tries={"a": {}, "b": plain})}
        chosen = replace(
            of, arms={**arms, "control": replace(of.arms["control"], tries={"c": {}, "d": {}})}
        )
        for job in list(jobs(chosen, records))[4:]:
            good = (", a" in job.name) == filtered
            records.add(job, scores={"incontext": 0.3 + 0.1 * good})
        records.add(list(jobs(chosen, records))[-1], **SPEEDS)
        trained = list(jobs(chosen, records))[9:]
        for number, job in enumerate(trained):
            records.add(job, file=f"{number}", weights="def", scores={})
        alone = {job.name: job.values for job in jobs(chosen, records) if "alone" in job.name}
        wanted = ["cotap 0", "cotap 1", "cotap 2", "twice", "twice, seed 1", "twice, seed 2"]
        assert [*alone] == [f"{name}, its ViT alone" for name in (wanted if filtered else [])]
        for name, values in alone.items():
            (run,) = [n for n, job in enumerate(trained) if f"{job.name}, its ViT alone" == name]
            assert values["part"] == "vit"
            assert values["file"] == f"{run}"


def test_a_try_that_failed_is_not_taken() -> None:
    of = study()
    records = measured(of)
    for place, job in enumerate(tuning_jobs(of, WEIGHTS, steps_of(of, records))):
        if place < 2:
            records.add(job, failed="not finite")
        else:
            records.add(job, scores={"incontext": 0.3 - 0.01 * place})
    records.add(list(jobs(of, records))[-1], **SPEEDS)
    (run, *_) = [job for job in jobs(of, records) if job.name == "control 0"]
    assert run.values["settings"]["optim.lr_per_256"] == 0.002


def test_the_control_takes_as_long() -> None:
    of = replace(study(), steps=100)
    # 30 s of neighbours, 10 s less at the start, 100 steps of 2 s: 220 s in steps of 0.5 s
    records = measured(of)
    assert steps_of(of, records) == {"cotap": 100, "control": 440}
    best = {arm: next(iter(of.arms[arm].tries)) for arm in ARMS}
    taken = speeds_job(of, WEIGHTS, best)
    records.add(taken, **{**SPEEDS, "step_s": {"cotap": 1.0, "control": 0.5}})
    assert steps_of(of, records, best) == {"cotap": 100, "control": 240}


@pytest.mark.parametrize("name", NAMES)
def test_ablation_changes_one_thing(name: str) -> None:
    of = study(name)
    runs = {job.name: job for job in every_run(of)}
    for part, change in of.ablation.items():
        whole = runs[f"{change.arm} 0"].values
        values = copy.deepcopy(runs[part].values)
        if change.every_seed:
            other = copy.deepcopy(runs[f"{part}, seed 2"].values)
            other["settings"]["train.seed"] = 0
            assert other == values
        assert values.pop("neighbours_by") == change.neighbours_by
        assert values.pop("truth", None) == change.truth
        lengths = {
            setting: pytest.approx(change.times_as_long * epochs)
            for setting, epochs in whole["settings"].items()
            if setting in {"train.epochs", "optim.warmup_epochs"}
        }
        assert values == {**whole, "settings": whole["settings"] | change.settings | lengths}
        assert change != Change(every_seed=change.every_seed)


def test_a_key_is_of_all_values() -> None:
    of = study()
    job = next(every_run(of))
    other = replace(job, values={**job.values, "weights": "other"})
    assert job.key != other.key
    assert job.key == replace(job).key
    assert set(job.key) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-")


def test_images_to_tune_on_are_others() -> None:
    final, tuning = unseen_data("scenes"), tuning_data("scenes")
    parts = [final.fit, final.test, tuning.fit, tuning.test]
    seen = [part.read(i)[0].tobytes() for part in parts for i in range(0, len(part), 40)]
    assert len(set(seen)) == len(seen)
    assert [len(part) for part in parts] == [400, 1200, 400, 600]
    assert tuning.fingerprint() != final.fingerprint()
    assert isinstance(health_data("scenes"), Scenes)


def test_some_images_are_those_that_were_named() -> None:
    whole = unseen_data("scenes").fit
    some = Some(whole, [5, 2])
    assert (some.read(0)[0] == whole.read(5)[0]).all()
    assert (some.label(1) == whole.label(2)).all()
    assert (some.images.read(1) == whole.images.read(2)).all()
    assert (len(some), len(some.images)) == (2, 2)
    assert some.images.describe(0) == whole.images.describe(5)
    assert some.fingerprint() != Some(whole, [5, 3]).fingerprint() != whole.fingerprint()


def test_folders_are_found_among_the_image_sets(tmp_path: Path) -> None:
    assert locate("scenes:100", tmp_path) == "scenes:100"
    assert locate("voc", tmp_path) == str(tmp_path.resolve() / "voc")


def test_noise_is_of_the_image_alone() -> None:
    subject = patchwise.open_subject("studies.cotap_data:noise")
    images = unseen_data("scenes").fit.images
    rows = [
        next(iter(read_features(subject, images, Squash(64), ids=ids))).patches
        for ids in ([0, 1, 2], [2])
    ]
    assert rows[0].shape == (3, 64, 32)
    assert (rows[0][2] == rows[1][0]).all()
    assert (rows[0][0] != rows[0][1]).all()
    assert (rows[0][0] == rows[0][0][0]).all()


def test_kinds_of_data_are_what_protocols_take() -> None:
    for wanted in study().scores.values():
        kind = PROTOCOLS[wanted["protocol"]].kind
        data = health_data("scenes") if kind == "images" else tuning_data("scenes")
        assert open_data(data, kind) is data
