r"""Normalisation of images, channel by channel.

- `batch`: $\hat x = \gamma (x - \mu_B)/\sigma_B + \beta$ with the mean and spread over the batch (Ioffe and Szegedy 2015,
  arXiv:1502.03167); running means of both in evaluation.
- `virtual-batch`: with the statistics of a *reference batch* that is chosen once and passes through the network along with every
  other, and of the event itself, which counts as one event more (Salimans et al. 2016, arXiv:1606.03498, section 3.4). An event's
  output then does not depend on which others are in its batch. Evaluation uses what the reference batch had in the last pass of
  the training.
- `none`.

A gradient penalty holds for each event by itself and forbids `batch` in a critic; `virtual-batch` is allowed.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Norm = Literal["batch", "virtual-batch", "none"]
EPSILON = 1e-5


class VirtualBatchNorm(nn.Module):
    """Normalises images `(n, channels, rows, columns)`; in training the first `reference` of them are the reference batch."""

    mean: Tensor
    square: Tensor

    def __init__(self, channels: int, reference: int) -> None:
        super().__init__()
        self.reference = reference
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("square", torch.ones(1, channels, 1, 1))

    def reset_parameters(self) -> None:
        """As before training."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)
        self.mean.zero_()
        self.square.fill_(1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images of the same shape."""
        mean, square = self.mean, self.square
        if self.training:
            first = x[: self.reference]
            mean, square = first.mean((0, 2, 3), keepdim=True), first.square().mean((0, 2, 3), keepdim=True)
            with torch.no_grad():
                self.mean.copy_(mean)
                self.square.copy_(square)
        new = 1 / (self.reference + 1)
        mean = new * x.mean((2, 3), keepdim=True) + (1 - new) * mean
        square = new * x.square().mean((2, 3), keepdim=True) + (1 - new) * square
        scaled = (x - mean) * (square - mean.square() + EPSILON).rsqrt()
        normalised: Tensor = scaled * self.weight[:, None, None] + self.bias[:, None, None]
        return normalised


def normalisation(kind: Norm, channels: int, reference: int) -> nn.Module:
    """The layer that normalises images of `channels` channels; `reference` events in a reference batch."""
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    return VirtualBatchNorm(channels, reference) if kind == "virtual-batch" else nn.Identity()


def looks_at_the_batch(network: nn.Module) -> bool:
    """Whether what a network makes of an event depends, in training, on the others of its batch."""
    return any(isinstance(m, nn.BatchNorm2d) or bool(getattr(m, "looks_at_the_batch", False)) for m in network.modules())
