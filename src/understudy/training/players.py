"""A turn with all that it needs to be played: its optimiser, its learning rate and its batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from understudy.models.base import Model, Optimiser, Turn
from understudy.training.batches import Batches


def learning_rate(optimiser: Optimiser, update: int, updates: int) -> float:
    """Learning rate of update number `update` (from 0) of `updates`."""
    if optimiser.schedule == "cosine":
        return optimiser.lr * 0.5 * (1 + math.cos(math.pi * update / updates))
    if optimiser.schedule == "exponential":
        return float(optimiser.lr * optimiser.decay ** (update / 1000))
    return optimiser.lr


class Player:
    """Plays one turn: `repeats` updates of the turn's parameters, each on a fresh batch.

    Args:
        turn: the turn.
        others: trainable parameters of the model that are not the turn's; no gradient is computed for them.
        batches: stream of batches.
        updates: updates in the whole training, over which the schedule stretches.
    """

    def __init__(self, turn: Turn, others: Sequence[nn.Parameter], batches: Batches, updates: int) -> None:
        self.turn = turn
        self.others = tuple(others)
        self.batches = batches
        self.updates = updates
        self.update = 0
        self.optimiser = turn.optimiser.build(turn.parameters)

    def play(self, fabric: Fabric, generator: torch.Generator) -> list[Tensor]:
        """Play the turn and return the loss of every repeat, left on the device."""
        with without_gradients(self.others):
            return [self._step(fabric, generator) for _ in range(self.turn.repeats)]

    def _step(self, fabric: Fabric, generator: torch.Generator) -> Tensor:
        rule = self.turn.optimiser
        if rule.schedule != "constant":
            for group in self.optimiser.param_groups:
                group["lr"] = learning_rate(rule, self.update, self.updates)
        with fabric.autocast():
            loss = self.turn.loss(self.batches.next(), generator)
        self.optimiser.zero_grad(set_to_none=True)
        fabric.backward(loss)
        if rule.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.turn.parameters, rule.clip_norm)
        self.optimiser.step()
        if self.turn.after is not None:
            self.turn.after()
        self.update += 1
        return loss.detach()

    def state(self) -> dict[str, Any]:
        """All that playing on depends on."""
        return {"update": self.update, "drawn": self.batches.drawn, "optimiser": self.optimiser.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.update, self.batches.drawn = state["update"], state["drawn"]
        optimiser = state["optimiser"]
        self.optimiser.load_state_dict({**optimiser, "state": {int(k): v for k, v in optimiser["state"].items()}})


@contextmanager
def without_gradients(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Switch off `requires_grad` for the time of a block."""
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def line_up(model: Model, turns: Sequence[Turn], streams: Sequence[Batches], rounds: int) -> list[Player]:
    """One player per turn, in order.

    Raises:
        ValueError: two turns of one name, a turn without parameters, repeats below one, or a turn that is never played.
    """
    if len({turn.name for turn in turns}) != len(turns):
        raise ValueError(
            f"{type(model).__name__} names its turns {', '.join(t.name for t in turns)}; every turn needs its own name"
        )
    for turn in turns:
        if not turn.parameters or turn.repeats < 1:
            raise ValueError(
                f"turn {turn.name!r} of {type(model).__name__} has {len(turn.parameters)} parameters and {turn.repeats} repeats;"
                " both must be at least one"
            )
        if rounds and not turn.rounds(rounds):
            raise ValueError(
                f"turn {turn.name!r} of {type(model).__name__} would begin after {turn.first:,} rounds, but the training has"
                f" {rounds:,}; train for more epochs or on more events, or shorten what is played before it"
            )
    trainable = {id(p): p for t in turns for p in t.parameters} | {id(p): p for p in model.parameters() if p.requires_grad}
    return [
        Player(
            turn,
            [p for i, p in trainable.items() if i not in {id(q) for q in turn.parameters}],
            stream,
            turn.rounds(rounds) * turn.repeats,
        )
        for turn, stream in zip(turns, streams, strict=True)
    ]
