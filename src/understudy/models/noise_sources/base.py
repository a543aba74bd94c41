"""What a source of noise is: what the generator is trained on, and how it is drawn from standard normal numbers afterwards."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from understudy.models.base import Batch
from understudy.transforms.base import Fitted


class NoiseSource(Fitted, ABC):
    """The noise vectors `(n, size)` of a generator."""

    size: int

    @abstractmethod
    def fit(self, response: Tensor, conditions: Tensor, weights: Tensor | None) -> None:
        """Look at the training split once: transformed responses `(n, d)`, features `(n, c)` and weights `(n,)` or None."""

    @abstractmethod
    def of_batch(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Noise `(n, size)` for the events of a batch."""

    @abstractmethod
    def forward(self, normal: Tensor, conditions: Tensor) -> Tensor:
        """Noise `(n, size)` made of standard normal numbers `(n, size)` at features `(n, c)`; uses only ONNX operations."""
