"""The way from a model's learned space to physical values and back, for losses that look at physical values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from torch import Tensor, nn

from understudy.transforms.base import Chain, Tensors


class LearnedSpace(nn.Module):
    """A stage's chain, borrowed: it follows from device to device, and is neither trained nor saved here.

    Args:
        transforms: the chain, or None where whoever holds this never asks for it.
    """

    def __init__(self, transforms: Chain | None = None) -> None:
        super().__init__()
        self._chain = (transforms,)  # inside a tuple it is no submodule

    def physical(self, response: Tensor, given: Tensors) -> Tensor:
        """Physical values `(n, D)` of a response in the learned space; RuntimeError without transforms."""
        return self._known.inverse(response, given)

    def learned(self, values: Tensor, given: Tensors) -> Tensor:
        """Physical values `(n, D)` in the learned space; RuntimeError without transforms."""
        return self._known(values, given)  # type: ignore[no-any-return]

    @property
    def _known(self) -> Chain:
        chain = self._chain[0]
        if chain is None:
            raise RuntimeError("there are no transforms to get from the learned space to physical values; hand over the stage's")
        return chain

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        applied: Any = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self._chain[0] is not None:
            self._chain[0]._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return applied  # type: ignore[no-any-return]
