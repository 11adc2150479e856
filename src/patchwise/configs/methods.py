"""Settings of the training methods. Defaults are the papers', but for `PWSelfConfig.matching`."""

from dataclasses import dataclass
from typing import Literal, get_args

from patchwise.checks import check_choice, check_positive, check_within
from patchwise.configs.cotap import CoTAPConfig
from patchwise.configs.option import option
from patchwise.configs.views import PatchColourConfig, ViewsConfig

Centre = Literal["position", "kind", "none"]
Matching = Literal["thinned", "nearest", "none"]


@dataclass(frozen=True)
class DistillationConfig:
    """What DINO and PW-Self share. Source: arXiv:2310.18651 and its published configurations."""

    views: ViewsConfig = option(ViewsConfig(), "Random views of every image.")
    prototypes: int = option(65536, "Outputs of the head, K; small image sets want fewer.")
    head_hidden_dim: int = option(2048, "Width of the head's two hidden layers.")
    bottleneck_dim: int = option(256, "Width of the vector that is compared with the prototypes.")
    student_temperature: float = option(0.1, "Divisor of the student's scores.")
    teacher_temperature: float = option(0.04, "Divisor of the teacher's scores, after warm-up.")
    warmup_teacher_temperature: float = option(0.04, "The teacher's temperature at the start.")
    teacher_warmup_epochs: float = option(0.0, "Epochs until teacher_temperature is reached.")
    teacher_momentum: float = option(0.996, "Moving average of the teacher; rises to 1 (cosine).")
    centre: Centre = option(
        "position",
        "What is centred on its own: every position of a token; the two kinds, CLS and patches; "
        "none: the teacher's scores are not centred.",
    )
    centre_momentum: float = option(0.9, "Moving average of the centre of the teacher's scores.")
    frozen_prototype_epochs: float = option(1.0, "Epochs before the prototypes begin to move.")
    views_per_pass: int = option(
        0,
        "Most views of a size that go through the student together; fewer need less memory; "
        "0: all.",
    )
    prototype_rate_scale: float = option(
        1.0, "Times the learning rate, for the prototypes; high rates want it low."
    )

    def __post_init__(self) -> None:
        check_positive(
            type(self).__name__,
            prototypes=self.prototypes,
            head_hidden_dim=self.head_hidden_dim,
            bottleneck_dim=self.bottleneck_dim,
            student_temperature=self.student_temperature,
            teacher_temperature=self.teacher_temperature,
            warmup_teacher_temperature=self.warmup_teacher_temperature,
            prototype_rate_scale=self.prototype_rate_scale,
        )
        check_within(
            type(self).__name__,
            0.0,
            1.0,
            teacher_momentum=self.teacher_momentum,
            centre_momentum=self.centre_momentum,
        )
        check_choice(type(self).__name__, get_args(Centre), centre=self.centre)
        check_within(
            type(self).__name__,
            0.0,
            1e9,
            views_per_pass=self.views_per_pass,
            teacher_warmup_epochs=self.teacher_warmup_epochs,
            frozen_prototype_epochs=self.frozen_prototype_epochs,
        )


@dataclass(frozen=True)
class DINOConfig(DistillationConfig):
    """DINO: only the CLS tokens of two views are matched. Source: arXiv:2104.14294."""

    name: Literal["dino"] = option("dino", "The method.")


@dataclass(frozen=True)
class PWSelfConfig(DistillationConfig):
    """PW-Self: patches are matched too, and recoloured one by one. Source: arXiv:2310.18651."""

    name: Literal["pwself"] = option("pwself", "The method.")
    matching: Matching = option(
        "nearest",
        "Which patches of two views are paired; nearest: each of the student's with the teacher's "
        "that its centre lies in; thinned: the paper's, over the overlap; none: CLS alone.",
    )
    recolour_patches: bool = option(True, "Recolour every patch of a view on its own.")
    patch_colour: PatchColourConfig = option(PatchColourConfig(), "How patches are recoloured.")
    shared_head: bool = option(True, "One head for CLS and patches; if not, one for each.")
    cls_weight: float | None = option(
        None, "Share of CLS in the loss, the rest is the patches'; none: all tokens count alike."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("PWSelfConfig", get_args(Matching), matching=self.matching)
        if self.cls_weight is not None:
            check_within("PWSelfConfig", 0.0, 1.0, cls_weight=self.cls_weight)


MethodConfig = DINOConfig | PWSelfConfig | CoTAPConfig
METHOD_CONFIGS: dict[str, type[DINOConfig] | type[PWSelfConfig] | type[CoTAPConfig]] = {
    "dino": DINOConfig,
    "pwself": PWSelfConfig,
    "cotap": CoTAPConfig,
}
