"""A shower library: real events stored with their conditions and played back.

For given conditions one of the nearest stored events is drawn ("frozen showers"; ATLAS used such libraries in its forward
calorimeters). Distances are Euclidean in the encoded conditions, so the encoder's scales decide what near means; what
changes with the energy is taken out before and put back after by the transforms. The library has no network, trains
in no time, and is the baseline that any network must beat. It invents nothing: a sample much larger than the library
repeats itself.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor

from understudy.models.base import Model, Turn
from understudy.registry import Given, register

BLOCK = 4096
"""Stored events compared at once; bounds the memory of `sample` to n x BLOCK distances."""


@register("models", "library")
class Library(Model):
    """Draws one of the `neighbours` stored events nearest in the conditions.

    Args:
        feature_size: numbers that encode the conditions.
        response_size: numbers in the response.
        neighbours: $k$, events to draw from. With 1 every request for the same conditions gets the same event; more give
            variety at fixed conditions for a little smearing in them.
        capacity: events stored at most; of more, evenly spaced ones of the training split are taken.
    """

    noise_size = 1
    features: Tensor
    responses: Tensor
    weights: Tensor

    def __init__(
        self,
        *,
        feature_size: Given[int],
        response_size: Given[int],
        neighbours: PositiveInt = 5,
        capacity: PositiveInt = 20_000,
    ) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.capacity = capacity
        self.register_buffer("features", torch.zeros(0, feature_size))
        self.register_buffer("responses", torch.zeros(0, response_size))
        self.register_buffer("weights", torch.zeros(0))

    def fit(
        self,
        response: Tensor,
        conditions: Tensor,
        weights: Tensor | None = None,
        given: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> None:
        """Store the training split.

        Among the neighbours an event is drawn with a probability proportional to its weight. A negative weight is no
        probability: such events, and those of weight zero, are left out, with a warning, and the library then describes
        the events of positive weight only.

        Raises:
            ValueError: no event of positive weight.
        """
        weights = torch.ones(len(response), device=response.device) if weights is None else weights.to(torch.float32)
        rows = torch.nonzero(weights > 0).squeeze(1)
        if len(rows) == 0:
            raise ValueError("a shower library cannot be filled: no event of the training split has a positive weight")
        if len(rows) < len(response):
            left_out = len(response) - len(rows)
            told = f"the shower library leaves out {left_out} of {len(response)} events, whose weights are not positive"
            warnings.warn(told, stacklevel=2)
        if len(rows) > self.capacity:
            rows = rows[torch.linspace(0, len(rows) - 1, self.capacity, dtype=torch.float64).round().long().to(rows.device)]
        self.features = conditions[rows].detach().clone()
        self.responses = response[rows].detach().clone()
        self.weights = weights[rows].detach().clone()

    def turns(self) -> tuple[Turn, ...]:
        """None: nothing is trained."""
        return ()

    def sample(self, noise: Tensor, conditions: Tensor) -> Tensor:
        """Stored responses `(n, d)`; RuntimeError if the library is empty."""
        near = self._nearest(conditions)
        if near.shape[1] == 1:
            return self.responses[near[:, 0]]
        summed = self.weights[near].cumsum(1)
        uniform = 0.5 * (1 + torch.erf(noise[:, 0] / math.sqrt(2)))
        passed = (uniform[:, None] * summed[:, -1:] >= summed[:, :-1]).sum(1, keepdim=True)
        return self.responses[near.gather(1, passed).squeeze(1)]

    def _nearest(self, conditions: Tensor) -> Tensor:
        """Rows of the nearest stored events, `(n, min(k, stored))`, the nearest first."""
        stored = self.features.shape[0]
        if stored == 0:
            raise RuntimeError("the shower library is empty; call fit on the training split first")
        distances, rows = [], []
        for start in range(0, stored, BLOCK):
            block = self.features[start : start + BLOCK]
            near, row = torch.topk(self._distances(conditions, block), min(self.neighbours, len(block)), dim=1, largest=False)
            distances.append(near)
            rows.append(row + start)
        if len(rows) == 1:
            return rows[0]
        best = torch.topk(torch.cat(distances, dim=1), min(self.neighbours, stored), dim=1, largest=False).indices
        return torch.cat(rows, dim=1).gather(1, best)

    def _distances(self, conditions: Tensor, block: Tensor) -> Tensor:
        """Squared distances `(n, len(block))`; expanding the squares would lose close neighbours to rounding."""
        total = torch.zeros((), device=conditions.device, dtype=conditions.dtype)
        for i in range(block.shape[1]):
            difference = conditions[:, i, None] - block[None, :, i]
            total = torch.addcmul(total, difference, difference)
        return total.expand(conditions.shape[0], block.shape[0])

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        for name in ("features", "responses", "weights"):
            if (stored := state_dict.get(prefix + name)) is not None:
                setattr(self, name, getattr(self, name).new_empty((len(stored), *getattr(self, name).shape[1:])))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
