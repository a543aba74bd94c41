r"""Conditional generative adversarial networks (Goodfellow et al. 2014, Mirza and Osindero 2014).

A generator $\tilde x = G(z, c)$ and a critic $D(x, c)$ play against each other; the objective says what for, a penalty keeps
the critic smooth. Where the learned space is one of uncorrelated normal scores, $G(z, c) = z + F(z, c)$ (`residual`) begins at
a Gaussian copula, and the game only has to find what that lacks. With dense networks, the Wasserstein objective, the gradient
penalty and five turns of the critic to one of the generator this is the conditional WGAN-GP (Gulrajani et al. 2017).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from understudy.geometry import Calorimeter
from understudy.models.base import Batch, Model, Optimiser, Spec, Turn, frozen, weighted_mean
from understudy.models.discrimination import (
    check_penalty,
    critic_loss,
    exchanged,
    generator_loss,
    hidden,
    mean_features_apart,
    normalise_spectrally,
    witness,
)
from understudy.models.noise_sources.base import NoiseSource
from understudy.models.objectives.base import Objective
from understudy.models.one_step import check_residual
from understudy.models.penalties.base import Penalty
from understudy.models.views.base import View
from understudy.networks.grid import image_shape
from understudy.networks.normalisation import looks_at_the_batch
from understudy.networks.rectified import Rectified
from understudy.registry import Given, Part, factory, register
from understudy.schema import Schema
from understudy.transforms.base import Chain

ADAM = Optimiser()
WARM_UP = Optimiser(lr=1e-3, betas=(0.9, 0.999), schedule="cosine")


@register("models", "gan")
class GAN(Model):
    """A generator and a critic, by default with the conditions given to both.

    Args:
        feature_size: numbers that encode the conditions, $c$.
        response_size: numbers in the response, $d$.
        generator: network from noise and features, side by side, to the response.
        critic: network from response and features, side by side, to one score.
        objective: the losses of the two.
        penalty: term of the critic's loss, or None.
        view: what the critic sees of a response besides the response itself, or None.
        critic_features: whether the critic sees the encoded conditions; without them a view must tell it what was asked for.
        auxiliaries: further terms of the generator's loss.
        noise: length of the noise vector $z$, where it is standard normal.
        noise_source: where the noise comes from instead: the training images themselves, or a Gaussian of another width.
        residual: the generator's network gives what is added to the noise, which must be as long as the response.
        critic_steps: turns of the critic in a round, each with a fresh batch.
        generator_steps: turns of the generator in a round.
        feature_matching: weight of the distance of the mean features of the critic's last layer, which then takes the place of
            the objective's loss of the generator, or None (see `models.discrimination`).
        random_labels: part of the pairs that change sides in an update of the critic.
        spectral: whether the critic is spectrally normalised.
        l1: weight of the sum of the absolute weights of the generator's linear maps in its loss. (The L1 norm of the output
            itself would do nothing behind a softmax, where it is always 1.)
        warm_up: rounds in which, before the game begins, a generator that has a likelihood (`rectified`) learns each cell's
            own distribution by it.
        warm_up_optimiser: optimiser of these rounds.
        clip_weights: largest absolute value that a weight of the critic may have after an update (the first Wasserstein
            GAN's way to keep it Lipschitz, Arjovsky et al. 2017), or None.
        generator_optimiser: optimiser of the generator.
        critic_optimiser: optimiser of the critic.
        rng: draws the initial weights; torch's own generator if None.
        geometry: where the response's cells sit, for parts that ask for it.
        schema: the events' schema, likewise.
        transforms: the stage's transforms, likewise.
        needs: trained stand-ins that the recipe names, likewise.
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
        view: Annotated[Spec | None, Part("views")] = None,
        critic_features: bool = True,
        auxiliaries: Annotated[Sequence[Spec], Part("auxiliaries")] = (),
        noise: PositiveInt = 100,
        noise_source: Annotated[Spec | None, Part("noise_sources")] = None,
        residual: bool = False,
        critic_steps: PositiveInt = 5,
        generator_steps: PositiveInt = 1,
        feature_matching: PositiveFloat | None = None,
        random_labels: Annotated[float, Field(ge=0, lt=0.5)] = 0.0,
        spectral: bool = False,
        l1: NonNegativeFloat = 0.0,
        clip_weights: PositiveFloat | None = None,
        warm_up: NonNegativeInt = 0,
        warm_up_optimiser: Optimiser = WARM_UP,
        generator_optimiser: Optimiser = ADAM,
        critic_optimiser: Optimiser = ADAM,
        rng: Given[torch.Generator | None] = None,
        geometry: Given[Calorimeter | None] = None,
        schema: Given[Schema | None] = None,
        transforms: Given[Chain | None] = None,
        needs: Given[Mapping[str, Any] | None] = None,
    ) -> None:
        super().__init__()
        image = image_shape(schema)
        self.noise_source: NoiseSource | None = None
        if noise_source is not None:
            self.noise_source = factory("noise_sources", noise_source, "noise_source")(feature_size=feature_size, image=image)
            noise = self.noise_source.size
        if residual:
            check_residual(noise, response_size)
        self.residual = residual
        self.critic_steps, self.generator_steps = critic_steps, generator_steps
        self.feature_matching, self.random_labels = feature_matching, random_labels
        self.critic_features = critic_features
        self.l1 = l1
        self.clip_weights = clip_weights
        self.warm_up, self.warm_up_optimiser = warm_up, warm_up_optimiser
        self.generator_optimiser = generator_optimiser
        self.critic_optimiser = critic_optimiser
        self.objective: Objective = factory("objectives", objective, "objective")()
        if self.objective.pairs and (feature_matching is not None or random_labels):
            raise ValueError(
                "an objective that compares pairs of events knows neither labels nor feature matching; leave 'random_labels' and"
                " 'feature_matching' out, or choose another objective"
            )
        self.penalty: Penalty | None = None if penalty is None else factory("penalties", penalty, "penalty")()
        known: dict[str, Any] = {
            "feature_size": feature_size,
            "geometry": geometry,
            "schema": schema,
            "transforms": transforms,
            "needs": needs or {},
        }
        self.view: View | None = None if view is None else factory("views", view, "view")(**known)
        self.auxiliaries = nn.ModuleList(factory("auxiliaries", a, "auxiliaries")(**known) for a in auxiliaries)
        given: dict[str, Any] = {
            "inputs": noise + feature_size,
            "outputs": response_size,
            "noise": noise,
            "rng": rng,
            "geometry": geometry,
        }
        given |= {"labels": (noise, noise + feature_size), "image": image}
        self.generator: nn.Module = factory("networks", generator, "generator")(**given)
        self.noise_size = noise + int(getattr(self.generator, "own_noise", 0))
        self.response_size = response_size
        if residual and self.noise_size > noise:
            raise ValueError("'residual' asks for a generator without noise of its own; choose another network, or leave it out")
        if warm_up and not isinstance(self.generator, Rectified):
            raise ValueError("warm_up needs a generator that has a likelihood; choose the network 'rectified', or leave it out")
        seen = response_size + (self.view.extra(response_size) if self.view is not None else 0)
        told = feature_size if critic_features else 0
        given |= {"inputs": seen + told, "outputs": self.objective.outputs, "labels": (seen, seen + told), "noise": 0}
        self.critic: nn.Module = factory("networks", critic, "critic")(**given)
        check_penalty(self.penalty, self.critic)
        self.apart = looks_at_the_batch(self.critic)
        if spectral:
            normalise_spectrally(self.critic, rng)

    def fit(
        self,
        response: Tensor,
        conditions: Tensor,
        weights: Tensor | None = None,
        given: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> None:
        """Let a generator that can begin near the average response do so, and fit the view."""
        if isinstance(self.generator, Rectified):
            self.generator.start(response)
        if self.noise_source is not None:
            self.noise_source.fit(response, conditions, weights)
        if self.view is not None:
            self.view.fit(Batch(response, conditions, weights, None, given))

    def turns(self) -> tuple[Turn, ...]:
        """The critic `critic_steps` times, then the generator `generator_steps` times."""
        critic, generator = tuple(self.critic.parameters()), tuple(self.generator.parameters())
        clip = None if self.clip_weights is None else self._clip
        return (
            *(
                [Turn("warm-up", generator, self.warm_up_optimiser, self.likelihood_loss, end=self.warm_up)]
                if self.warm_up
                else []
            ),
            Turn("critic", critic, self.critic_optimiser, self.critic_loss, self.critic_steps, clip, self.warm_up),
            Turn(
                "generator",
                generator,
                self.generator_optimiser,
                self.generator_loss,
                self.generator_steps,
                first=self.warm_up,
            ),
        )

    def sample(self, noise: Tensor, conditions: Tensor) -> Tensor:
        """$G(z, c)$, `(n, d)`, of standard normal noise `(n, noise_size)`, which a noise source makes its own of."""
        if self.noise_source is not None:
            own = noise[:, self.noise_source.size :]
            noise = torch.cat([self.noise_source(noise[:, : self.noise_source.size], conditions), own], dim=1)
        return self.made(noise, conditions)

    def made(self, noise: Tensor, conditions: Tensor) -> Tensor:
        """$G(z, c)$, `(n, d)`, of the noise that the generator takes."""
        made: Tensor = self.generator(torch.cat([noise, conditions], dim=1))
        return noise + made if self.residual else made

    def seen(self, response: Tensor, batch: Batch) -> Tensor:
        """What the critic sees of responses `(n, d)` at the conditions of `batch`: their view, `(n, D)`."""
        return response if self.view is None else self.view(response, batch)

    def score(self, seen: Tensor, conditions: Tensor) -> Tensor:
        """$D(v, c)$, `(n,)`, of views `(n, D)`; `(n, k)` where the critic judges patches, or the objective asks for vectors."""
        scores: Tensor = self.critic(torch.cat([seen, conditions], dim=1) if self.critic_features else seen)
        return scores.squeeze(1)

    def critic_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The objective's loss of the critic plus the penalty."""
        draws = self.objective.draws
        with torch.no_grad():
            generated = torch.cat(
                [self.seen(self.made(self._noise(batch, generator), batch.conditions), batch) for _ in range(draws)]
            )
            real = self.seen(batch.response, batch)
        if self.apart:
            real_scores = self.score(real, batch.conditions)
            generated_scores = self.score(generated, batch.conditions.repeat(draws, 1))
        else:
            both = self.score(torch.cat([real, generated]), batch.conditions.repeat(1 + draws, 1))
            real_scores, generated_scores = both.tensor_split([len(batch)])
        real_scores, generated_scores = exchanged(real_scores, generated_scores, self.random_labels, generator)
        loss = critic_loss(self.objective, real_scores, generated_scores, batch.weights)
        if self.penalty is not None:

            def critic(views: Tensor) -> Tensor:
                return witness(self.objective, self.score(views, batch.conditions), generated_scores)

            loss = loss + self.penalty(critic, real, generated[: len(batch)], generator)
        return loss

    def generator_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The objective's loss of the generator plus the auxiliary terms."""
        with frozen(self.critic):
            generated = self.made(self._noise(batch, generator), batch.conditions)
            others = [self.made(self._noise(batch, generator), batch.conditions) for _ in range(1, self.objective.draws)]
            loss = self.game([self.seen(response, batch) for response in (generated, *others)], batch)
        for term in self.auxiliaries:
            loss = loss + term.weight * term(generated, batch, generator)
        if self.l1:
            loss = loss + self.l1 * sum(p.abs().sum() for p in self.generator.parameters() if p.ndim > 1)
        return loss

    def game(self, draws: Sequence[Tensor], batch: Batch) -> Tensor:
        """What the generator gets from the critic for views `(n, D)`: the objective's loss, or the distance of mean features."""
        if self.objective.pairs:
            with torch.no_grad():
                real = self.score(self.seen(batch.response, batch), batch.conditions)
            made = self.score(torch.cat(list(draws)), batch.conditions.repeat(len(draws), 1))
            return self.objective.against(real, made, batch.weights)
        (seen,) = draws
        if self.feature_matching is None:
            return generator_loss(self.objective, self.score(seen, batch.conditions), batch.weights)
        with hidden(self.critic) as features:
            self.score(self.seen(batch.response, batch), batch.conditions)
            self.score(seen, batch.conditions)
        return self.feature_matching * mean_features_apart(features[0].detach(), features[1], batch.weights)

    def likelihood_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Negative log-likelihood of the cells, each by itself, per cell: what the warm-up minimises."""
        latent = self._noise(batch, generator)[:, : self.noise_size - self.response_size]
        found: Tensor = self.generator.log_likelihood(batch.response, latent, batch.conditions)  # type: ignore[operator]
        return -weighted_mean(found, batch.weights) / self.response_size

    def _clip(self) -> None:
        with torch.no_grad():
            for p in self.critic.parameters():
                p.clamp_(-self.clip_weights, self.clip_weights)  # type: ignore[operator]

    def _noise(self, batch: Batch, generator: torch.Generator) -> Tensor:
        conditions, taken = batch.conditions, 0 if self.noise_source is None else self.noise_source.size
        size = (len(batch), self.noise_size - taken)
        normal = torch.randn(size, generator=generator, device=conditions.device, dtype=conditions.dtype)
        if self.noise_source is None:
            return normal
        return torch.cat([self.noise_source.of_batch(batch, generator).to(normal.dtype), normal], dim=1)
