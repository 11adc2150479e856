"""Over-dispersion: distances of true objects where they are known, of what CLS looks at if not."""

import dataclasses
import itertools

import pytest
import torch
from torch.nn import functional as F

from patchwise.pictures.dispersion import dispersion_figure
from patchwise.pictures.figure import Figure
from patchwise.pictures.gallery import Gallery, Seen
from tests.pictures.galleries import gallery, seen


def with_objects() -> Gallery:
    """Categories 1 and 2 by column; an object is a column of an image; some patches have none."""
    objects = torch.arange(4).repeat(4).expand(6, -1) + 4 * torch.arange(6)[:, None] + 1
    shown = gallery()
    assert shown.categories is not None
    missing = torch.rand(6, 16, generator=torch.Generator().manual_seed(1)) < 0.2
    return dataclasses.replace(shown, objects=torch.where(missing, 0, objects))


def without() -> Gallery:
    return dataclasses.replace(gallery(), categories=None, objects=None)


def values(figure: Figure | None) -> dict[str, tuple[float, ...]]:
    assert figure is not None
    assert figure.table is not None
    return {line.label: line.values for line in figure.table.lines}


def mean_distance(
    patches: torch.Tensor, instance: torch.Tensor, category: torch.Tensor, kind: str
) -> float:
    """From the definition: every pair in a plain loop."""
    found = []
    for a, b in itertools.combinations(range(len(patches)), 2):
        same = (bool(instance[a] == instance[b]), bool(category[a] == category[b]))
        if {"one": (True, True), "category": (False, True), "two": (False, False)}[kind] == same:
            found.append(1 - float(F.cosine_similarity(patches[a], patches[b], dim=0)))
    return sum(found) / len(found)


@pytest.mark.parametrize("column", [0, 1])
def test_distances_are_those_of_true_objects(column: int) -> None:
    shown, states = with_objects(), (seen(seed=1), seen(seed=2))
    assert shown.objects is not None
    assert shown.categories is not None
    kept = (shown.objects > 0) & (shown.categories > 0)
    parts = states[column].patches[kept], shown.objects[kept], shown.categories[kept]
    wanted = [mean_distance(*parts, kind) for kind in ("one", "category", "two")]
    wanted += [wanted[0] / wanted[2], wanted[1] / wanted[2]]
    figure = dispersion_figure(shown, *states)
    assert [v[column] for v in values(figure).values()] == pytest.approx(wanted, rel=1e-5)
    assert figure is not None
    assert "masks" in figure.facts
    assert f"{int(kept.sum())} patches in 6 images" in figure.facts
    assert "are not known here" not in figure.caption


def focused(first: int, second: int, seed: int) -> Seen:
    """Attention on two patches, two apart so that the blur does not join them."""
    attention = torch.full((6, 2, 16), 1e-4)
    attention[..., first] = 1.0
    attention[..., second] = 1.0
    return dataclasses.replace(seen(seed=seed), attention=attention)


def test_unknown_objects_are_what_cls_looks_at_and_the_caption_says_so() -> None:
    figure = dispersion_figure(without(), focused(0, 15, 1), focused(0, 15, 2))
    found = values(figure)
    assert list(found) == [
        "Two foreground patches of one image",
        "Two foreground patches of different images",
        "Ratio within images to between images",
    ]
    assert figure is not None
    assert "Objects are not known here" in figure.caption
    assert "60% of the attention" in figure.facts
    first, second = found["Ratio within images to between images"]
    assert f"{first:.2f} before, {second:.2f} after" in figure.caption
    ratio = [a / b for a, b in zip(*list(found.values())[:2], strict=True)]
    assert [first, second] == pytest.approx(ratio)


def test_both_states_are_measured_on_the_same_patches() -> None:
    """Equal features have equal distances, wherever each state looks."""
    one = focused(0, 3, 1)
    other = dataclasses.replace(focused(12, 15, 1), patches=one.patches)
    for pair in values(dispersion_figure(without(), one, other)).values():
        assert pair[0] == pair[1]
    swapped = values(dispersion_figure(without(), other, one))
    assert swapped == values(dispersion_figure(without(), one, other))


def test_widths_may_differ_and_scale_is_nothing() -> None:
    wide = torch.cat([3 * seen(seed=1).patches, torch.zeros(6, 16, 8)], dim=-1)
    figure = dispersion_figure(
        with_objects(), seen(seed=1), dataclasses.replace(seen(seed=1), patches=wide)
    )
    for pair in values(figure).values():
        assert pair[0] == pytest.approx(pair[1], rel=1e-5)


def test_tight_objects_have_a_low_ratio() -> None:
    shown = with_objects()
    assert shown.categories is not None
    tight = F.one_hot(shown.categories, 8).float() + 0.05 * seen(seed=3).patches
    found = values(
        dispersion_figure(shown, seen(seed=1), dataclasses.replace(seen(), patches=tight))
    )
    before, after = found["Ratio within objects to between categories"]
    assert before > 0.9
    assert after < 0.1


def test_what_cannot_be_compared_is_left_out() -> None:
    shown = with_objects()
    assert shown.objects is not None
    nothing = dataclasses.replace(shown, objects=torch.zeros_like(shown.objects))
    assert dispersion_figure(nothing, seen(), seen()) is None
    alone = dataclasses.replace(shown, categories=(shown.objects > 0).long())
    assert dispersion_figure(alone, seen(), seen()) is None, "there is one category"
    same = dataclasses.replace(seen(), patches=torch.ones(6, 16, 8))
    figure = dispersion_figure(shown, seen(), same)
    assert list(values(figure)) == [
        "Two patches of one object",
        "Of different objects of one category",
        "Of different categories",
    ]
    assert all(pair[1] < 1e-9 for pair in values(figure).values())
    assert figure is not None
    assert "no ratio here: all patches are alike" in figure.caption
