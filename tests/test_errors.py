"""One tree of errors."""

import inspect

import pytest

from patchwise import errors

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]


@pytest.mark.parametrize("kind", ALL)
def test_every_error_is_a_patchwise_error_with_a_description(kind: type[Exception]) -> None:
    assert issubclass(kind, errors.PatchwiseError)
    assert kind.__doc__
    assert str(kind("caller: a must be b, got c")) == "caller: a must be b, got c"


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind is not errors.PatchwiseError])
def test_errors_do_not_stand_for_each_other(kind: type[Exception]) -> None:
    assert kind.__bases__ == (errors.PatchwiseError,)
    assert not issubclass(kind, ValueError)  # pydantic would swallow it inside a configuration
