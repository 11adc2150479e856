"""Settings of CoTAP."""

from dataclasses import dataclass
from typing import Literal, get_args

from patchwise.checks import check_choice, check_positive, check_within
from patchwise.configs.neighbours import NeighboursConfig
from patchwise.configs.option import option
from patchwise.configs.views import OverlappingViewsConfig
from patchwise.errors import RangeError

Surrogate = Literal["huber", "hinge"]


@dataclass(frozen=True)
class CoTAPConfig:
    """CoTAP: dense post-training. Defaults are the paper's, arXiv:2509.09429, for ViT-S/16.

    Weights of 0 switch a part off, and what it alone needs is not computed.
    """

    name: Literal["cotap"] = option("cotap", "The method.")
    views: OverlappingViewsConfig = option(
        OverlappingViewsConfig(), "Random views of every image, which overlap."
    )
    neighbours: NeighboursConfig = option(NeighboursConfig(), "The like images of every image.")
    refresh_neighbours_epochs: float = option(
        0.0, "Epochs after which neighbours are found anew, by the student; 0: never."
    )

    dense_weight: float = option(1.0, "Of clustering the patches of two crops of an image.")
    image_weight: float = option(1.0, "Of clustering two crops of an image.")
    neighbour_weight: float = option(1.0, "Of clustering crops of an image and its neighbour.")
    ranking_weight: float = option(1.0, "Of ranking patch pairs of an image and its neighbour.")
    prototype_weight: float = option(1.0, "Of the prototypes' commitment to a few samples.")

    filter_prototypes: int = option(
        64, "Prototypes of the object-aware filter; 0: no filter, the backbone stays a plain ViT."
    )
    bank_samples: int = option(1024, "Samples that prototypes are made of, and compared with.")
    bank_samples_per_step: int = option(32, "Samples a step that enter once the bank is full.")
    copy_prototypes: bool = option(
        True,
        "The teacher gets the first prototypes when the student does; if not, as the authors do it,"
        " its moving average reaches them thousands of steps later.",
    )

    patch_prototypes: int = option(512, "Outputs of the patches' head.")
    image_prototypes: int = option(4096, "Outputs of the images' head.")
    head_hidden_dim: int = option(2048, "Width of the heads' two hidden layers.")
    bottleneck_dim: int = option(256, "Width of the vector that is compared with the prototypes.")
    head_rate_scale: float = option(10.0, "Times the peak of the learning rate, for the heads.")

    patch_temperature: float = option(0.05, "Of the assignment of the teacher's patches.")
    image_temperature: float = option(0.07, "Of the assignment of the teacher's images.")
    sinkhorn_iterations: int = option(3, "Rounds that balance the prototypes of an assignment.")
    student_temperature: float = option(0.1, "Divisor of the student's scores.")
    neighbour_student_temperature: float = option(0.2, "Likewise, where it is the neighbour's.")
    queued_patches: int = option(262_144, "Earlier patches that assignments are balanced over.")
    queued_patches_per_step: int = option(2048, "Patches a step of each process that are queued.")
    queued_images: int = option(32_768, "Earlier crops that assignments are balanced over.")
    queued_images_per_step: int = option(
        100, "Crops a step of each process that are queued; all as long as there is room."
    )

    foreground_frac: float = option(
        0.6, "Share of the teacher's CLS attention that makes the foreground; 1: everything is."
    )
    region_cells: int = option(6, "Cells, each way, of the place that two crops are compared on.")
    ranking_cells: tuple[int, ...] = option(
        (7, 14),
        "Cells, each way, of the maps whose cells are ranked; the mean over these is taken.",
    )
    ranked_cells: int = option(
        5,
        "Cells of an image that are ranked, those with most foreground; 0: all that are at least "
        "half foreground.",
    )
    strangers: int = option(
        5, "Other images' neighbours that the cells of an image are ranked with."
    )
    rank_all_processes: bool = option(
        False, "One list of the cells of all processes; if not, each ranks its own."
    )
    tau: float = option(0.5, "How far a prediction must be above those it should outrank.")
    similarity_threshold: float = option(-0.2, "Teacher's similarities up to this count nothing.")
    nonmatch_weight: float = option(0.1, "Of pairs that are not of an image and its neighbour.")
    surrogate: Surrogate = option("huber", "Shape of the ranking loss: huber or hinge.")

    teacher_momentum: float = option(0.9997, "Moving average of the teacher at the start.")
    final_teacher_momentum: float = option(0.9999, "And at the end (cosine).")
    views_per_pass: int = option(
        0, "Most local views that go through the student together; fewer need less memory; 0: all."
    )

    def __post_init__(self) -> None:
        name = "CoTAPConfig"
        check_positive(
            name,
            patch_prototypes=self.patch_prototypes,
            image_prototypes=self.image_prototypes,
            head_hidden_dim=self.head_hidden_dim,
            bottleneck_dim=self.bottleneck_dim,
            head_rate_scale=self.head_rate_scale,
            patch_temperature=self.patch_temperature,
            image_temperature=self.image_temperature,
            sinkhorn_iterations=self.sinkhorn_iterations,
            student_temperature=self.student_temperature,
            neighbour_student_temperature=self.neighbour_student_temperature,
            queued_patches=self.queued_patches,
            queued_patches_per_step=self.queued_patches_per_step,
            queued_images=self.queued_images,
            queued_images_per_step=self.queued_images_per_step,
            bank_samples=self.bank_samples,
            bank_samples_per_step=self.bank_samples_per_step,
            foreground_frac=self.foreground_frac,
            region_cells=self.region_cells,
            tau=self.tau,
        )
        check_within(
            name,
            0.0,
            1.0,
            foreground_frac=self.foreground_frac,
            nonmatch_weight=self.nonmatch_weight,
            teacher_momentum=self.teacher_momentum,
            final_teacher_momentum=self.final_teacher_momentum,
        )
        check_within(
            name,
            0.0,
            1e9,
            refresh_neighbours_epochs=self.refresh_neighbours_epochs,
            dense_weight=self.dense_weight,
            image_weight=self.image_weight,
            neighbour_weight=self.neighbour_weight,
            ranking_weight=self.ranking_weight,
            prototype_weight=self.prototype_weight,
            strangers=self.strangers,
            views_per_pass=self.views_per_pass,
        )
        check_within(name, -1.0, 1.0, similarity_threshold=self.similarity_threshold)
        check_choice(name, get_args(Surrogate), surrogate=self.surrogate)
        if not (self.trains_patches or self.trains_images):
            raise RangeError(
                f"{name}: dense_weight, image_weight, neighbour_weight or ranking_weight must be "
                f"above 0, got 0 for all: nothing would be trained"
            )
        self._check_cells()
        if self.filter_prototypes:
            check_within(name, 1, self.bank_samples, filter_prototypes=self.filter_prototypes)

    def _check_cells(self) -> None:
        name = "CoTAPConfig"
        if not self.ranking_cells:
            raise RangeError(f"{name}: ranking_cells must name at least one number, got ()")
        check_positive(name, **{f"ranking_cells[{i}]": n for i, n in enumerate(self.ranking_cells)})
        most = 2 * min(self.ranking_cells) ** 2  # in the two global views
        check_within(name, 0, most, ranked_cells=self.ranked_cells)

    @property
    def trains_patches(self) -> bool:
        """Whether any part of the loss is about patches."""
        return self.dense_weight > 0 or self.ranking_weight > 0

    @property
    def trains_images(self) -> bool:
        """Whether any part of the loss is about images as a whole."""
        return self.image_weight > 0 or self.neighbour_weight > 0
