"""Products in a chosen precision."""

import pytest
import torch

from patchwise.ops.products import add_product, is_half, set_product


def factors() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(70, 64, generator=generator), torch.randn(64, 90, generator=generator)


def rounded(values: torch.Tensor) -> torch.Tensor:
    return values.bfloat16().double()


def test_without_half_nothing_is_rounded() -> None:
    a, b = (x.double() for x in factors())
    out = torch.empty(70, 90, dtype=torch.float64)
    set_product(out, a, b, half=False)
    torch.testing.assert_close(out, a @ b)
    add_product(out, a, b, half=False)
    torch.testing.assert_close(out, 2 * (a @ b))


def test_half_is_float32_up_to_the_rounding_of_the_factors() -> None:
    """Machines without bfloat16 may not round at all."""
    a, b = factors()
    out = torch.empty(70, 90)
    set_product(out, a, b, half=True)
    loss = (a.double() @ b.double() - rounded(a) @ rounded(b)).abs().max()
    assert (out.double() - a.double() @ b.double()).abs().max() <= 1.01 * loss
    add_product(out, a, b, half=True)
    assert (out.double() - 2 * (a.double() @ b.double())).abs().max() <= 2.02 * loss


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_means_autocast_to_bfloat16(dtype: torch.dtype) -> None:
    assert not is_half(torch.device("cpu"))
    with torch.autocast("cpu", dtype):
        assert is_half(torch.device("cpu")) == (dtype == torch.bfloat16)
