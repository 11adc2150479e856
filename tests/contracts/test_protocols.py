"""What every evaluation protocol must keep, whatever it measures."""

import dataclasses
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from patchwise.data.labelled import open_labelled_data
from patchwise.eval.dense_score import DenseScore
from patchwise.eval.fcn import FCNSegmentation
from patchwise.eval.health import HealthFeatures
from patchwise.eval.images import KNNImages
from patchwise.eval.incontext import InContext
from patchwise.eval.knn_cotap import KNNCoTAP
from patchwise.eval.linear_cotap import LinearCoTAP
from patchwise.eval.linear_dino import LinearDINO
from patchwise.eval.linseg import LinearSegmentation
from patchwise.eval.linseg_dinov2 import LinearDINOv2
from patchwise.eval.linseg_leopart import LinearLeopart
from patchwise.eval.overcluster import Overclustering
from patchwise.eval.patches import KNNPatches
from patchwise.eval.presets import PROTOCOLS, Facts
from patchwise.eval.results import STORED, Result, headline
from patchwise.eval.run_health import HealthRun, RunRecord
from patchwise.eval.unsupseg import UnsupervisedSegmentation
from patchwise.features.subject import Subject
from tests.eval.tiny import (
    MODEL,
    Blind,
    ColourBlocks,
    Sighted,
    colour_data,
    save_colours,
    subject_of,
)
from tests.features.stored import IDENTITY, Counting


@dataclass(frozen=True)
class Case:
    """A protocol in a size for tests, its data, and the score of guessing."""

    protocol: Any
    data: Any
    chance: float | None  # None: it measures, and there is no right answer
    other: dict[str, Any] = dataclasses.field(default_factory=dict)  # where `OTHER` is its own

    def run(self, backbone: Any = None, *, at_once: int = 32, **settings: Any) -> Result:
        protocol = replace(self.protocol, **settings)
        subject = replace(subject_of(backbone or Sighted()), batch=at_once)
        result: Result = protocol.run(subject, self.data)
        return result


OTHER: dict[str, Any] = {
    "size_px": 16, "train_px": 16, "test_px": 16, "k": 5, "temperature": 0.5, "least_share": 0.9,
    "memory": 40, "queries": 40, "fraction": 0.5, "steps": 4, "batch": 6, "rate": 0.01,
    "area_frac": (0.5, 0.6), "aspect": (1.0, 1.0), "flip_prob": 0.0, "half_precision": True,
    "every_epoch": True, "resize_px": 24, "crop_px": 8, "other_k": (2,), "native_labels": True,
    "end_rate": 0.01, "dropout": 0.5, "label_px": 8, "epochs": 2, "drop_epoch": 1, "momentum": 0.5,
    "weight_decay": 0.1, "short_px": 40, "window_px": 24, "stride_px": 8, "warmup_steps": 2,
    "widths": (8,), "scale": (1.0, 1.0), "most_of_class": 0.5, "blocks": 2, "mean_patch": False,
    "rate_per_256": 0.5, "clusters": 5, "dims": 2, "runs": 1, "iterations": 1, "restarts": 2,
    "points_per_cluster": 4, "images": 6, "patches": 8, "sampling": "even",
    "search": "approximate", "cells": 2, "probes": 1, "pairs": 40, "high_norm_times": 3.0,
    "ridge_frac": 0.1, "last_frac": 0.5,
}  # fmt: skip
FEW = {"steps": 3, "warmup_steps": 1, "epochs": 1}
OF_IMAGES = {
    "images": KNNImages("p", k=4, resize_px=20, crop_px=16, other_k=(2, 3)),
    "images, best": KNNCoTAP("p", k=(4, 6), temperature=(0.1,), resize_px=20, crop_px=16),
    "images, linear": LinearDINO(
        "p", blocks=1, mean_patch=True, epochs=4, batch=8, rate_per_256=1.0, resize_px=20,
        crop_px=16, area_frac=(0.5, 1.0), every_epoch=False,
    ),
    "images, linear on CLS": LinearCoTAP("p", steps=30, batch=8, rate=0.1, crop_px=16),
}  # fmt: skip
OF_PIXELS = {
    "patches": KNNPatches("p", size_px=32),
    "incontext": InContext("p", size_px=32, memory=200, k=10),
    "incontext, approximate": InContext(
        "p", size_px=32, memory=200, k=10, search="approximate", cells=9, probes=4
    ),
    "linseg": LinearSegmentation(
        "p", train_px=32, test_px=32, steps=60, batch=8, rate=0.1, half_precision=False,
        every_epoch=False,
    ),
    "fcn": FCNSegmentation(
        "p", train_px=32, test_px=32, steps=60, batch=8, rate=0.05, widths=(16,),
        half_precision=False, every_epoch=False,
    ),
    "leopart": LinearLeopart(
        "p", size_px=32, label_px=16, epochs=20, drop_epoch=18, batch=8, rate=0.5,
        every_epoch=False,
    ),
    "dinov2": LinearDINOv2(
        "p", short_px=32, window_px=32, stride_px=16, steps=60, batch=8, rate=0.1,
        warmup_steps=5, most_of_class=1.0, every_epoch=False,
    ),
    "overcluster": Overclustering(
        "p", 32, 32, clusters=12, runs=2, restarts=1, points_per_cluster=8, iterations=10
    ),
    "unsupseg": UnsupervisedSegmentation("p", 32, patches=10, restarts=5),
}  # fmt: skip

CASES = (
    "images", "patches", "incontext", "incontext-approximate", "linseg", "overcluster", "unsupseg"
)  # fmt: skip


