"""PW-Self's training step in plain PyTorch, as its description reads: ours is measured against it.

Everything is made in full, as DINO's published training script does and PW-Self builds on: all
tokens of all views pass the head, teacher and student have a matrix of softmax values over K for
each of their matched tokens (the teacher: of all), matches are looked up in Python, one pair of
views at a time. Nothing in it is made slow on purpose.

Source: Javidani et al. 2024, arXiv:2310.18651; Caron et al. 2021, arXiv:2104.14294.
Differs: learning rate, weight decay and momentum of the teacher stand still, for they cost nothing.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from benchmarks.reference_vit import PlainViT
from patchwise.augment.multicrop import MultiCropViews
from patchwise.configs.backbone import ViTConfig
from patchwise.configs.methods import PWSelfConfig

LEARNING_RATE, WEIGHT_DECAY, CLIP_NORM = 5e-4 * 8 / 256, 0.04, 3.0
Box = Sequence[int]  # top, left, height, width
Matches = list[tuple[list[int], list[int]]]  # of every image: teacher's tokens, student's tokens


@dataclass(frozen=True)
class Placed:
    """Where a view of one image lies in it, and its patches per side."""

    box: Box
    flip: bool
    side: int


class PlainHead(nn.Module):
    """Three-layer MLP to a unit vector, then a weight-normalised layer to K scores."""

    def __init__(self, dim: int, hidden_dim: int, bottleneck_dim: int, prototypes: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(dim, hidden_dim),
            nn.GELU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.GELU(),
            nn.Linear(hidden_dim, bottleneck_dim),
        )
        self.last = weight_norm(nn.Linear(bottleneck_dim, prototypes, bias=False))
        length = self.last.parametrizations.weight.original0
        length.data.fill_(1.0)
        length.requires_grad_(False)

    def forward(self, tokens: Tensor) -> Tensor:
        scores: Tensor = self.last(F.normalize(self.mlp(tokens), dim=-1))
        return scores


class MultiCrop(nn.Module):
    """One forward of the backbone for each resolution, one of the head for all tokens together."""

    def __init__(self, backbone: ViTConfig, method: PWSelfConfig) -> None:
        super().__init__()
        self.backbone = PlainViT(backbone)
        self.head = PlainHead(
            backbone.dim, method.head_hidden_dim, method.bottleneck_dim, method.prototypes
        )

    def forward(self, pixels: Sequence[Tensor]) -> list[Tensor]:
        """Return the scores of each resolution, [VB, 1 + N, K]."""
        tokens = [self.backbone(images) for images in pixels]
        scores = self.head(torch.cat([part.flatten(0, 1) for part in tokens]))
        parts = scores.split([part.shape[0] * part.shape[1] for part in tokens])
        return [s.unflatten(0, t.shape[:2]) for s, t in zip(parts, tokens, strict=True)]


class Reference:
    """Student, teacher, centre and optimiser, and the step that moves them."""

    def __init__(self, backbone: ViTConfig, method: PWSelfConfig, *, bf16: bool = False) -> None:
        self.config, self.bf16 = method, bf16
        self.student = MultiCrop(backbone, method)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False).eval()
        side = method.views.global_px // backbone.patch_px
        self.centre = torch.zeros(1 + side * side, method.prototypes)
        self.optimizer = torch.optim.AdamW(_groups(self.student), lr=LEARNING_RATE)

    def step(self, views: MultiCropViews) -> float:
        """Make one step of training."""
        self.student.train()
        loss, centre = self.loss(views)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        clip_each(self.student)
        self.optimizer.step()
        self.centre = centre
        follow(self.teacher, self.student, momentum=self.config.teacher_momentum)
        return float(loss.detach())

    def loss(self, views: MultiCropViews) -> tuple[Tensor, Tensor]:
        """Return the loss, and the centre as it is after the step."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            with torch.no_grad():
                teacher = self.teacher(views.pixels[:1])[0].float()
            student = [scores.float() for scores in self.student(views.pixels)]
        with torch.no_grad():
            mean = teacher.mean(dim=0)
            centred = (teacher - self.centre) / self.config.teacher_temperature
            targets = centred.softmax(dim=-1).split(views.num_images)
        predictions = [
            view
            for scores in student
            for view in (scores / self.config.student_temperature).split(views.num_images)
        ]
        total, terms = torch.zeros(()), 0
        for q, target in enumerate(targets):
            for v, prediction in enumerate(predictions):
                if v == q:
                    continue
                matches = match_views(views, q, v)
                total = total + pair_loss(target, prediction, matches)
                terms += 1
        momentum = self.config.centre_momentum
        return total / terms, self.centre * momentum + mean * (1 - momentum)


