r"""Transforms and projections.

A `Transform` is an invertible map of the response given the conditions, $y = T(x \mid c)$. It is fitted on the training
split only (weights count), keeps its fitted state in buffers, and is saved, moved to a device and exported with the
model. A `Projection` is one-way and idempotent, $P(P(x)) = P(x)$: thresholds, caps, saturation. Projections come last.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn

Tensors = Mapping[str, Tensor]
"""Conditions by block name: `(n,)` or `(n, *shape)`, physical units."""


class Transform(nn.Module, ABC):
    """An invertible map of a packed response `(n, d)` given conditions.

    Subclasses implement `_fit`, `_forward` and `_inverse`, keep fitted state in buffers, and use only operations that
    ONNX knows in `_inverse`.
    """

    fitted: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("fitted", torch.zeros((), dtype=torch.uint8))

    def fit(self, response: Tensor, conditions: Tensors, weights: Tensor | None = None) -> Self:
        """Learn the map's constants from a training sample.

        Args:
            response: `(n, d)`.
            conditions: by block name, each with `n` rows.
            weights: optional `(n,)`, may be negative; must sum to more than zero.

        Raises:
            ValueError: no events, or weights that do not sum to more than zero.
        """
        if len(response) == 0:
            raise ValueError(f"{type(self).__name__} cannot be fitted to zero events")
        if weights is not None and float(weights.sum()) <= 0:
            raise ValueError(f"{type(self).__name__} cannot be fitted: the weights sum to {float(weights.sum()):g}, not to more than zero")
        with torch.no_grad():
            self._fit(response, conditions, weights)
        self.fitted.fill_(1)
        return self

    def forward(self, response: Tensor, conditions: Tensors) -> Tensor:
        """Physical to learned space; RuntimeError if not fitted."""
        self._require_fitted()
        return self._forward(response, conditions)

    def inverse(self, response: Tensor, conditions: Tensors) -> Tensor:
        """Learned to physical space; RuntimeError if not fitted."""
        self._require_fitted()
        return self._inverse(response, conditions)

    def _require_fitted(self) -> None:
        if torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export() or torch.jit.is_tracing():
            return
        if not bool(self.fitted):
            raise RuntimeError(f"{type(self).__name__} was used before it was fitted; call fit on the training split first")

    def _fit(self, response: Tensor, conditions: Tensors, weights: Tensor | None) -> None:
        """Set the buffers; a map without constants leaves this as it is."""

    @abstractmethod
    def _forward(self, response: Tensor, conditions: Tensors) -> Tensor: ...

    @abstractmethod
    def _inverse(self, response: Tensor, conditions: Tensors) -> Tensor: ...


class Chain(Transform):
    """Transforms one after the other; the inverse goes back in reverse order."""

    def __init__(self, transforms: Sequence[Transform] = ()) -> None:
        super().__init__()
        self.transforms = nn.ModuleList(transforms)

    def _fit(self, response: Tensor, conditions: Tensors, weights: Tensor | None) -> None:
        for transform in self:
            response = transform.fit(response, conditions, weights)(response, conditions)

    def _forward(self, response: Tensor, conditions: Tensors) -> Tensor:
        for transform in self:
            response = transform(response, conditions)
        return response

    def _inverse(self, response: Tensor, conditions: Tensors) -> Tensor:
        for transform in reversed(list(self)):
            response = transform.inverse(response, conditions)
        return response

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self.transforms)


class Projection(nn.Module, ABC):
    """A one-way, idempotent map of a packed physical response: `forward(forward(x)) == forward(x)`."""

    @abstractmethod
    def forward(self, response: Tensor, conditions: Tensors) -> Tensor:
        """Project `(n, d)`."""


def condition(conditions: Tensors, name: str) -> Tensor:
    """One condition as `(n, width)`; KeyError with what there is if it is missing."""
    if name not in conditions:
        raise KeyError(f"the condition {name!r} is missing; given are {', '.join(conditions)}")
    values = conditions[name]
    return values.reshape(values.shape[0], -1)
