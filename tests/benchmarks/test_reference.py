"""The plain step and ours are the same arithmetic: on the same views, from the same weights."""

from dataclasses import replace

import pytest
import torch
from benchmarks.reference import Placed, Reference, clip_each, follow, match_image, match_views
from torch import Tensor

from patchwise.augment.multicrop import MultiCropViews
from patchwise.configs.methods import PWSelfConfig
from patchwise.methods.pwself import PWSelf
from patchwise.ops.geometry import match_patches
from tests import small_runs
from tests.small_runs import VIT, scene_batch, small_vit, step_at

PWSELF_CONFIG = replace(small_runs.PWSELF_CONFIG, matching="thinned")


def make_method(config: PWSelfConfig) -> PWSelf:
    """A method in float64 whose teacher, student and centre all differ."""
    torch.manual_seed(1)
    method = PWSelf(small_vit(), config).double()
    with torch.no_grad():
        for parameter in method.teacher.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
        method.centre.normal_(std=0.05)
    return method


def reference_name(name: str) -> str:
    return name.replace("head.prototypes", "head.last.parametrizations.weight.original1")


def make_reference(method: PWSelf) -> Reference:
    """The reference with the weights of a method."""
    reference = Reference(VIT, method.config)
    pairs = {"student.": reference.student, "teacher.module.": reference.teacher}
    for prefix, module in pairs.items():
        module.double()
        found = module.load_state_dict(
            {
                reference_name(name.removeprefix(prefix)): tensor
                for name, tensor in method.state_dict().items()
                if name.startswith(prefix)
            },
            strict=False,
        )
        assert not found.unexpected_keys
        assert found.missing_keys == ["head.last.parametrizations.weight.original0"]  # all 1
    reference.centre = method.centre.clone()
    return reference


def make_views(method: PWSelf, *ids: int) -> MultiCropViews:
    """Views in float64."""
    with torch.no_grad():
        views = method.make_views(scene_batch(*ids), step_at())
    return replace(views, pixels=tuple(pixels.double() for pixels in views.pixels))


CONFIGS = {
    "geometry of each image": PWSELF_CONFIG,
    "shared geometry": replace(
        PWSELF_CONFIG, views=replace(PWSELF_CONFIG.views, shared_geometry=True)
    ),
    "no local views": replace(PWSELF_CONFIG, views=replace(PWSELF_CONFIG.views, local_count=0)),
    "other temperatures": replace(
        PWSELF_CONFIG,
        student_temperature=0.2,
        teacher_temperature=0.07,
        warmup_teacher_temperature=0.07,
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_loss_gradients_centre_and_teacher_are_ours(name: str) -> None:
    method = make_method(CONFIGS[name])
    reference, views, step = make_reference(method), make_views(method, 0, 1, 2), step_at()
    carries, total = [], 0.0
    for part in method.losses(views, step):
        part.total.backward()  # type: ignore[no-untyped-call]
        if part.carry is not None:
            carries.append(part.carry)
        total += float(part.total.detach())

    loss, centre = reference.loss(views)
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == pytest.approx(total, rel=1e-6)
    theirs = dict(reference.student.named_parameters())
    for own_name, parameter in method.student.named_parameters():
        assert parameter.grad is not None
        gradient = theirs[reference_name(own_name)].grad
        assert gradient is not None
        assert relative_difference(gradient, parameter.grad) < 1e-5, own_name

    method.after_step(carries, step)
    follow(reference.teacher, reference.student, momentum=method.config.teacher_momentum)
    assert relative_difference(centre, method.centre) < 1e-6
    followed = dict(reference.teacher.named_parameters())
    for own_name, parameter in method.teacher.module.named_parameters():
        assert relative_difference(followed[reference_name(own_name)], parameter) < 1e-6


def relative_difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm().clamp(min=1e-12))


@pytest.mark.parametrize("seed", range(3))
def test_matches_are_those_of_the_vectorised_matcher(seed: int) -> None:
    method = make_method(PWSELF_CONFIG)
    batch = scene_batch(*range(16))
    views = method.make_views(batch, step_at(seed=seed))
    for q in range(2):
        for v in range(len(views.crops)):
            a, b = views.crops[q], views.crops[v]
            ours = match_patches(a.boxes, a.flip, views.grids[q], b.boxes, b.flip, views.grids[v])
            for image, (tokens_q, tokens_v) in enumerate(match_views(views, q, v)):
                valid = ours.valid[image]
                assert tokens_q == [0, *ours.index_a[image][valid].tolist()]
                assert tokens_v == [0, *ours.index_b[image][valid].tolist()]


@pytest.mark.parametrize("flips", [(False, False), (True, False), (True, True)])
def test_a_range_that_rounding_takes_beyond_the_grid_is_cut(flips: tuple[bool, bool]) -> None:
    """Half of 3 patches is rounded up to 2, both the first one and their number."""
    a, b = Placed((0, 0, 4, 4), flips[0], 3), Placed((2, 2, 4, 4), flips[1], 3)
    ours = match_patches(
        torch.tensor([a.box]), torch.tensor([a.flip]), 3,
        torch.tensor([b.box]), torch.tensor([b.flip]), 3,
    )  # fmt: skip
    valid = ours.valid[0]
    expected = (
        [0, *ours.index_a[0][valid].tolist()],
        [0, *ours.index_b[0][valid].tolist()],
    )
    assert match_image(a, b) == expected
    assert valid.sum() == 1


def test_views_that_only_touch_match_by_cls_alone() -> None:
    left, right = Placed((0, 0, 4, 4), False, 2), Placed((0, 4, 4, 4), True, 2)
    assert match_image(left, right) == ([0], [0])


def test_a_step_moves_all_weights_and_the_loss_falls_towards_a_teacher_that_stands_still() -> None:
    config = replace(PWSELF_CONFIG, teacher_momentum=1.0, centre_momentum=1.0)
    method = make_method(config)
    views, reference = make_views(method, 0, 1, 2), Reference(VIT, config)
    views = replace(views, pixels=tuple(pixels.float() for pixels in views.pixels))
    for group in reference.optimizer.param_groups:
        group["lr"] = 1e-3
    before = [p.detach().clone() for p in reference.student.parameters() if p.requires_grad]
    losses = [reference.step(views) for _ in range(10)]
    after = [p for p in reference.student.parameters() if p.requires_grad]
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert losses[-1] < losses[0]


def test_a_step_moves_centre_and_teacher() -> None:
    method = make_method(PWSELF_CONFIG)
    views, reference = make_views(method, 0, 1), Reference(VIT, PWSELF_CONFIG)
    views = replace(views, pixels=tuple(pixels.float() for pixels in views.pixels))
    _, centre = reference.loss(views)
    before = [p.clone() for p in reference.teacher.parameters()]
    reference.step(views)
    torch.testing.assert_close(reference.centre, centre)
    after = zip(before, reference.teacher.parameters(), reference.student.parameters(), strict=True)
    for old, new, student in after:
        torch.testing.assert_close(new, 0.996 * old + 0.004 * student.detach())


def test_each_gradient_is_clipped_on_its_own() -> None:
    layer = torch.nn.Linear(2, 1)
    layer.weight.grad, bias = torch.tensor([[30.0, 40.0]]), torch.tensor([2.0])
    layer.bias.grad = bias.clone()
    clip_each(layer)
    torch.testing.assert_close(layer.weight.grad, torch.tensor([[1.8, 2.4]]))
    torch.testing.assert_close(layer.bias.grad, bias)
