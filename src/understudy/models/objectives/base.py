"""An adversarial objective: what the critic and the generator minimise, given the critic's scores."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor


class Objective(ABC):
    """Two losses of the scores $D(x)$ of real and $D(\\tilde x)$ of generated events.

    A generated event takes the conditions of a real one, and with them its weight, in both expectations: the conditions
    then have one distribution on both sides, and what is left to tell apart is the response given the conditions.
    """

    outputs: int = 1
    """Numbers that the critic gives of an event; with one, scores are `(n,)`, else `(n, outputs)`."""
    pairs: bool = False
    """Whether the losses are distances between events; the generator's is then `against`."""
    draws: int = 1
    """Generated events at each condition that the losses need; their scores are `(draws * n, outputs)`, draw after draw."""

    @abstractmethod
    def critic(self, real: Tensor, generated: Tensor, weights: Tensor | None) -> Tensor:
        """What the critic minimises, a scalar; scores and weights are `(n,)`."""

    @abstractmethod
    def generator(self, generated: Tensor, weights: Tensor | None) -> Tensor:
        """What the generator minimises, a scalar; scores and weights are `(n,)`."""

    def against(self, real: Tensor, generated: Tensor, weights: Tensor | None) -> Tensor:
        """What the generator minimises where the objective compares `pairs`."""
        return self.generator(generated, weights)

    def witness(self, scores: Tensor, generated: Tensor) -> Tensor:
        """The number `(n,)` whose gradient a penalty acts on, of the scores of `n` points and of the generated events."""
        return scores
