"""Settings for image sets like CIFAR-10: 50,000 images of 32 px, used as they are."""

from dataclasses import replace

from patchwise.configs.backbone import vit_config
from patchwise.configs.methods import PWSelfConfig
from patchwise.configs.run import DataConfig, OptimConfig, RunConfig, TrainConfig
from patchwise.configs.views import PatchColourConfig, ViewsConfig
from patchwise.recipes.facts import Facts

_SIDE_PX, _PATCH_PX = 32, 4
_PAPER_SIDE_PX, _PAPER_PATCH_PX = 224, 16


def pwself_32px(facts: Facts) -> RunConfig:
    """PW-Self with ViT-Ti/4 on images of 32 px, none of them enlarged: 8 x 8 patches a view.

    Against the paper's CIFAR-10 run, which enlarges them to 224 px, a view has a third of the
    tokens and a 49th of the pixels. What is measured in pixels is scaled with what it is
    applied to:

        view's blur      0.1 to 2 px of 224      becomes at most 0.29 px: hardly any
        patch's blur     0.1 to 2 px of 16       becomes at most 0.5 px: of the paper's window, 5 px
                         high, the outer two then weigh nothing, and nothing folds back in 4 px
        local views      96 of 224 px            becomes 16 px, of at least a tenth of the image:
                         less would be enlarged more than twice

    The head is sized for 50,000 images. The teacher is as sharp as in `small`, and why.
    """
    views = ViewsConfig(
        base_px=_SIDE_PX,
        global_px=_SIDE_PX,
        local_count=4,
        local_px=16,
        local_area_frac=(0.1, 0.4),
        blur_sigma_px=(0.0, round(2.0 * _SIDE_PX / _PAPER_SIDE_PX, 2)),
    )
    method = PWSelfConfig(
        views=views,
        patch_colour=PatchColourConfig(blur_sigma_px=(0.0, 2.0 * _PATCH_PX / _PAPER_PATCH_PX)),
        prototypes=2048,
        head_hidden_dim=512,
        bottleneck_dim=128,
        teacher_temperature=0.02,
        warmup_teacher_temperature=0.02,
    )
    backbone = vit_config("tiny", patch_px=_PATCH_PX, image_px=_SIDE_PX)
    return RunConfig(
        recipe="",
        data=DataConfig(workers=facts.workers),
        backbone=replace(backbone, drop_path=0.1),
        method=method,
        optim=OptimConfig(),
        train=TrainConfig(epochs=200.0, batch=256, device=facts.device),
    )
