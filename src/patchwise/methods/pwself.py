"""PW-Self."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from patchwise.augment.multicrop import MultiCropViews, make_multicrop
from patchwise.configs.methods import PWSelfConfig
from patchwise.losses.matched_distillation import TokenPairs, matched_distillation_loss
from patchwise.methods.health import (
    Answers,
    answer_health,
    distance_frac,
    feature_health,
    loss_frac,
)
from patchwise.methods.method import Batch, Method, ParameterGroup, Step, StepLoss, decay_groups
from patchwise.methods.token_pairs import gather_rows, pair_tokens
from patchwise.models.backbone import BackboneOutput
from patchwise.models.heads import ProjectionHead
from patchwise.models.teacher import EMATeacher
from patchwise.models.vit import ViT
from patchwise.ops.schedules import cosine, linear_warmup


class HeadedBackbone(nn.Module):
    """Backbone and the head that CLS and patch tokens share."""

    def __init__(self, backbone: ViT, config: PWSelfConfig) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = ProjectionHead(
            backbone.dim,
            hidden_dim=config.head_hidden_dim,
            bottleneck_dim=config.bottleneck_dim,
            prototypes=config.prototypes,
        )


@dataclass(frozen=True)
class CentreSum:
    """What the centre needs of a part of a batch: it is linear in the bottleneck vectors."""

    bottleneck: Float[Tensor, "N C"]  # summed over teacher views and images
    count: int  # of views times images


@dataclass(frozen=True)
class Targets:
    """The teacher's side of a step."""

    scores: Float[Tensor, "T K"]  # of matched tokens, the centre subtracted
    rows: Int[Tensor, " VBN"]  # token (view, image, position) -> row of scores
    health: dict[str, Tensor]  # of the features; empty unless the step is watched


