"""What an auxiliary loss of a generator is."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from understudy.models.base import Batch


class Auxiliary(nn.Module, ABC):
    """A term that is added to the generator's loss, `weight` times.

    Its own parameters, if it has any, are frozen: gradients pass through it to the response alone.
    """

    weight: float

    @abstractmethod
    def forward(self, response: Tensor, batch: Batch, generator: torch.Generator) -> Tensor:
        """A scalar of generated responses `(n, d)` in the learned space, drawn for the conditions of `batch`."""
