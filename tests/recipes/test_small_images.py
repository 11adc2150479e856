"""Settings for images of 32 px."""

import torch

from patchwise.augment.patch_photometric import BLUR_KERNEL_PX
from patchwise.configs.methods import PWSelfConfig
from patchwise.data.images import ResizeRule
from patchwise.ops.colour import gaussian_blur
from patchwise.recipes import Facts, make_config
from tests.small_runs import distillation

CONFIG = make_config("pwself-32px", Facts(50_000, 32, "cuda"))


def test_images_of_32_px_are_used_as_they_are() -> None:
    views = CONFIG.method.views
    assert ResizeRule(base_px=views.base_px, base=views.base) == ResizeRule(base_px=32)
    assert (views.global_px, views.local_px, CONFIG.backbone.patch_px) == (32, 16, 4)
    least_px = 32 * views.local_area_frac[0] ** 0.5
    assert views.local_px < 2 * least_px  # no local view is enlarged more than twice


def test_the_backbone_is_the_papers_small_one() -> None:
    backbone = CONFIG.backbone
    assert (backbone.dim, backbone.depth, backbone.heads) == (192, 12, 3)
    assert (backbone.grid, backbone.drop_path) == (8, 0.1)


def test_the_rates_are_the_papers() -> None:
    paper = make_config("pwself-cifar10", Facts(50_000, 32, "cuda"))
    assert paper.optim == CONFIG.optim
    assert paper.method.teacher_momentum == CONFIG.method.teacher_momentum
    assert distillation(CONFIG).prototypes < 50_000 / 10  # many images for each


def test_blurs_are_scaled_to_what_they_are_applied_to() -> None:
    method = CONFIG.method
    assert isinstance(method, PWSelfConfig)
    assert abs(method.views.blur_sigma_px[1] - 2 * 32 / 224) < 0.01
    assert method.patch_colour.blur_sigma_px == (0.0, 2 * 4 / 16)


def test_the_blur_of_a_patch_does_not_fold_back() -> None:
    """A window of 5 px reaches beyond both ends of 4 px: what it finds there must weigh nothing."""
    method = CONFIG.method
    assert isinstance(method, PWSelfConfig)
    column = torch.eye(4)[:, None, :, None].expand(4, 3, 4, 1)  # one bright row each
    sigma = torch.full((4,), method.patch_colour.blur_sigma_px[1])
    wide = gaussian_blur(column, sigma, kernel_px=BLUR_KERNEL_PX)
    narrow = gaussian_blur(column, sigma, kernel_px=(3, 1))
    torch.testing.assert_close(wide, narrow, rtol=0, atol=1e-3)
