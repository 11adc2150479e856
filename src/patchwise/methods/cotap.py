"""CoTAP.

Letters: B images, N = 2 B images and neighbours, V views, H W rows and columns of patches,
K prototypes of a head.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from patchwise.augment.multicrop import GLOBAL_VIEWS
from patchwise.configs.cotap import CoTAPConfig
from patchwise.losses.prototype_entropy import prototype_entropy_loss
from patchwise.methods.clustering import cluster_images, cluster_neighbours, cluster_patches
from patchwise.methods.cotap_health import filter_health, image_health, patch_health
from patchwise.methods.health import distance_frac, feature_health
from patchwise.methods.method import (
    Batch,
    Input,
    Method,
    ParameterGroup,
    Step,
    StepLoss,
    decay_groups,
)
from patchwise.methods.paired_views import PairedViews, by_image, make_paired_views
from patchwise.methods.ranking import rank_patches
from patchwise.methods.shared_regions import CropPair, shared_regions
from patchwise.methods.taught import TaughtPatches, teach_images, teach_patches
from patchwise.methods.two_headed import TwoHeadedBackbone
from patchwise.models.backbone import BackboneOutput
from patchwise.models.filtered_vit import FilteredViT
from patchwise.models.sample_bank import SampleBank
from patchwise.models.score_queue import ScoreQueue
from patchwise.models.teacher import EMATeacher
from patchwise.models.vit import ViT
from patchwise.ops.schedules import cosine
from patchwise.randomness import random_seed

_VIEW_DRAWS = 1  # key of the seeds of the image sets' views


@dataclass(frozen=True)
class CoTAPViews:
    """Views of both image sets; those of one that nothing is trained on are not made."""

    scenes: PairedViews | None
    objects: PairedViews | None


@dataclass(frozen=True)
class CoTAPCarry:
    """What the queues and the bank get of a part of a batch, sorted by image."""

    patch_scores: Float[Tensor, "R K"] | None = None  # the teacher's, of foreground patches
    image_scores: Float[Tensor, "Q L"] | None = None  # the teacher's, of global views
    samples: Float[Tensor, "S D 3 3"] | None = None  # the student's, of global views


class CoTAP(Method[CoTAPViews, CoTAPCarry]):
    """Draw patches of one object, and of one category, together.

    1. Two global and L local views of every image and of a neighbour of it, of two image sets:
       scenes for patches, objects for images as a whole. The student sees them in other colours.
    2. The teacher finds the foreground by its attention, scores the patches of the global views
       with one head and their CLS with the other, and assigns them to prototypes (Sinkhorn).
    3. loss = a + b + c + d + e, of the student's scores:
       a. foreground patches of each view foretell the assignments of the same place in the global
          views of their image;   b. CLS of each view those of its image's global views;
       c. CLS of the global views those of the neighbour's;
       d. cosines of patches of image and neighbour are ranked as the teacher's are
          (`patchwise.losses.cotap`);   e. every prototype of the filter commits to few samples.
    4. Queues take in the teacher's scores, the bank samples of the student's tokens; once the bank
       is full, the filter's prototypes are made of it;
       teacher <- m * teacher + (1 - m) * student.

    The student is what is evaluated: a `FilteredViT`, whose features are twice as wide.

    Source: Wen et al. 2025, "Semantic Concentration for Self-Supervised Dense Representations
        Learning", arXiv:2509.09429.
    Differs: the differences of the parts; the teacher gets the first prototypes at once
        (`CoTAPConfig.copy_prototypes`); loss e begins when the prototypes are made of samples.
    """

    inputs: ClassVar[tuple[Input, ...]] = (
        Input("scenes", neighbours=True),
        Input("objects", neighbours=True),
    )

    def __init__(self, backbone: ViT | FilteredViT, config: CoTAPConfig) -> None:
        """Begin with a backbone; one that has a filter keeps it, and its prototypes."""
        super().__init__()
        self.config = config
        self._keeps_prototypes = isinstance(backbone, FilteredViT)
        if config.filter_prototypes and isinstance(backbone, ViT):
            backbone = FilteredViT(backbone, config.filter_prototypes)
        self.student = TwoHeadedBackbone(backbone, config)
        if isinstance(backbone, FilteredViT):
            backbone.vit.norm.requires_grad_(False)  # it is not applied
        self.teacher = EMATeacher(self.student)
        self.patch_queue = ScoreQueue(
            config.queued_patches,
            config.patch_prototypes,
            most_a_step=config.queued_patches_per_step,
            fill=False,
        )
        self.image_queue = ScoreQueue(
            config.queued_images,
            config.image_prototypes,
            most_a_step=config.queued_images_per_step,
            fill=True,
        )
        self.bank: SampleBank | None = None
        if isinstance(backbone, FilteredViT):
            self.bank = SampleBank(
                backbone.vit.dim,
                capacity=config.bank_samples,
                most_a_step=config.bank_samples_per_step,
            )

    @classmethod
    def reads(cls, wanted: Input, config: CoTAPConfig) -> bool:
        """Tell whether any part of the loss is about these images."""
        return config.trains_patches if wanted.name == "scenes" else config.trains_images

    @property
    def backbone(self) -> ViT | FilteredViT:
        """The student's backbone, which is what the paper evaluates."""
        return self.student.backbone

    def make_views(self, batch: Batch, step: Step) -> CoTAPViews:
        """Step 1."""
        made = [
            make_paired_views(
                batch[source.name],
                batch[source.neighbour_name],
                self.config.views,
                patch_px=self.backbone.patch_px,
                seed=random_seed(step.seed, _VIEW_DRAWS, number),
                normalisation=self.backbone.normalisation,
            )
            if self.reads(source, self.config)
            else None
            for number, source in enumerate(self.inputs)
        ]
        return CoTAPViews(*made)

    def losses(self, views: CoTAPViews, step: Step) -> Iterator[StepLoss[CoTAPCarry]]:
        """Steps 2 and 3: a loss for the global views of each set, then for its local ones."""
        if views.scenes is not None:
            yield from self._patch_losses(views.scenes, step, sampled=views.objects is None)
        if views.objects is not None:
            yield from self._image_losses(views.objects, step)
        if self.bank is not None and self.bank.full and self.config.prototype_weight:
            filtered = self.student.backbone
            assert isinstance(filtered, FilteredViT), "there is a bank where there is a filter"
            loss = prototype_entropy_loss(filtered.filter.prototypes, self.bank.samples())
            yield _weighted({"prototype": (self.config.prototype_weight, loss)})

    @torch.no_grad()
    def after_step(self, carries: Sequence[CoTAPCarry], step: Step) -> None:
        """Step 4."""
        draws = {"seed": step.seed, "step": step.index}
        patches = [c.patch_scores for c in carries if c.patch_scores is not None]
        if patches:
            self.patch_queue.add(torch.cat(patches), collectives=step.collectives, **draws)
        images = [c.image_scores for c in carries if c.image_scores is not None]
        if images:
            self.image_queue.add(torch.cat(images), collectives=step.collectives, **draws)
        samples = [c.samples for c in carries if c.samples is not None]
        if self.bank is not None and samples:
            filled = self.bank.add(torch.cat(samples), collectives=step.collectives, **draws)
            if filled and not self._keeps_prototypes:
                self._start_prototypes(self.bank, step)
        momenta = self.config.teacher_momentum, self.config.final_teacher_momentum
        self.teacher.follow(self.student, momentum=cosine(*momenta, progress=step.progress))

    def settle(self) -> None:
        """Have full queues and a full bank."""
        self.patch_queue.settle()
        self.image_queue.settle()
        if self.bank is not None:
            self.bank.queue.fill()

    def parameter_groups(self) -> list[ParameterGroup]:
        """Heads have a higher peak of the learning rate; all end at the same rate."""
        scale = self.config.head_rate_scale
        groups = decay_groups(self.student.backbone, "backbone")
        if self.config.trains_patches:
            groups += decay_groups(self.student.patch_head, "patch_head", rate_scale=scale)
        if self.config.trains_images:
            groups += decay_groups(self.student.image_head, "image_head", rate_scale=scale)
        return groups

    def _patch_losses(
        self, views: PairedViews, step: Step, *, sampled: bool
    ) -> Iterator[StepLoss[CoTAPCarry]]:
        """Losses a and d. ``sampled``: whether the bank's samples are taken here."""
        config, student, watched = self.config, self.student, step.watched
        teacher = self.teacher.module
        taught = teach_patches(teacher, views, self.patch_queue, config, step.collectives)
        pairs = self._crop_pairs(views, taught, step)
        kept = views.kept(student.vit, 0, GLOBAL_VIEWS)
        output, samples = student.encode(views.student[0], sampled=sampled, kept=kept)
        scores = student.patch_scores(output, views.images)
        parts, health = {}, {}
        if config.dense_weight:
            dense = cluster_patches(scores, taught, pairs, config)
            parts["dense"] = (config.dense_weight, dense)
        if config.ranking_weight:
            ranking = rank_patches(scores, taught, views, config, step)
            parts["ranking"] = (config.ranking_weight, ranking.loss)
            health = {"ranking_accuracy": ranking.accuracy} if watched else {}
        if watched:
            health |= patch_health(taught, scores)
            health["patch_queue_age"] = self.patch_queue.age(step.index)
            health |= self._health(views, output)
        rows = by_image(taught.scores)[by_image(taught.foreground)] if config.dense_weight else None
        yield _weighted(parts, CoTAPCarry(rows, None, views.sort(samples)), health)
        for first, count in views.passes(config.views_per_pass) if pairs else ():
            kept = views.kept(student.vit, GLOBAL_VIEWS + first, count)
            output = student.backbone(views.local_pixels(first, count), kept=kept)
            scores = student.patch_scores(output, views.images)
            dense = cluster_patches(scores, taught, pairs, config, first=GLOBAL_VIEWS + first)
            yield _weighted({"dense": (config.dense_weight, dense)})

    def _image_losses(self, views: PairedViews, step: Step) -> Iterator[StepLoss[CoTAPCarry]]:
        """Losses b and c; the bank's samples are taken here."""
        config, student, teacher = self.config, self.student, self.teacher.module
        taught = teach_images(teacher, views, self.image_queue, config, step.collectives)
        kept = views.kept(student.vit, 0, GLOBAL_VIEWS)
        output, samples = student.encode(views.student[0], sampled=True, kept=kept)
        scores = student.image_scores(output, views.images)
        parts, health = {}, {}
        if config.image_weight:
            loss = cluster_images(scores, taught, len(views.crops), config)
            parts["image"] = (config.image_weight, loss)
        if config.neighbour_weight:
            loss = cluster_neighbours(scores, taught, config)
            parts["neighbour"] = (config.neighbour_weight, loss)
        if step.watched:
            health = image_health(taught, scores)
            health["image_queue_age"] = self.image_queue.age(step.index)
            health |= {} if config.trains_patches else self._health(views, output)
        carry = CoTAPCarry(None, by_image(taught.scores), views.sort(samples))
        yield _weighted(parts, carry, health)
        for first, count in views.passes(config.views_per_pass) if config.image_weight else ():
            kept = views.kept(student.vit, GLOBAL_VIEWS + first, count)
            output = student.backbone(views.local_pixels(first, count), kept=kept)
            scores = student.image_scores(output, views.images)
            loss = cluster_images(
                scores, taught, len(views.crops), config, first=GLOBAL_VIEWS + first
            )
            yield _weighted({"image": (config.image_weight, loss)})

    def _crop_pairs(self, views: PairedViews, taught: TaughtPatches, step: Step) -> list[CropPair]:
        """Return what loss a compares; nothing as long as the queue is empty."""
        if not self.config.dense_weight or self.patch_queue.empty:
            return []
        return shared_regions(
            views.crops,
            views.grids,
            taught.foreground,
            cells=self.config.region_cells,
            collectives=step.collectives,
        )

    def _health(self, views: PairedViews, output: BackboneOutput) -> dict[str, Tensor]:
        teacher, student = self.teacher.module, self.student
        return {
            "teacher_distance": distance_frac(teacher.parameters(), student.parameters()),
            **feature_health(output.cls, output.patches),
            **filter_health(student.backbone, views.teacher),
        }

    def _start_prototypes(self, bank: SampleBank, step: Step) -> None:
        """Make the filter's prototypes of the samples that have filled the bank."""
        found = bank.find_prototypes(
            self.config.filter_prototypes, seed=step.seed, collectives=step.collectives
        )
        copied = [self.teacher.module] if self.config.copy_prototypes else []
        for module in [self.student, *copied]:
            assert isinstance(module.backbone, FilteredViT), "there is a bank"
            module.backbone.filter.set_prototypes(found)


def _weighted(
    parts: Mapping[str, tuple[float, Tensor]],
    carry: CoTAPCarry | None = None,
    health: dict[str, Tensor] | None = None,
) -> StepLoss[CoTAPCarry]:
    """Return the weighted sum of some parts, which are logged without their weights."""
    total = torch.stack([weight * loss for weight, loss in parts.values()]).sum()
    logged = {name: loss.detach() for name, (_, loss) in parts.items()}
    return StepLoss(total, {"loss": total.detach(), **logged}, carry, health or {})
