"""Batch normalisation of a batch of which few images are computed at a time.

Letters: b images of a part, D channels, h w rows and columns.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class WholeBatchNorm:
    """A layer's normalisation in training, by the statistics of all images, forward and backward.

    Each of these passes over all parts of the batch begins when the one before is over:

    1. `add` the maps; then `keep_statistics`.
    2. `normalise` them.
    3. `add_gradient` of what came out; then `keep_gradients`.
    4. `gradient` of what went in:
       scale / std * (g - mean(g) - unit * mean(g * unit)), unit = (maps - mean) / std.

    Source: Ioffe and Szegedy 2015, arXiv:1502.03167, section 3.
    """

    def __init__(self, layer: nn.BatchNorm2d) -> None:
        self._layer = layer
        self._count = 0
        zeros = layer.weight.new_zeros(layer.num_features, dtype=torch.float64)
        self._mean, self._squares = zeros, zeros  # of distances to the mean
        self._grad, self._grad_unit = zeros, zeros  # sums of g and of g * unit

    def add(self, maps: Float[Tensor, "b D h w"]) -> None:
        """Count maps in: Chan et al.'s way to join means and variances of two parts."""
        values = _rows(maps)
        mean = values.mean(dim=0)
        squares = (values - mean).square_().sum(dim=0).double()
        count = self._count + len(values)
        shift = mean.double() - self._mean
        self._squares = self._squares + squares + shift**2 * (self._count * len(values) / count)
        self._mean = self._mean + shift * (len(values) / count)
        self._count = count

    @torch.no_grad()
    def keep_statistics(self) -> None:
        """End the first pass: the layer's running statistics follow."""
        layer = self._layer
        dtype = layer.weight.dtype
        self._scaled_by = self._mean.to(dtype), (self._squares / self._count).to(dtype)
        spread = self._squares / max(1, self._count - 1)
        for running, value in ((layer.running_mean, self._mean), (layer.running_var, spread)):
            assert running is not None, "the layer was made with running statistics"
            assert layer.momentum is not None, "the layer was made with a momentum"
            running.lerp_(value.to(running.dtype), layer.momentum)
        assert layer.num_batches_tracked is not None, "the layer was made with running statistics"
        layer.num_batches_tracked += 1

    @torch.no_grad()
    def normalise(self, maps: Float[Tensor, "b D h w"]) -> Float[Tensor, "b D h w"]:
        """Return what the layer makes of maps."""
        layer = self._layer
        return F.batch_norm(maps, *self._scaled_by, layer.weight, layer.bias, eps=layer.eps)

    @torch.no_grad()
    def add_gradient(
        self, gradient: Float[Tensor, "b D h w"], maps: Float[Tensor, "b D h w"]
    ) -> None:
        """Count in the gradient of what was made of maps."""
        rows = _rows(gradient)
        self._grad = self._grad + rows.sum(dim=0)
        self._grad_unit = self._grad_unit + (rows * _rows(self._unit(maps))).sum(dim=0)

    @torch.no_grad()
    def keep_gradients(self) -> None:
        """End the third pass: the gradients of the layer's weights are added to theirs."""
        layer = self._layer
        for weight, total in ((layer.weight, self._grad_unit), (layer.bias, self._grad)):
            gradient = total.to(weight.dtype)
            weight.grad = gradient if weight.grad is None else weight.grad + gradient

    @torch.no_grad()
    def gradient(
        self, gradient: Float[Tensor, "b D h w"], maps: Float[Tensor, "b D h w"]
    ) -> Float[Tensor, "b D h w"]:
        """Return the gradient of maps, from that of what was made of them."""
        scale = self._layer.weight / (self._scaled_by[1] + self._layer.eps).sqrt()
        mean, mean_unit = (
            (total / self._count).to(scale.dtype)[:, None, None]
            for total in (self._grad, self._grad_unit)
        )
        return (gradient - mean - self._unit(maps) * mean_unit) * scale[:, None, None]

    def _unit(self, maps: Tensor) -> Tensor:
        return F.batch_norm(maps, *self._scaled_by, eps=self._layer.eps)


def _rows(maps: Tensor) -> Tensor:
    """Return a row of channels for each place."""
    return maps.detach().movedim(1, -1).flatten(0, -2)
