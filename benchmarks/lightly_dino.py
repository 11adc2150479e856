"""A step of DINO with lightly, a popular library: its head, loss and moving average, timm's ViT.

Needs lightly, timm and torchvision importable.

Source: lightly's own example of DINO in plain PyTorch, for which a step is what follows the views.
Differs: a ViT where the example has a ResNet; clipping as in the example's Lightning form.
"""

import importlib.util
import warnings

import torch
from torch import nn

from benchmarks.setting import Act, Setting
from patchwise.augment.multicrop import GLOBAL_VIEWS
from patchwise.configs.methods import DINOConfig

NEEDED = ("lightly", "timm", "torchvision")
_LIBRARIES: list[torch.library.Library] = []  # operators live as long as these do


def missing() -> list[str]:
    """Return which of the libraries are not there."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def build_lightly_dino(setting: Setting) -> Act:
    """Return a step of DINO on the same views as ours."""
    _complete_torchvision()
    from lightly.loss import DINOLoss  # noqa: PLC0415 - only where it is there
    from lightly.models.utils import update_momentum  # noqa: PLC0415

    student, teacher = _network(setting), _network(setting).requires_grad_(False)
    teacher.load_state_dict(student.state_dict())
    loss_of = DINOLoss(output_dim=setting.prototypes)
    trained = [p for p in student.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=5e-4 * setting.batch / 256)
    pixels, half = setting.views().pixels, setting.precision == "bf16"

    def step() -> float:
        update_momentum(student, teacher, m=0.996)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            targets = teacher(pixels[0])
            predictions = torch.cat([student(views) for views in pixels])
        count = len(predictions) // setting.batch
        views = [
            list(t.float().chunk(n)) for t, n in ((targets, GLOBAL_VIEWS), (predictions, count))
        ]
        loss = loss_of(*views)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 3.0)
        optimizer.step()
        return float(loss.detach())

    return step


def _network(setting: Setting) -> nn.Sequential:
    """Return timm's ViT-Ti/16 and lightly's head, in training mode."""
    import timm  # noqa: PLC0415
    from lightly.models.modules.heads import DINOProjectionHead  # noqa: PLC0415

    config = setting.config("dino")
    backbone = timm.create_model(
        "vit_tiny_patch16_224",
        num_classes=0,
        dynamic_img_size=True,
        drop_path_rate=config.backbone.drop_path,
    )
    method = config.method
    assert isinstance(method, DINOConfig), "it was asked for"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about an older form of weight normalisation
        head = DINOProjectionHead(
            config.backbone.dim, method.head_hidden_dim, method.bottleneck_dim, method.prototypes
        )
    return nn.Sequential(backbone, head)


def _complete_torchvision() -> None:
    """Let a torchvision built for CUDA be imported beside a torch without it.

    Its Python part asks for operators of a compiled part that cannot be loaded; none is called.
    """
    try:
        import torchvision  # noqa: F401, PLC0415
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for name in ("nms", "qnms"):
            schema = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            library.define(schema)  # type: ignore[no-untyped-call]
        _LIBRARIES.append(library)
