r"""Transforms and projections.

A `Transform` is an invertible map of the response given the conditions, $y = T(x \mid c)$. It is fitted on the training
split only (weights count), keeps its fitted state in buffers, and is saved, moved to a device and exported with the
model. A `Projection` is one-way and idempotent, $P(P(x)) = P(x)$: thresholds, caps, saturation. Projections come last.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

Tensors = Mapping[str, Tensor]
"""Conditions by block name: `(n,)` or `(n, *shape)`, physical units."""
Progress = Callable[[float], None]
"""Told the part of something that is done, 0 to 1."""
PIECE = 8192
"""Events that are transformed together where there are many."""


def silent(part: float) -> None:
    """A progress that nobody follows."""


def part_of(progress: Progress, done: int, number: int, part: float) -> None:
    """Tell that `part` of the next of `number` equal pieces is done, after `done` of them."""
    progress((done + part) / number)


class Fitted(nn.Module):
    """A module whose constants are learned from a sample, kept in buffers and restored by `load_state_dict`.

    A buffer whose shape is only known after the fit is registered empty, `torch.empty(0)`; an empty buffer takes the
    shape that is stored, so that a fresh object, built from the recipe alone, can be filled from a safetensors file.
    """

    fitted: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("fitted", torch.zeros((), dtype=torch.uint8))
        self._ready = False

    def _keep(self, **constants: Tensor) -> None:
        """Set buffers by name, in the type and on the device that they have."""
        for name, value in constants.items():
            buffer = getattr(self, name)
            setattr(self, name, value.detach().to(buffer.device, buffer.dtype).clone(memory_format=torch.contiguous_format))

    def _set_fitted(self) -> None:
        self.fitted.fill_(1)
        self._ready = True

    def _require_fitted(self) -> None:
        if not self._ready:
            raise RuntimeError(f"{type(self).__name__} was used before it was fitted; call fit on the training split first")

    def _load_from_state_dict(self, state_dict: Mapping[str, Tensor], prefix: str, *rest: Any) -> None:
        for name, buffer in self._buffers.items():
            stored = state_dict.get(prefix + name)
            if stored is not None and buffer is not None and buffer.numel() == 0:
                self._buffers[name] = buffer.new_zeros(stored.shape)
        super()._load_from_state_dict(state_dict, prefix, *rest)
        self._ready = bool(self.fitted)


def check_sample(name: str, n: int, weights: Tensor | None) -> None:
    """ValueError unless there are events and their weights, if any, are `n` and sum to more than zero."""
    if n == 0:
        raise ValueError(f"{name} cannot be fitted to zero events")
    if weights is None:
        return
    if weights.shape != (n,):
        raise ValueError(f"{name} cannot be fitted: the weights have shape {tuple(weights.shape)} where ({n},) is expected")
    if not float(weights.sum()) > 0:
        raise ValueError(f"{name} cannot be fitted: the weights sum to {float(weights.sum()):g}, not to more than zero")


class Transform(Fitted, ABC):
    """An invertible map of a packed response `(n, d)` given conditions.

    Subclasses implement `_fit`, `_forward` and `_inverse`, keep fitted state in buffers, and use only operations that
    ONNX knows in `_inverse`. One that changes the number of columns says so in `output_size`.
    """

    def fit(self, response: Tensor, conditions: Tensors, weights: Tensor | None = None, progress: Progress | None = None) -> Self:
        """Learn the map's constants from a training sample.

        Args:
            response: `(n, d)`.
            conditions: by block name, each with `n` rows.
            weights: optional `(n,)`, may be negative; must sum to more than zero.
            progress: told how far a fit is that takes long.

        Raises:
            ValueError: no events, or weights that do not sum to more than zero.
        """
        check_sample(type(self).__name__, len(response), weights)
        with torch.no_grad():
            self._fit_watched(response, conditions, weights, progress or silent)
        self._set_fitted()
        return self

    def forward(self, response: Tensor, conditions: Tensors) -> Tensor:
        """Physical to learned space, `(n, d)` to `(n, output_size(d))`; RuntimeError if not fitted."""
        self._require_fitted()
        return self._forward(response, conditions)

    def inverse(self, response: Tensor, conditions: Tensors) -> Tensor:
        """Learned to physical space, `(n, output_size(d))` to `(n, d)`; RuntimeError if not fitted."""
        self._require_fitted()
        return self._inverse(response, conditions)

    def output_size(self, d: int) -> int:
        """Number of columns that `d` columns become."""
        return d

    def _fit_watched(self, response: Tensor, conditions: Tensors, weights: Tensor | None, progress: Progress) -> None:
        """As `_fit`, for maps whose fit takes long: they tell `progress` how far it is."""
        self._fit(response, conditions, weights)

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

    def _fit_watched(self, response: Tensor, conditions: Tensors, weights: Tensor | None, progress: Progress) -> None:
        last = len(self.transforms) - 1
        for number, transform in enumerate(self):
            transform.fit(response, conditions, weights, functools.partial(part_of, progress, number, last + 1))
            if number < last:
                response = in_pieces(transform, response, conditions)

    def _forward(self, response: Tensor, conditions: Tensors) -> Tensor:
        for transform in self:
            response = transform(response, conditions)
        return response

    def _inverse(self, response: Tensor, conditions: Tensors) -> Tensor:
        for transform in reversed(list(self)):
            response = transform.inverse(response, conditions)
        return response

    def output_size(self, d: int) -> int:
        """Number of columns that `d` columns become after the last transform."""
        for transform in self:
            d = transform.output_size(d)
        return d

    def __iter__(self) -> Iterator[Transform]:
        return iter(self.transforms)  # type: ignore[arg-type]


def in_pieces(transform: Transform, response: Tensor, conditions: Tensors, rows: int = PIECE) -> Tensor:
    """`transform(response, conditions)`, `rows` events at a time: the steps in between need no memory for a whole sample."""

    def part(start: int) -> Tensor:
        piece = slice(start, start + rows)
        found: Tensor = transform(response[piece], {name: values[piece] for name, values in conditions.items()})
        return found

    first = part(0)
    whole = first.new_empty((len(response), first.shape[1]))
    whole[: len(first)] = first
    for start in range(rows, len(response), rows):
        whole[start : start + rows] = part(start)
    return whole


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
    return values.flatten(1) if values.ndim > 1 else values.unsqueeze(1)
