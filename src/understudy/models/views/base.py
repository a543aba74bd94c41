r"""What a critic sees of a response.

A view $v(x, c)$ maps a response in the learned space to what the critic judges: the response itself, and numbers that are
computed from it. A WGAN then plays on the distributions of $v$ in place of $x$: a quantity that is hard to see in the cells (a
width, a barycentre) is put before the critic's eyes in its own units, and its gradient reaches the generator through $v$.
The gradient penalty holds on lines between real and generated views.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Self

from torch import Tensor, nn

from understudy.models.base import Batch
from understudy.transforms.base import Chain, Tensors


class View(nn.Module, ABC):
    """`(n, d)` in the learned space to `(n, d + extra(d))`.

    Args:
        transforms: the stage's chain, to get from the learned space to physical values. It belongs to the stage: it follows
            the view from device to device, and is neither trained nor saved with it.
    """

    def __init__(self, transforms: Chain | None = None) -> None:
        super().__init__()
        self._chain = (transforms,)  # inside a tuple it is no submodule

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
        return self._transforms.inverse(response, given)

    def learned(self, values: Tensor, given: Tensors) -> Tensor:
        """Physical values `(n, D)` in the learned space; RuntimeError where the view has no transforms."""
        return self._transforms(values, given)  # type: ignore[no-any-return]

    @property
    def _transforms(self) -> Chain:
        chain = self._chain[0]
        if chain is None:
            raise RuntimeError(f"{type(self).__name__} has no transforms to get from the learned space to physical values")
        return chain

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        applied: Any = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self._chain[0] is not None:
            self._chain[0]._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return applied  # type: ignore[no-any-return]
