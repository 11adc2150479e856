"""Any function of images is a backbone, if it returns a feature for each patch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from patchwise.configs.normalisation import IMAGENET
from patchwise.errors import DataError, ShapeError
from patchwise.models.adapted import adapt, fixed_images, gives_output
from patchwise.models.backbone import Backbone, BackboneOutput
from tests.eval.tiny import Sighted
from tests.small_runs import small_vit


def tokens(images: Tensor, patch_px: int = 16) -> Tensor:
    """The mean colour of each patch."""
    return F.avg_pool2d(images, patch_px).flatten(2).mT


class Patches(nn.Module):
    """A convolution that says nothing of itself."""

    def __init__(self, patch_px: int = 16) -> None:
        super().__init__()
        self.cut = nn.Conv2d(3, 5, patch_px, patch_px)

    def forward(self, images: Tensor) -> Tensor:
        return self.cut(images).flatten(2).mT  # type: ignore[no-any-return]


@dataclass
class Says:
    """A function that names the side of its patches."""

    patch_size: Any
    actual_px: int

    def __call__(self, images: Tensor) -> Tensor:
        return tokens(images, self.actual_px)


@pytest.mark.parametrize("patch_px", [4, 7, 8, 14, 16, 28, 32])
def test_the_side_of_patches_is_found_out(patch_px: int) -> None:
    adapted = adapt(Patches(patch_px).eval())
    assert isinstance(adapted, Backbone)
    assert (adapted.patch_px, adapted.dim) == (patch_px, 5)


@pytest.mark.parametrize("told", [12, (12, 12)])
def test_what_a_model_says_of_its_patches_comes_first(told: Any) -> None:
    """224 is no multiple of 12."""
    assert adapt(Says(told, 12)).patch_px == 12


def test_images_need_not_be_square() -> None:
    output = adapt(tokens)(fixed_images(3, 64)[:, :, :32])
    assert output.grid == (2, 4)
    assert output.patches.shape == (3, 8, 3)


def test_patches_keep_their_places() -> None:
    images = fixed_images(2, 64)
    output = adapt(tokens)(images)
    corner = images[1, :, 16:32, 48:64].mean(dim=(1, 2))
    assert torch.allclose(output.patches[1, 1 * 4 + 3], corner, atol=1e-6)


def test_without_cls_the_mean_of_patches_stands_for_it() -> None:
    adapted = adapt(tokens)
    output = adapted(fixed_images(2, 64))
    assert not adapted.has_cls
    assert torch.equal(output.cls, output.patches.mean(dim=1))


@pytest.mark.parametrize(
    "wrap", [tuple, list, lambda parts: BackboneOutput(parts[0], parts[1], (1, 1))]
)
def test_cls_may_come_with_the_patches(wrap: Callable[[Any], Any]) -> None:
    def both(images: Tensor) -> Any:
        patches = tokens(images)
        return wrap((2 * patches.mean(dim=1), patches))

    adapted = adapt(both)
    output = adapted(fixed_images(2, 64))
    assert adapted.has_cls
    assert torch.allclose(output.cls, 2 * output.patches.mean(dim=1))
    assert output.grid == (4, 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_features_become_float32(dtype: torch.dtype) -> None:
    output = adapt(lambda images: (tokens(images).mean(1).to(dtype), tokens(images).to(dtype)))(
        fixed_images(1, 32)
    )
    assert output.cls.dtype == output.patches.dtype == torch.float32


def test_nothing_is_learnt_or_drawn_from_the_global_generator() -> None:
    module = Patches().eval()
    grads = []

    def drawing(images: Tensor) -> Tensor:
        torch.rand(3)
        grads.append(torch.is_grad_enabled())
        return module(images)  # type: ignore[no-any-return]

    state = torch.random.get_rng_state()
    adapt(drawing)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(grads)


def test_images_are_given_where_the_model_is() -> None:
    assert adapt(Patches()).device == torch.device("cpu")
    seen = []

    def anywhere(images: Tensor) -> Tensor:
        seen.append(images.device.type)
        return torch.ones(len(images), (images.shape[-1] // 16) ** 2, 2)

    adapt(anywhere, device=torch.device("meta"))
    assert set(seen) == {"meta"}


def test_fixed_images_are_fixed_and_look_like_images() -> None:
    images = fixed_images(2, 64)
    assert torch.equal(images, fixed_images(2, 64))
    assert not torch.equal(images[0], images[1])
    mean, deviation = (torch.tensor(v)[:, None] for v in (IMAGENET.mean, IMAGENET.std))
    pixels = images.flatten(2) * deviation + mean
    assert float(pixels[0].mean()) == pytest.approx(0.5, abs=0.02)  # uniform in [0, 1]
    assert float(pixels[1].max()) == pytest.approx(0.5, abs=0.01)  # and darker


def test_a_backbone_keeps_its_word_or_does_not() -> None:
    class Liar(Sighted):
        def __call__(self, images: Tensor, *, attention: bool = False) -> Any:
            return super().__call__(images).patches

    assert gives_output(Sighted())
    assert gives_output(small_vit())
    assert not gives_output(Liar())
    assert not gives_output(tokens)


def with_extra(count: int) -> Callable[[Tensor], Tensor]:
    return lambda images: F.pad(tokens(images), (0, 0, count, 0))


BAD: list[tuple[Callable[[Tensor], Any], str]] = [
    (with_extra(1), r"got 197, which is 14 x 14 patches and 1 more; leave CLS and registers out"),
    (with_extra(5), r"got 201, which is 14 x 14 patches and 5 more"),
    (with_extra(100), r"got 296; leave CLS"),
    (lambda images: tokens(images)[:, 1:], r"square grid, got 195"),
    (lambda images: tokens(images)[0], r"must return patch tokens \(B, N, D\).*shape \(196, 3\)"),
    (lambda images: tokens(images).argmax(-1), r"got torch.int64 of shape \(2, 196\)"),
    (lambda images: tokens(images).long(), r"got torch.int64 of shape \(2, 196, 3\)"),
    (lambda images: {"x": tokens(images)}, "got dict for 2 images"),
    (lambda images: None, "got NoneType for 2 images"),
    (lambda images: (tokens(images),) * 3, r"got \(torch.float32 .*, torch.float32 .*, torch"),
    (lambda images: (tokens(images)[:, 0, :2], tokens(images)), r"of shape \(2, 2\), torch"),
    (lambda images: (tokens(images), tokens(images)[:, 0]), r"got \(torch.float32 of shape \(2, 1"),
    (lambda images: tokens(images)[:1], r"shape \(1, 196, 3\) for 2 images"),
    (Says(16, 32), r"image of 224 px must be 196 with patches of 16 px, got 49"),
]


@pytest.mark.bad_input
@pytest.mark.parametrize(("function", "message"), BAD)
def test_what_is_no_grid_of_features_is_refused(
    function: Callable[[Tensor], Any], message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        adapt(function)


@pytest.mark.bad_input
def test_every_answer_is_checked() -> None:
    def fickle(images: Tensor) -> Tensor:
        return tokens(images) if images.shape[-1] == 224 else tokens(images)[:, :-1]

    with pytest.raises(ShapeError, match=r"must have shape \(1, 4, 3\), got \(1, 3, 3\).*2 x 2"):
        adapt(fickle)(fixed_images(1, 32))
    with pytest.raises(ShapeError, match=r"shape that they have in a batch, got \(196, 2\) and"):
        adapt(lambda images: tokens(images)[..., : len(images) + 1])


@pytest.mark.bad_input
def test_an_error_of_the_model_is_one_line() -> None:
    module = Patches().half()
    with pytest.raises(DataError, match=r"images of shape \(2, 3, 224, 224\) on cpu .*RuntimeErr"):
        adapt(module)

    def fixed_size(images: Tensor) -> Tensor:
        if images.shape[-1] != 224:
            raise ValueError("only 224\nand more")
        return tokens(images)

    with pytest.raises(DataError, match=r"\(1, 3, 32, 32\).*got ValueError: only 224$"):
        adapt(fixed_size)(fixed_images(1, 32))


@pytest.mark.bad_input
def test_features_that_depend_on_the_rest_of_the_batch_are_refused() -> None:
    norm, drop = nn.BatchNorm2d(3), nn.Dropout(0.5)
    for training in (norm, drop):
        with pytest.raises(DataError, match=r"change of \d+% of the largest.* into eval mode"):
            adapt(lambda images, layer=training: tokens(layer(images)))  # type: ignore[misc]
        training.eval()
        adapt(lambda images, layer=training: tokens(layer(images)))  # type: ignore[misc]
