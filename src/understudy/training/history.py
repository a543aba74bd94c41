"""What happened in a training: mean losses per turn and the physics score, one row per evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

Row = dict[str, Any]


class Watch(Protocol):
    """Someone who looks on while a model is trained."""

    def begin(self, rounds: int, done: int) -> None:
        """The training has `rounds` rounds, of which `done` were played before (in an interrupted run)."""

    def losses(self, done: int, epoch: float, losses: Mapping[str, float]) -> None:
        """Mean losses by turn since the last call, after `done` rounds."""

    def row(self, row: Mapping[str, Any]) -> None:
        """A new row of the history."""


class Losses:
    """Losses of the turns, gathered on the device and fetched together, so that no update waits for a number.

    Args:
        names: the turns.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.sums = dict.fromkeys(names, 0.0)
        self.counts = dict.fromkeys(names, 0)
        self._waiting: list[tuple[str, int, Tensor]] = []

    def add(self, name: str, number: int, losses: Sequence[Tensor]) -> None:
        """Note the losses of a turn in round `number` (from 1)."""
        self._waiting.extend((name, number, loss) for loss in losses)

    def fetch(self) -> dict[str, float]:
        """Mean losses by turn since the last fetch, also added to the sums of the row in progress.

        Raises:
            FloatingPointError: a loss is NaN or infinite; names the first such turn and round.
        """
        if not self._waiting:
            return {}
        values = torch.stack([loss.float() for _, _, loss in self._waiting]).tolist()
        recent: dict[str, list[float]] = {}
        for (name, number, _), value in zip(self._waiting, values, strict=True):
            if not math.isfinite(value):
                raise FloatingPointError(f"the loss of turn {name!r} became {value} in round {number}")
            recent.setdefault(name, []).append(value)
        self._waiting.clear()
        for name, losses in recent.items():
            for loss in losses:  # one by one: the sum must not depend on when it was fetched
                self.sums[name] += loss
            self.counts[name] += len(losses)
        return {name: sum(losses) / len(losses) for name, losses in recent.items()}

    def means(self) -> dict[str, float]:
        """Mean loss by turn since the last row; starts the next row."""
        means = {name: self.sums[name] / self.counts[name] for name in self.sums if self.counts[name]}
        self.sums, self.counts = dict.fromkeys(self.sums, 0.0), dict.fromkeys(self.counts, 0)
        return means

    def state(self) -> dict[str, Any]:
        """The row in progress."""
        return {"sums": self.sums, "counts": self.counts}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`; losses that wait are forgotten."""
        self.sums, self.counts = dict(state["sums"]), dict(state["counts"])
        self._waiting.clear()


def scored(parts: Mapping[str, float]) -> dict[str, float | None]:
    """The named numbers of a score as JSON can hold them: NaN and infinity become None.

    Raises:
        ValueError: the number called `score` is missing.
    """
    if "score" not in parts:
        raise ValueError(f"the physics score must give a number called 'score'; it gave {', '.join(parts) or 'nothing'}")
    return {name: float(value) if math.isfinite(value) else None for name, value in parts.items()}
