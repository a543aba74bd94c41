"""Gaussian noise of another width than one."""

from __future__ import annotations

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from understudy.models.base import Batch
from understudy.models.noise_sources.base import NoiseSource
from understudy.registry import register


@register("noise_sources", "gaussian")
class GaussianNoise(NoiseSource):
    """Independent normal numbers.

    Args:
        size: how many.
        width: their standard deviation.
    """

    def __init__(self, *, size: PositiveInt = 100, width: PositiveFloat = 1.0) -> None:
        super().__init__()
        self.size, self.width = size, width

    def fit(self, response: Tensor, conditions: Tensor, weights: Tensor | None) -> None:
        """Nothing to learn."""
        self._set_fitted()

    def of_batch(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """New noise `(n, size)`."""
        like = batch.conditions
        return self.width * torch.randn((len(batch), self.size), generator=generator, device=like.device, dtype=like.dtype)

    def forward(self, normal: Tensor, conditions: Tensor) -> Tensor:
        """`width` times the standard normal numbers."""
        return self.width * normal
