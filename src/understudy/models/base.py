r"""What a conditional generative model is.

A model draws $y = G(z \mid c)$ from noise $z \sim N(0, 1)$ and encoded conditions $c$. It learns in *turns*: a turn names
parameters, an optimiser and a loss; the training loop plays the turns in order, each `repeats` times with a fresh batch
every time. A flow has one turn, a GAN two, a BicycleGAN three, a shower library none: it only looks at the data once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, PositiveFloat
from torch import Tensor, nn

from understudy.registry import Factory

Spec = Factory | str | Mapping[str, Any]
"""How a constructor is told which part to build: a factory, the name of a kind, or a mapping with `kind`."""


@dataclass(frozen=True)
class Batch:
    """Training events as a model sees them.

    Args:
        response: transformed response `(n, d)`.
        conditions: encoded conditions (features) `(n, c)`.
        weights: optional `(n,)`, may be negative; scaled so that they average to 1 over the training split.
        index: row of each event in the training split `(n,)`.
        given: conditions by block name in physical units, for losses that look at physical values.
    """

    response: Tensor
    conditions: Tensor
    weights: Tensor | None = None
    index: Tensor | None = None
    given: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.response)


class Optimiser(BaseModel):
    """An optimiser and its learning-rate schedule, as a recipe says them.

    `schedule: cosine` falls to zero over the training, `exponential` by `decay` per 1000 updates.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["adam", "adamw", "rmsprop", "sgd"] = "adam"
    lr: PositiveFloat = 1e-4
    betas: tuple[float, float] = (0.5, 0.9)
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine", "exponential"] = "constant"
    decay: PositiveFloat = 0.9
    clip_norm: PositiveFloat | None = None

    def build(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        """The torch optimiser over `parameters`."""
        if self.kind in ("adam", "adamw"):
            cls = torch.optim.Adam if self.kind == "adam" else torch.optim.AdamW
            return cls(parameters, lr=self.lr, betas=self.betas, weight_decay=self.weight_decay, fused=True)
        if self.kind == "rmsprop":
            return torch.optim.RMSprop(parameters, lr=self.lr, weight_decay=self.weight_decay)
        return torch.optim.SGD(parameters, lr=self.lr, weight_decay=self.weight_decay)


Loss = Callable[[Batch, torch.Generator], Tensor]


@dataclass(frozen=True)
class Turn:
    """One player's move.

    Args:
        name: `critic`, `generator`, `flow`; named in the history and in errors.
        parameters: what the optimiser changes.
        optimiser: settings of the optimiser and schedule.
        loss: `(batch, generator) -> scalar`; all its randomness comes from the generator, and its backward pass reaches
            no parameters but those of this turn.
        repeats: times the turn is played in a round, with a fresh batch each time.
        after: called after every update, to bring parameters back into bounds.
        first: round (from 0) in which the turn is played first.
        end: round from which on it is not played any more; None for all rounds. Its schedule stretches over its own rounds.
    """

    name: str
    parameters: tuple[nn.Parameter, ...] = field(repr=False)
    optimiser: Optimiser
    loss: Loss = field(repr=False)
    repeats: int = 1
    after: Callable[[], None] | None = field(default=None, repr=False)
    first: int = 0
    end: int | None = None

    def played(self, number: int) -> bool:
        """Whether the turn is played in round `number` (from 0)."""
        return number >= self.first and (self.end is None or number < self.end)

    def rounds(self, total: int) -> int:
        """In how many of the first `total` rounds the turn is played."""
        return max(0, (total if self.end is None else min(self.end, total)) - self.first)


class Model(nn.Module, ABC):
    """A conditional generative model of a transformed response `(n, d)` given features `(n, c)`."""

    noise_size: int
    """Length of the noise vector; noise is standard normal `(n, noise_size)`."""

    def fit(
        self,
        response: Tensor,
        conditions: Tensor,
        weights: Tensor | None = None,
        given: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> None:
        """Look at the whole training split once, before the first turn. Most models need not.

        Args:
            response: transformed response `(n, d)`.
            conditions: features `(n, c)`.
            weights: optional `(n,)`.
            given: conditions by block name in physical units.
        """

    def take_over(self, encoder: nn.Module, transforms: nn.Module) -> bool:
        """Fill the stage's encoder and transforms with constants of another run; False, as most models, to have them fitted."""
        return False

    @abstractmethod
    def turns(self) -> tuple[Turn, ...]:
        """The turns of one round of training, in order; empty where nothing is trained."""

    def misfit(self, batch: Batch, generator: torch.Generator) -> Tensor | None:
        """How badly the model describes other events, where its loss tells that: minus a mean log-likelihood; else None."""
        return None

    def last_maps(self) -> list[nn.Parameter]:
        """Parameters of the last linear maps of its networks, where a model can tell which they are (see `training.polish`)."""
        return []

    @abstractmethod
    def sample(self, noise: Tensor, conditions: Tensor) -> Tensor:
        """Transformed response `(n, d)` for noise `(n, noise_size)` and features `(n, c)`; uses only ONNX operations."""


def last_map(network: nn.Module) -> list[nn.Parameter]:
    """Parameters of the last linear map of a network whose modules are in the order in which they are used."""
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    return list(linear[-1].parameters()) if linear else []


def weighted_mean(values: Tensor, weights: Tensor | None) -> Tensor:
    r"""$\frac{1}{n} \sum_i w_i v_i$, the unbiased batch estimate of the weighted expectation over the training split.

    The sum is not divided by the batch's own $\sum_i w_i$: signed weights may nearly cancel in a batch.

    Args:
        values: `(n,)`.
        weights: `(n,)`, averaging to 1 over the training split, or None for weights of 1.
    """
    return values.mean() if weights is None else (weights * values).mean()


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Within it, graphs that pass through `modules` leave no gradients in their parameters (inputs still get theirs)."""
    held = [p for module in modules for p in module.parameters() if p.requires_grad]
    for p in held:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in held:
            p.requires_grad_(True)
