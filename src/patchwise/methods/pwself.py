"""PW-Self."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from patchwise.augment.draw import Purpose
from patchwise.augment.multicrop import GLOBAL_VIEWS, MultiCropViews, make_multicrop
from patchwise.configs.methods import PWSelfConfig
from patchwise.losses.matched_distillation import TokenPairs, matched_distillation_loss
from patchwise.methods.cut import Cut
from patchwise.methods.headed import HeadedBackbone
from patchwise.methods.health import (
    Answers,
    answer_health,
    distance_frac,
    feature_health,
    loss_frac,
)
from patchwise.methods.method import Batch, Method, ParameterGroup, Step, StepLoss, decay_groups
from patchwise.methods.token_pairs import Pass, pair_tokens, select_rows
from patchwise.models.backbone import BackboneOutput
from patchwise.models.heads import ProjectionHead
from patchwise.models.teacher import EMATeacher
from patchwise.models.vit import ViT
from patchwise.ops.prototypes import expected_prototypes
from patchwise.ops.schedules import cosine, linear_warmup


@dataclass(frozen=True)
class CentreSum:
    """What the centre needs of a part of a batch: it is linear in the bottleneck vectors."""

    bottleneck: Float[Tensor, "N C"]  # summed over teacher views and images
    count: int  # of views times images


@dataclass(frozen=True)
class Side:
    """One head's part of a step: what the student's tokens are compared with."""

    head: ProjectionHead  # the student's
    target: Cut  # expected prototype of each teacher token [T, C]
    row: Int[Tensor, " VBN"]  # teacher token (view, image, position) -> row of target
    teacher: Answers  # scores of rows, the centre subtracted


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
        rows = {"position": positions, "kind": min(2, positions), "none": 1}[config.centre]
        self.register_buffer("centre", torch.zeros(rows, config.prototypes))
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
            normalisation=self.backbone.normalisation,
        )

    def losses(self, views: MultiCropViews, step: Step) -> Iterator[StepLoss[CentreSum]]:
        """Steps 2 to 4, one loss for each pass; then what all passes share goes backward."""
        config = self.config
        passes = pair_tokens(
            views,
            matching=config.matching,
            cls_weight=config.cls_weight,
            views_per_pass=config.views_per_pass,
        )
        output, bottleneck = self._teach(views)
        wanted = torch.cat([one.pairs.teacher for one in passes])
        sides = self._sides(bottleneck, wanted, step)
        for one in passes:
            loss = self._pass_loss(views, one, sides, watched=step.watched)
            if step.watched:
                whole = loss.total.detach() * len(passes)  # the mean over passes is the loss
                loss.health.update(self._health(output, whole))
            yield loss
        carry = CentreSum(bottleneck.sum(dim=0), len(bottleneck))
        for number, side in enumerate(sides):
            yield StepLoss(side.target.rest(), {}, None if number else carry)

    @torch.no_grad()
    def after_step(self, carries: Sequence[CentreSum], step: Step) -> None:
        """Step 5."""
        total = step.collectives.sum(torch.stack([c.bottleneck for c in carries]).sum(dim=0))
        count = step.collectives.sum(
            torch.tensor(float(sum(carry.count for carry in carries)), device=total.device)
        )
        self._move_centre((total / count).to(self.centre.dtype))
        momentum = cosine(self.config.teacher_momentum, 1.0, progress=step.progress)
        self.teacher.follow(self.student, momentum=momentum)

    def parameter_groups(self) -> list[ParameterGroup]:
        """The prototypes stand still at first; everything else is alike."""
        groups = decay_groups(self.student.backbone, "backbone")
        for name, head in zip(("head", "patch_head"), self.student.heads, strict=False):
            groups += decay_groups(head.mlp, f"{name}.mlp")
            prototypes = ParameterGroup(
                f"{name}.prototypes",
                {f"{name}.prototypes": head.prototypes},
                decayed=True,
                rate_scale=self.config.prototype_rate_scale,
                frozen_epochs=self.config.frozen_prototype_epochs,
            )
            groups.append(prototypes)
        return groups

    @torch.no_grad()
    def _teach(self, views: MultiCropViews) -> tuple[BackboneOutput, Float[Tensor, "VB N C"]]:
        """Encode the global views: features, and bottleneck vectors of all tokens."""
        output = self.teacher.module.backbone(views.pixels[0])
        return output, self.teacher.module.bottleneck(self._matched(output))

    def _sides(
        self, bottleneck: Float[Tensor, "VB N C"], wanted: Int[Tensor, " P"], step: Step
    ) -> list[Side]:
        """Make the targets of the wanted tokens of the teacher, head by head."""
        temperature = linear_warmup(
            self.config.warmup_teacher_temperature,
            self.config.teacher_temperature,
            at=step.epoch,
            length=self.config.teacher_warmup_epochs,
        )
        flat, positions = bottleneck.flatten(0, 1), bottleneck.shape[1]
        sides = []
        heads = zip(self.student.heads, self.teacher.module.heads, strict=True)
        for number, (head, teacher) in enumerate(heads):
            rows = select_rows(wanted[self._is_of(number, wanted % positions)], len(flat))
            index = rows.index.to(flat.device, non_blocking=True)
            vectors, position = flat[index], self._centre_row(index % positions)
            target = expected_prototypes(
                vectors,
                teacher.prototypes,
                head.prototypes,
                temperature=temperature,
                centre=self.centre,
                position=position,
            )
            answers = Answers(vectors, teacher.prototypes, temperature, self.centre, position)
            sides.append(Side(head, Cut(target), rows.row, answers))
        return sides

    def _pass_loss(
        self, views: MultiCropViews, one: Pass, sides: Sequence[Side], *, watched: bool
    ) -> StepLoss[CentreSum]:
        """Return the loss of some views; if ``watched``, with the health of their answers."""
        start = one.first * views.num_images
        pixels = views.pixels[one.resolution][start : start + one.views * views.num_images]
        tokens = self._matched(self.student.backbone(pixels, kept=self._kept(views, one)))
        flat, positions = tokens.flatten(0, 1), tokens.shape[1]
        total = flat.new_zeros((), dtype=torch.get_default_dtype())
        health: dict[str, Tensor] = {}
        for number, side in enumerate(sides):
            pairs = one.pairs.select(self._is_of(number, one.pairs.student % positions))
            rows = select_rows(pairs.student, len(flat))
            pairs = TokenPairs(side.row[pairs.teacher], rows.row[pairs.student], pairs.weight)
            pairs = pairs.to(flat.device)
            vectors = self.student.answer(side.head, flat[rows.index.to(flat.device)])
            total = total + matched_distillation_loss(
                vectors,
                side.head.prototypes,
                side.target.leaf,
                pairs,
                student_temperature=self.config.student_temperature,
            )
            if watched:
                answers = Answers(
                    vectors.detach(), side.head.prototypes, self.config.student_temperature
                )
                health = answer_health(side.teacher, answers, pairs)  # of the last: the patches
        return StepLoss(total, {"loss": total.detach()}, health=health)

    def _health(self, output: BackboneOutput, loss: Tensor) -> dict[str, Tensor]:
        """Return the health of the teacher's features, of its distance and of the whole loss."""
        apart = distance_frac(self.teacher.module.parameters(), self.student.parameters())
        return {
            **feature_health(output.cls, output.patches),
            "teacher_distance": apart,
            "loss_frac": loss_frac(loss, self.config.prototypes),
        }

    def _matched(self, output: BackboneOutput) -> Float[Tensor, "VB N D"]:
        """Return the tokens that are matched: CLS, and the patches if they are."""
        cls = output.cls[:, None]
        if self.config.matching == "none":
            return cls
        return torch.cat([cls, output.patches], dim=1)

    def _is_of(self, number: int, position: Int[Tensor, " P"]) -> Bool[Tensor, " P"]:
        """Tell which tokens a head is for."""
        if len(self.student.heads) == 1:
            return torch.ones_like(position, dtype=torch.bool)
        return (position > 0) == (number > 0)

    def _centre_row(self, position: Int[Tensor, " R"]) -> Int[Tensor, " R"]:
        """Return the row of the centre of tokens at some positions."""
        return position.clamp(max=len(self.centre) - 1)

    def _move_centre(self, mean: Float[Tensor, "N C"]) -> None:
        """Move the centre towards the mean scores, given the mean vector of each position."""
        if self.config.centre == "none":
            return
        if len(self.centre) < len(mean):  # one for CLS, one for all patches
            mean = torch.stack([mean[0], mean[1:].mean(dim=0)])
        heads = self.teacher.module.heads
        parts = (
            [(self.centre, mean)]
            if len(heads) == 1
            else [(self.centre[:1], mean[:1]), (self.centre[1:], mean[1:])]
        )
        momentum = self.config.centre_momentum
        for head, (centre, vectors) in zip(heads, parts, strict=True):
            centre.addmm_(vectors, head.directions().mT, beta=momentum, alpha=1 - momentum)

    def _kept(self, views: MultiCropViews, one: Pass) -> Bool[Tensor, "VB depth 2"] | None:
        """Draw which residuals are kept (stochastic depth) in the images of some views."""
        rates = self.student.backbone.config.drop_rates
        if not (self.training and any(rates)):
            return None
        first = one.resolution * GLOBAL_VIEWS + one.first
        keys = views.keys[first : first + one.views]
        drawn = np.concatenate([key.uniform(2 * len(rates), Purpose.DROP_PATH) for key in keys])
        kept = drawn.reshape(len(drawn), len(rates), 2) >= np.array(rates)[:, None]
        return torch.from_numpy(kept).to(views.pixels[0].device, non_blocking=True)
