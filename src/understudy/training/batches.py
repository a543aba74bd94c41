"""Batches of the training split, in an order that depends on the seed and the position alone."""

from __future__ import annotations

import torch
from torch import Tensor

from understudy import seeds
from understudy.models.base import Batch


class Batches:
    """An endless stream of equal batches: shuffled passes over the training split, one after the other.

    Every event is drawn once before any is drawn again; a batch may hold the end of a pass and the start of the next.

    Args:
        data: the whole training split; batches are moved to `device` if it lies elsewhere.
        size: events per batch, at most `len(data)`.
        seed: seed of the training.
        purpose: what the batches are for; with the seed and the number of the pass it seeds the pass's permutation.
        device: where the batches are wanted.
    """

    def __init__(self, data: Batch, size: int, seed: int, purpose: tuple[str | int, ...], device: torch.device) -> None:
        self.data = data
        self.size = size
        self.seed, self.purpose = seed, purpose
        self.device = device
        self.drawn = 0
        self._pass = -1
        self._order = torch.empty(0, dtype=torch.long)

    def next(self) -> Batch:
        """The next batch."""
        rows = self._rows()
        self.drawn += self.size
        index = rows if self.data.index is None else self.data.index.index_select(0, rows)
        weights = None if self.data.weights is None else self.data.weights.index_select(0, rows)
        given = {name: values.index_select(0, rows) for name, values in self.data.given.items()}
        response, conditions = self.data.response.index_select(0, rows), self.data.conditions.index_select(0, rows)
        batch = Batch(response, conditions, weights, index, given)
        return batch if rows.device == self.device else moved(batch, self.device)

    def _rows(self) -> Tensor:
        turn, start = divmod(self.drawn, len(self.data))
        rows = self._permutation(turn)[start : start + self.size]
        if missing := self.size - len(rows):
            rows = torch.cat([rows, self._permutation(turn + 1)[:missing]])
        return rows

    def _permutation(self, number: int) -> Tensor:
        if number != self._pass:
            order = seeds.generator(self.seed, *self.purpose, number).permutation(len(self.data))
            self._order, self._pass = torch.from_numpy(order).to(self.data.response.device), number
        return self._order


def moved(data: Batch, device: torch.device) -> Batch:
    """`data` on `device`."""

    def move(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.to(device)

    given = {name: values.to(device) for name, values in data.given.items()}
    return Batch(data.response.to(device), data.conditions.to(device), move(data.weights), move(data.index), given)


def resident(data: Batch, device: torch.device) -> Batch:
    """`data` on `device` if it fits into half of the free memory there, else as it is."""
    if device.type == "cuda":
        tensors = [t for t in (data.response, data.conditions, data.weights, data.index, *data.given.values()) if t is not None]
        if 2 * sum(t.numel() * t.element_size() for t in tensors) > torch.cuda.mem_get_info(device)[0]:
            return data
    return moved(data, device)


def check_data(data: Batch) -> None:
    """ValueError where the training split is empty, its parts differ in length, or numbers are not finite."""
    if len(data) == 0:
        raise ValueError("the training split holds zero events; give more events or a larger training fraction")
    for name in ("response", "conditions", "weights", "index"):
        values: Tensor | None = getattr(data, name)
        if values is None:
            continue
        if len(values) != len(data):
            raise ValueError(f"the training split has {len(values)} rows of {name} where its response has {len(data)}")
        finite = torch.isfinite(values).reshape(len(values), -1).all(1)
        if not bool(finite.all()):
            bad = int((~finite).nonzero()[0])
            raise ValueError(
                f"the training split's {name} holds NaN or infinity after the transforms, in {int((~finite).sum())} of"
                f" {len(data)} events (first in row {bad}); choose transforms that suit these values, or remove the events"
            )
