r"""Mean 0 and standard deviation 1: $y = (x - \mu)/\sigma$."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from understudy.registry import register
from understudy.transforms.base import Tensors, Transform
from understudy.transforms.moments import mean_and_variance, usable

Per = Literal["component", "all"]
"""Constants of each column of its own, or the same for all."""


@register("transforms", "standardise")
class Standardise(Transform):
    """Shift and scale to mean 0 and standard deviation 1; a column without spread becomes 0.

    The inverse is accurate to the resolution of float32 relative to the mean and spread of a column, not to each value:
    where values span decades, take the logarithm first.

    Args:
        per: `component` (each column its own constants) or `all` (one mean and spread of all numbers, which keeps the
            ratios between columns).
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, per: Per = "component") -> None:
        super().__init__()
        self.per = per
        self.register_buffer("mean", torch.empty(0))
        self.register_buffer("scale", torch.empty(0))

    def _fit(self, response: Tensor, conditions: Tensors, weights: Tensor | None) -> None:
        mean, variance = mean_and_variance(response, weights)
        if self.per == "all":
            overall = mean.mean(0, keepdim=True)
            mean, variance = overall, (variance + (mean - overall) ** 2).mean(0, keepdim=True)
        mean, scale = usable(mean, variance)
        self._keep(mean=mean, scale=scale)

    def _forward(self, response: Tensor, conditions: Tensors) -> Tensor:
        return (response - self.mean) / self.scale

    def _inverse(self, response: Tensor, conditions: Tensors) -> Tensor:
        return response * self.scale + self.mean
