"""Each check lets good values through and says in one sentence what is wrong with a bad one."""

import math
from typing import cast

import pytest
import torch

from patchwise.checks import (
    check_choice,
    check_finite,
    check_positive,
    check_same_shape,
    check_shape,
    check_within,
    check_zeros_and_ones,
    did_you_mean,
)
from patchwise.errors import ChoiceError, RangeError, ShapeError


def test_good_values_pass() -> None:
    check_positive("f", a=1, b=5e-324, c=10**400)
    check_within("f", 0.0, 1.0, a=0, b=1, c=0.5)
    check_within("f", 0.0, math.inf, a=math.inf)
    check_finite(
        "f", a=-0.0, b=5, c=torch.zeros(0), d=torch.full((2, 2), 3e38), e=torch.ones(1) > 0
    )
    check_zeros_and_ones("f", a=torch.tensor([0, 1, 1]), b=torch.ones(2, 2) > 0, c=torch.zeros(0))
    check_same_shape("f", a=torch.zeros(2, 3), b=torch.ones(2, 3, dtype=torch.int64))
    check_same_shape("f", a=torch.zeros(2))
    check_shape("f", (None, 3), a=torch.zeros(0, 3), b=torch.zeros(7, 3))
    check_shape("f", (), a=torch.zeros(()))
    check_choice("f", ("b", "a"), x="a", y="b")


@pytest.mark.bad_input
@pytest.mark.parametrize("value", [0, -1, 0.0, -0.0, -5e-324, math.inf, -math.inf, math.nan])
def test_what_is_not_positive_is_refused(value: float) -> None:
    with pytest.raises(RangeError) as caught:
        check_positive("caller", good=1, size_px=value)
    assert str(caught.value) == f"caller: size_px must be positive, got {value}"


@pytest.mark.bad_input
@pytest.mark.parametrize("value", [-1e-9, 1 + 1e-9, math.nan, math.inf, -math.inf])
def test_what_lies_outside_is_refused(value: float) -> None:
    with pytest.raises(RangeError) as caught:
        check_within("caller", 0, 1, good=0.5, momentum=value)
    assert str(caught.value) == f"caller: momentum must lie in [0, 1], got {value}"


@pytest.mark.bad_input
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("dtype", [None, torch.float32, torch.float64, torch.bfloat16])
def test_what_is_not_finite_is_refused(value: float, dtype: torch.dtype | None) -> None:
    wrong: float | torch.Tensor = value
    if dtype is not None:
        wrong = torch.tensor([[0.0, 1.0], [value, 2.0]], dtype=dtype)
    with pytest.raises(RangeError) as caught:
        check_finite("caller", good=torch.zeros(3), target=wrong)
    assert str(caught.value) == f"caller: target must be finite, got {value}"


@pytest.mark.bad_input
@pytest.mark.parametrize("value", [-1, 2, 127])
def test_what_is_neither_0_nor_1_is_refused(value: int) -> None:
    wrong = torch.tensor([[0, 1], [value, 1]], dtype=torch.int8)
    with pytest.raises(RangeError) as caught:
        check_zeros_and_ones("caller", good=torch.zeros(3), match=wrong)
    assert str(caught.value) == f"caller: match must hold only 0 and 1, got {value}"


@pytest.mark.bad_input
@pytest.mark.parametrize("shape", [(3, 2), (2,), (2, 3, 1), ()])
def test_other_shapes_are_refused_with_all_names(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError) as caught:
        check_same_shape("caller", query=torch.zeros(2, 3), key=torch.zeros(shape))
    shapes = {"query": (2, 3), "key": shape}
    assert str(caught.value) == f"caller: query and key must have the same shape, got {shapes}"


@pytest.mark.bad_input
@pytest.mark.parametrize("shape", [(3,), (5, 4), (5, 2), (5, 3, 1), (3, 5)])
def test_a_shape_that_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError) as caught:
        check_shape("caller", (None, 3), good=torch.zeros(1, 3), tokens=torch.zeros(shape))
    assert str(caught.value) == f"caller: tokens must have shape (any, 3), got {shape}"


@pytest.mark.bad_input
def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ChoiceError) as caught:
        check_choice("caller", {"tiny", "small", "base"}, size="smal")
    assert str(caught.value) == (
        "caller: size must be one of base, small, tiny, got 'smal'; did you mean 'small'?"
    )


@pytest.mark.bad_input
def test_nothing_is_suggested_where_nothing_is_near() -> None:
    with pytest.raises(ChoiceError, match=r"must be one of a, b, got 'zzz'$"):
        check_choice("caller", ["a", "b"], size="zzz")


@pytest.mark.parametrize(
    ("name", "suggestion"), [("tempreature", "temperature"), ("momentums", "momentum")]
)
def test_the_nearest_name_is_found(name: str, suggestion: str) -> None:
    known = (word for word in ("temperature", "momentum", "prototypes"))
    assert did_you_mean(name, known) == f"; did you mean {suggestion!r}?"
    assert did_you_mean("", ["temperature"]) == ""


@pytest.mark.bad_input
def test_a_choice_of_another_type_is_named_too() -> None:
    with pytest.raises(ChoiceError, match=r"matching must be one of nearest, none, got False$"):
        check_choice("f", ("none", "nearest"), matching=cast(str, False))
