"""Predicting from one crop which prototypes another crop was assigned to."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from patchwise.checks import check_positive, check_shape


def swapped_prediction_loss(
    student: Float[Tensor, "V B K"],
    target: Float[Tensor, "G B K"],
    pairs: Float[Tensor, "G V"],
    *,
    student_temperature: float = 0.1,
) -> Float[Tensor, ""]:
    """Let the student's scores of a crop predict the teacher's assignments of another one.

        loss = mean over images b of  sum_g sum_v pairs_gv *
               - sum_k target_gbk * log_softmax(student_vb / T_s)_k

    As the loss is linear in the target, the targets of a crop v are added up first.

    Args:
        student: Scores of V crops of each of B images.
        target: The teacher's assignments of G crops, from `patchwise.ops.sinkhorn.sinkhorn`.
            No gradient.
        pairs: How much each pair of crops counts, 0 for a crop and itself; with a sum of 1 the
            loss is a mean. Between neighbours, crops of both images stand in one list, and each
            pair has one of either image.
        student_temperature: Divisor of the student's scores; > 0.

    Returns:
        Scalar in nats, of float32 at least, under autocast too: log(K) times the sum of ``pairs``
        if the student's scores are all equal. 0 without images, and with weights of 0. The loss
        of a batch on several processes, B images on each, is the mean of theirs.

    Raises:
        ShapeError: Images or prototypes differ in number, or ``pairs`` is not of G x V crops.
        RangeError: The temperature is not positive.

    Source: SwAV, Caron et al. 2020, arXiv:2006.09882, equation 2; CoTAP, Wen et al. 2025,
        arXiv:2509.09429.
    Differs: nothing known.

    >>> one_hot = torch.eye(4).expand(2, 4, 4)  # 2 crops of 4 images, each its own prototype
    >>> others = torch.tensor([[0.0, 0.5], [0.5, 0.0]])
    >>> round(float(swapped_prediction_loss(torch.zeros(2, 4, 4), one_hot, others)), 4)  # log(4)
    1.3863
    """
    name = "swapped_prediction_loss"
    check_positive(name, student_temperature=student_temperature)
    check_shape(name, (None, None, None), student=student)
    views, images, prototypes = student.shape
    check_shape(name, (None, images, prototypes), target=target)
    check_shape(name, (len(target), views), pairs=pairs)
    dtype = torch.promote_types(student.dtype, torch.float32)
    with torch.autocast(student.device.type, enabled=False):
        wanted = torch.einsum("gv,gbk->vbk", pairs.to(dtype), target.detach().to(dtype))
        scores = student.to(dtype).flatten(0, 1) / student_temperature
        return F.cross_entropy(scores, wanted.flatten(0, 1), reduction="sum") / max(1, images)


class SwappedPredictionLoss(nn.Module):
    """:func:`swapped_prediction_loss` with a fixed student temperature."""

    def __init__(self, student_temperature: float = 0.1) -> None:
        super().__init__()
        check_positive("SwappedPredictionLoss", student_temperature=student_temperature)
        self.student_temperature = student_temperature

    def forward(
        self,
        student: Float[Tensor, "V B K"],
        target: Float[Tensor, "G B K"],
        pairs: Float[Tensor, "G V"],
    ) -> Float[Tensor, ""]:
        """See :func:`swapped_prediction_loss`."""
        return swapped_prediction_loss(
            student, target, pairs, student_temperature=self.student_temperature
        )
