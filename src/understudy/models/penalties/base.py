"""A penalty on the critic, added to its loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

Critic = Callable[[Tensor], Tensor]
"""Scores `(n,)` of responses `(n, d)`, their conditions held fixed."""


class Penalty(ABC):
    """A term of the critic's loss that depends on the critic as a function of the response."""

    @abstractmethod
    def __call__(self, critic: Critic, real: Tensor, generated: Tensor, generator: torch.Generator) -> Tensor:
        """The penalty, a scalar, times its weight.

        Args:
            critic: scores of responses.
            real: `(n, d)`.
            generated: `(n, d)`, with the same conditions row by row; no gradients flow into it.
            generator: source of randomness.
        """