def pair_loss(target: Tensor, prediction: Tensor, matches: Matches) -> Tensor:
    """Return the cross-entropy of matched tokens: mean over an image's tokens, then over images.

    Args:
        target: The teacher's softmax values of one view [B, 1 + N, K].
        prediction: The student's scores over temperature, of another view [B, 1 + n, K].
        matches: Tokens of both that show the same place.
    """
    image = torch.tensor([i for i, (tokens, _) in enumerate(matches) for _ in tokens])
    token_q = torch.tensor([token for tokens, _ in matches for token in tokens])
    token_v = torch.tensor([token for _, tokens in matches for token in tokens])
    counts = torch.tensor([len(tokens) for tokens, _ in matches])
    log_prediction = prediction[image, token_v].log_softmax(dim=-1)
    each = -(target[image, token_q] * log_prediction).sum(dim=-1)
    return (each / counts[image]).sum() / len(matches)


def match_views(views: MultiCropViews, q: int, v: int) -> Matches:
    """Return the matched tokens of two views of every image, CLS first."""
    placed = [
        [
            Placed(box, flip, views.grids[view][0])
            for box, flip in zip(
                views.crops[view].boxes.tolist(), views.crops[view].flip.tolist(), strict=True
            )
        ]
        for view in (q, v)
    ]
    return [match_image(a, b) for a, b in zip(*placed, strict=True)]


def match_image(a: Placed, b: Placed) -> tuple[list[int], list[int]]:
    """Return the matched tokens of two views of one image."""
    down_a, down_b = _match_axis(a, b, 0)
    across_a, across_b = _match_axis(a, b, 1)
    tokens_a = [1 + row * a.side + column for row in down_a for column in across_a]
    tokens_b = [1 + row * b.side + column for row in down_b for column in across_b]
    return [0, *tokens_a], [0, *tokens_b]


def _match_axis(a: Placed, b: Placed, axis: int) -> tuple[list[int], list[int]]:
    """Return the rows (axis 0) or columns (1) of both views that show the same places."""
    start = max(a.box[axis], b.box[axis])
    end = min(a.box[axis] + a.box[2 + axis], b.box[axis] + b.box[2 + axis])
    ranges = [_covered(view, axis, start, max(0, end - start)) for view in (a, b)]
    length = min(map(len, ranges))
    thinned = [
        [indices[i * (len(indices) - 1) // max(1, length - 1)] for i in range(length)]
        for indices in ranges
    ]
    return thinned[0], thinned[1]


def _covered(view: Placed, axis: int, start: int, length: int) -> list[int]:
    """Return the patches of a view in a stretch of the image, in the image's order."""
    first = round(view.side * ((start - view.box[axis]) / view.box[2 + axis]))
    count = round(view.side * (length / view.box[2 + axis]))
    indices = [i for i in range(first, first + count) if i < view.side]
    mirrored = view.flip and axis == 1
    return [view.side - 1 - i for i in indices] if mirrored else indices


def clip_each(module: nn.Module) -> None:
    """Scale down the gradient of each parameter whose norm is too large."""
    for parameter in module.parameters():
        if parameter.grad is not None:
            scale = CLIP_NORM / (parameter.grad.norm(2) + 1e-6)
            if scale < 1:
                parameter.grad.mul_(scale)


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, *, momentum: float) -> None:
    """Move the teacher towards the student, one parameter after the other."""
    for mine, theirs in zip(teacher.parameters(), student.parameters(), strict=True):
        mine.mul_(momentum).add_((1 - momentum) * theirs.detach())


def _groups(module: nn.Module) -> list[dict[str, object]]:
    """Split parameters: biases and vectors are not decayed."""
    trained = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
    plain = [p for n, p in trained if p.ndim == 1 or n.endswith(".bias")]
    decayed = [p for n, p in trained if not (p.ndim == 1 or n.endswith(".bias"))]
    return [
        {"params": decayed, "weight_decay": WEIGHT_DECAY},
        {"params": plain, "weight_decay": 0.0},
    ]
