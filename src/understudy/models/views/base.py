r"""What a critic sees of a response.

A view $v(x, c)$ maps a response in the learned space to what the critic judges: the response itself, and numbers that are
computed from it. A WGAN then plays on the distributions of $v$ in place of $x$: a quantity that is hard to see in the cells (a
width, a barycentre) is put before the critic's eyes in its own units, and its gradient reaches the generator through $v$.
The gradient penalty holds on lines between real and generated views.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from understudy.models.base import Batch
from understudy.models.learned_space import LearnedSpace
from understudy.transforms.base import Chain, Tensors


class View(nn.Module, ABC):
    """`(n, d)` in the learned space to `(n, d + extra(d))`.

    Args:
        transforms: the stage's chain, to get from the learned space to physical values.
    """

    def __init__(self, transforms: Chain | None = None) -> None:
        super().__init__()
        self.space = LearnedSpace(transforms)

    @abstractmethod
    def extra(self, response_size: int) -> int:
        """Number of columns that are added to `response_size` columns."""

    @abstractmethod
    def forward(self, response: Tensor, batch: Batch) -> Tensor:
        """The view of `response`, real or generated, at the conditions of `batch`."""

    def fit(self, batch: Batch) -> None:
        """Look at the whole training split once; most views need not."""

    def physical(self, response: Tensor, given: Tensors) -> Tensor:
        """Physical values `(n, D)` of a response in the learned space; RuntimeError where the view has no transforms."""
        return self.space.physical(response, given)

    def learned(self, values: Tensor, given: Tensors) -> Tensor:
        """Physical values `(n, D)` in the learned space; RuntimeError where the view has no transforms."""
        return self.space.learned(values, given)
