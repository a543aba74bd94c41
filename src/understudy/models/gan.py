r"""Conditional generative adversarial networks (Goodfellow et al. 2014, Mirza and Osindero 2014).

A generator $\tilde x = G(z, c)$ and a critic $D(x, c)$ play against each other; the objective says what for, a penalty keeps
the critic smooth. With dense networks, the Wasserstein objective, the gradient penalty and five turns of the critic to one
of the generator this is the conditional WGAN-GP (Gulrajani et al. 2017).
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from understudy.models.base import Batch, Model, Optimiser, Spec, Turn, frozen
from understudy.models.objectives.base import Objective
from understudy.models.penalties.base import Penalty
from understudy.registry import Given, Part, factory, register

ADAM = Optimiser()


@register("models", "gan")
class GAN(Model):
    """A generator and a critic, the conditions given to both.

    Args:
        feature_size: numbers that encode the conditions, $c$.
        response_size: numbers in the response, $d$.
        generator: network from noise and features, side by side, to the response.
        critic: network from response and features, side by side, to one score.
        objective: the losses of the two.
        penalty: term of the critic's loss, or None.
        noise: length of the noise vector $z$.
        critic_steps: turns of the critic to one of the generator, each with a fresh batch.
        l1: weight of the sum of the absolute weights of the generator's linear maps in its loss. (The L1 norm of the output
            itself would do nothing behind a softmax, where it is always 1.)
        generator_optimiser: optimiser of the generator.
        critic_optimiser: optimiser of the critic.
        rng: draws the initial weights; torch's own generator if None.
    """

    def __init__(
        self,
        *,
        feature_size: Given[int],
        response_size: Given[int],
        generator: Annotated[Spec, Part("networks")] = "dense",
        critic: Annotated[Spec, Part("networks")] = "dense",
        objective: Annotated[Spec, Part("objectives")] = "wasserstein",
        penalty: Annotated[Spec | None, Part("penalties")] = "gradient",
        noise: PositiveInt = 100,
        critic_steps: PositiveInt = 5,
        l1: NonNegativeFloat = 0.0,
        generator_optimiser: Optimiser = ADAM,
        critic_optimiser: Optimiser = ADAM,
        rng: Given[torch.Generator | None] = None,
    ) -> None:
        super().__init__()
        self.noise_size = noise
        self.critic_steps = critic_steps
        self.l1 = l1
        self.generator_optimiser = generator_optimiser
        self.critic_optimiser = critic_optimiser
        self.objective: Objective = factory("objectives", objective, "objective")()
        self.penalty: Penalty | None = None if penalty is None else factory("penalties", penalty, "penalty")()
        given = {"inputs": noise + feature_size, "outputs": response_size, "rng": rng}
        self.generator: nn.Module = factory("networks", generator, "generator")(**given)
        given = {"inputs": response_size + feature_size, "outputs": 1, "rng": rng}
        self.critic: nn.Module = factory("networks", critic, "critic")(**given)

    def turns(self) -> tuple[Turn, ...]:
        """The critic `critic_steps` times, then the generator once."""
        critic, generator = tuple(self.critic.parameters()), tuple(self.generator.parameters())
        return (
            Turn("critic", critic, self.critic_optimiser, self.critic_loss, self.critic_steps),
            Turn("generator", generator, self.generator_optimiser, self.generator_loss),
        )

    def sample(self, noise: Tensor, conditions: Tensor) -> Tensor:
        """$G(z, c)$, `(n, d)`."""
        response: Tensor = self.generator(torch.cat([noise, conditions], dim=1))
        return response

    def score(self, response: Tensor, conditions: Tensor) -> Tensor:
        """$D(x, c)$, `(n,)`."""
        scores: Tensor = self.critic(torch.cat([response, conditions], dim=1))
        return scores.squeeze(1)

    def critic_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The objective's loss of the critic plus the penalty."""
        with torch.no_grad():
            generated = self.sample(self._noise(batch, generator), batch.conditions)
        both = self.score(torch.cat([batch.response, generated]), torch.cat([batch.conditions, batch.conditions]))
        real_scores, generated_scores = both.chunk(2)
        loss = self.objective.critic(real_scores, generated_scores, batch.weights)
        if self.penalty is not None:
            loss = loss + self.penalty(lambda x: self.score(x, batch.conditions), batch.response, generated, generator)
        return loss

    def generator_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The objective's loss of the generator plus the L1 term."""
        with frozen(self.critic):
            generated = self.sample(self._noise(batch, generator), batch.conditions)
            loss = self.objective.generator(self.score(generated, batch.conditions), batch.weights)
        if self.l1:
            loss = loss + self.l1 * sum(p.abs().sum() for p in self.generator.parameters() if p.ndim > 1)
        return loss

    def _noise(self, batch: Batch, generator: torch.Generator) -> Tensor:
        conditions = batch.conditions
        return torch.randn((len(batch), self.noise_size), generator=generator, device=conditions.device, dtype=conditions.dtype)