class PWSelf(Method[MultiCropViews, CentreSum]):
    """Match CLS and patches of different views of an image.

    1. Make 2 global and L local views of every image; recolour each patch on its own.
    2. The teacher encodes the global views, the student all views.
    3. From the crop boxes alone: which patch shows the same place as which.
    4. loss = mean over pairs of views (teacher's q, student's v != q), images and matched tokens
       of the cross-entropy between softmax((t - c) / T_t) and softmax(s / T_s).
    5. c <- moving average of the teacher's mean scores, for each token position;
       teacher <- m * teacher + (1 - m) * student.

    Source: Javidani et al. 2024, arXiv:2310.18651.
    Differs: crops and colours are drawn for each image, not once for a batch; an image's matched
        tokens are averaged before the images are (equal where all share one geometry).
    """

    def __init__(self, backbone: ViT, config: PWSelfConfig) -> None:
        super().__init__()
        self.config = config
        self.student = HeadedBackbone(backbone, config)
        self.teacher = EMATeacher(self.student)
        side = config.views.global_px // backbone.patch_px
        positions = 1 if config.matching == "none" else 1 + side * side
        self.register_buffer("centre", torch.zeros(positions, config.prototypes))
        self.centre: Tensor

    @property
    def backbone(self) -> ViT:
        """The teacher's backbone, which is what the paper evaluates."""
        return self.teacher.module.backbone

    def make_views(self, batch: Batch, step: Step) -> MultiCropViews:
        """Step 1."""
        recolour = self.config.patch_colour if self.config.recolour_patches else None
        return make_multicrop(
            batch["images"],
            self.config.views,
            patch_colour=recolour,
            patch_px=self.backbone.patch_px,
            seed=step.seed,
        )

    def losses(self, views: MultiCropViews, step: Step) -> Iterator[StepLoss[CentreSum]]:
        """Steps 2 to 4, one loss for the global and one for the local views."""
        pairs = pair_tokens(views, matching=self.config.matching, cls_weight=self.config.cls_weight)
        targets, centre_sum = self._targets(views, torch.cat([p.teacher for p in pairs]), step)
        temperature = linear_warmup(
            self.config.warmup_teacher_temperature,
            self.config.teacher_temperature,
            at=step.epoch,
            length=self.config.teacher_warmup_epochs,
        )
        for pixels, group in zip(views.pixels, pairs, strict=True):
            student, rows = gather_rows(self._matched(self.student.backbone(pixels)), group.student)
            scores = _full(self.student.head(student))
            rows_of = TokenPairs(targets.rows[group.teacher], rows[group.student], group.weight)
            loss = matched_distillation_loss(
                scores,
                targets.scores,
                rows_of,
                student_temperature=self.config.student_temperature,
                teacher_temperature=temperature,
            )
            health = {}
            if step.watched:
                teacher = Answers(targets.scores, temperature)
                answers = Answers(scores.detach(), self.config.student_temperature)
                whole = loss.detach() * len(pairs)  # the mean over groups is the loss
                health = {
                    **targets.health,
                    **answer_health(teacher, answers, rows_of),
                    "loss_frac": loss_frac(whole, self.config.prototypes),
                }
            yield StepLoss(loss, {"loss": loss.detach()}, centre_sum, health)
            centre_sum = CentreSum(torch.zeros_like(centre_sum.bottleneck), 0)

    @torch.no_grad()
    def after_step(self, carries: Sequence[CentreSum], step: Step) -> None:
        """Step 5."""
        total = step.collectives.sum(torch.stack([c.bottleneck for c in carries]).sum(dim=0))
        count = step.collectives.sum(
            torch.tensor(float(sum(carry.count for carry in carries)), device=total.device)
        )
        mean = self.teacher.module.head.scores((total / count).to(self.centre.dtype))
        self.centre.lerp_(mean, 1 - self.config.centre_momentum)

        momentum = cosine(self.config.teacher_momentum, 1.0, progress=step.progress)
        self.teacher.follow(self.student, momentum=momentum)

    def parameter_groups(self) -> list[ParameterGroup]:
        """The prototypes stand still at first; everything else is alike."""
        head = self.student.head
        prototypes = {"head.prototypes": head.prototypes}
        return [
            *decay_groups(self.student.backbone, "backbone"),
            *decay_groups(head.mlp, "head.mlp"),
            ParameterGroup(
                "head.prototypes",
                prototypes,
                decayed=True,
                rate_scale=self.config.prototype_rate_scale,
                frozen_epochs=self.config.frozen_prototype_epochs,
            ),
        ]

    @torch.no_grad()
    def _targets(
        self, views: MultiCropViews, wanted: Tensor, step: Step
    ) -> tuple[Targets, CentreSum]:
        """Encode the global views; score the wanted tokens; sum all tokens for the centre."""
        output = self.teacher.module.backbone(views.pixels[0])
        tokens = self._matched(output)  # [2B, 1 + N, D]
        head = self.teacher.module.head
        bottleneck = _full(head.bottleneck(tokens))
        chosen, rows = gather_rows(bottleneck, wanted)
        position = wanted.new_zeros(len(chosen))
        position[rows[wanted]] = wanted % tokens.shape[1]
        scores = _full(head.scores(chosen)) - self.centre[position]
        health = {}
        if step.watched:
            apart = distance_frac(self.teacher.module.parameters(), self.student.parameters())
            health = {**feature_health(output.cls, output.patches), "teacher_distance": apart}
        centre_sum = CentreSum(bottleneck.sum(dim=0), len(bottleneck))
        return Targets(scores, rows, health), centre_sum

    def _matched(self, output: BackboneOutput) -> Float[Tensor, "VB N D"]:
        """Return the tokens that are matched: CLS, and the patches if they are."""
        cls = output.cls[:, None]
        if self.config.matching == "none":
            return cls
        return torch.cat([cls, output.patches], dim=1)


def _full(scores: Tensor) -> Tensor:
    """Return half-precision values in float32; leave the others as they are."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32))