HEALTHY = {f"health/{name}": 0.5 for name in (
    "teacher_entropy", "prototype_use", "loss_frac", "agreement",
)}  # fmt: skip
RECORD = RunRecord("run", tuple({"step": s, **HEALTHY} for s in range(9)), "ab")
MEASURING = {
    "health": HealthFeatures("p", size_px=32),
    "dense": DenseScore("p", size_px=32),
    "run": HealthRun("p"),
}


@pytest.fixture(params=[*OF_IMAGES, *OF_PIXELS, *MEASURING])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    if request.param in MEASURING:
        data = {"health": colour_data(), "dense": colour_data().test.images, "run": RECORD}
        return Case(MEASURING[request.param], data[request.param], None)
    if request.param in OF_PIXELS:
        protocol = OF_PIXELS[request.param]
        approximate = getattr(protocol, "search", "exact") != "exact"
        other = {"search": "exact"} if approximate else {}
        return Case(protocol, colour_data(), 1 / 3, other=other)
    labelled = open_labelled_data(save_colours(tmp_path, {"train": 24, "val": 12}))
    return Case(OF_IMAGES[request.param], labelled, 0.5)


def test_every_protocol_is_tested_here() -> None:
    kinds = {type(preset.make(name, Facts(64, 8))) for name, preset in PROTOCOLS.items()}
    kinds_here = [*OF_IMAGES.values(), *OF_PIXELS.values(), *MEASURING.values()]
    assert kinds == {type(protocol) for protocol in kinds_here}


def test_features_that_show_the_class_score_one(case: Case) -> None:
    if case.chance is None:
        pytest.skip("labels are not asked for")
    assert headline(case.run())[1] > 0.97


def test_features_that_show_nothing_score_as_guessing(case: Case) -> None:
    if case.chance is None:
        pytest.skip("labels are not asked for")
    assert headline(case.run(Blind()))[1] <= case.chance + 0.17


def test_the_same_again_is_the_same(case: Case) -> None:
    first, second = case.run(), case.run()
    same = [dataclasses.asdict(result) for result in (first, second)]
    for values in same:
        del values["fingerprint"]
    assert same[0] == same[1]
    assert first.fingerprint.protocol == second.fingerprint.protocol


def test_every_setting_is_in_the_fingerprint(case: Case) -> None:
    fields = {field.name for field in dataclasses.fields(case.protocol)}
    quick = replace(case.protocol, **{name: FEW[name] for name in fields & FEW.keys()})
    names, case = sorted(fields - {"preset", "seed"}), replace(case, protocol=quick)
    told = {case.run().fingerprint.protocol}
    for name in names:
        value = {**OTHER, **case.other}[name]
        if isinstance(getattr(case.protocol, name), tuple) and not isinstance(value, tuple):
            value = (value,)
        told.add(case.run(**{name: value}).fingerprint.protocol)
    told |= {case.run(seed=1).fingerprint.protocol, case.run(preset="q").fingerprint.protocol}
    assert len(told) == len(names) + 3


def test_the_batch_does_not_matter(case: Case) -> None:
    assert headline(case.run(at_once=5))[1] == pytest.approx(headline(case.run())[1], abs=1e-6)


def test_the_order_of_the_test_images_does_not_matter(case: Case) -> None:
    if case.protocol in (*OF_IMAGES.values(), MEASURING["dense"], MEASURING["run"]):
        pytest.skip("files have one order, views depend on the place in it, a run has no images")
    shuffled = ColourBlocks(12, seed=1, order=(3, 1, 4, 0, 5, 9, 2, 6, 8, 7, 11, 10))
    other = replace(case, data=replace(case.data, test=shuffled))
    assert headline(other.run())[1] == pytest.approx(headline(case.run())[1], abs=1e-6)


def test_the_backbone_and_the_global_generator_are_left_alone(case: Case) -> None:
    weight = torch.nn.Parameter(torch.ones(3))

    class Trained(Sighted):
        def __call__(self, images: torch.Tensor, *, attention: bool = False) -> Any:
            seen = super().__call__(images)
            return replace(seen, patches=seen.patches * weight, cls=seen.cls * weight)

    state = torch.random.get_rng_state()
    case.run(Trained())
    assert weight.grad is None
    assert torch.equal(torch.random.get_rng_state(), state)


def test_stored_features_score_the_same_and_the_fingerprint_says_so(
    case: Case, tmp_path: Path
) -> None:
    backbone, exact = Counting(), case.run()
    subject = Subject(backbone, IDENTITY, stores=tmp_path / "stores")
    first: Result = case.protocol.run(subject, case.data)
    seen = backbone.seen
    again: Result = case.protocol.run(subject, case.data)
    assert headline(first)[1] == pytest.approx(headline(exact)[1], abs=0.01)
    assert headline(again)[1] == headline(first)[1]
    assert first.fingerprint.protocol == exact.fingerprint.protocol
    assert exact.fingerprint.features == "float32"
    if (tmp_path / "stores").exists():  # else what it looks at is never the same
        assert first.fingerprint.features == STORED
        crops = seen - len(case.data.test) if hasattr(case.protocol, "area_frac") else 0
        assert backbone.seen == seen + crops  # which are not whole images, and not stored


def test_the_fingerprint_names_data_and_model(case: Case) -> None:
    mark = case.run().fingerprint
    used = (24, 12) if case.chance is not None else (0, 0 if case.data is RECORD else 12)
    assert (mark.data.fit, mark.data.test) == used
    assert mark.data.sha256 == case.data.fingerprint()
    assert mark.model == MODEL
    assert mark.seconds > 0
    assert mark.packages["torch"] == torch.__version__
