r"""From one image to another with a latent vector: what Pix2Pix, VAE, VAE-GAN, cLR-GAN and BicycleGAN are composed of.

A generator $G(z, c)$, an encoder $E(x)$ and a discriminator $D(x, c)$, and the terms of the LHCb HCAL thesis (sections 3.1, 4.2):

- $L_\mathrm{GAN}$: the objective's game of $D$ and $G$ (`models.objectives`), on images from the prior $z \sim N(0, 1)$ and,
  where a family says so, on images from encoded ones. The discriminator sees as many real as generated images: its loss is the
  mean over the two pairs. (Thesis and papers add the terms of both kinds of generated images to one of real ones, which only
  moves the discriminator's optimum from 1/2 to 1/3, and would make a Wasserstein critic's loss unbounded.)
- $L_1^x = E\, \| x - G(E(x), c) \|_1$, or another distance: `l2`, $\tfrac12 \|\cdot\|_2^2$; `features`, that in the last hidden
  layer of the discriminator (Larsen et al. 2016).
- $L_1^z = E_{z \sim N(0, 1)}\, \| z - E(G(z, c)) \|_1$.
- $L_\mathrm{VAE} = KL(N(\mu, \Sigma)\, \|\, N(0, 1)) = \tfrac12 \sum_k (\mu_k^2 + \sigma_k^2 - 1 - \ln \sigma_k^2)$ with
  $(\mu, \ln \sigma^2) = E(x)$, and the reparametrisation $z = \mu + \Sigma^{1/2} \epsilon$ (eq. 3.1.16).

Norms are sums over cells and components, as written; all terms are means over events. A family says which terms it has, and which
network each of them teaches: see `pix2pix`, `vae`, `vae_gan`, `clr_gan`, `bicycle_gan`.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from understudy.geometry import Calorimeter
from understudy.models.base import Batch, Model, Optimiser, Spec, Turn, frozen, weighted_mean
from understudy.models.discrimination import (
    check_penalty,
    critic_loss,
    exchanged,
    features_apart,
    generator_loss,
    hidden,
    mean_features_apart,
    normalise_spectrally,
)
from understudy.models.objectives.base import Objective
from understudy.models.penalties.base import Penalty
from understudy.networks.normalisation import looks_at_the_batch
from understudy.registry import Given, Part, factory

ADAM = Optimiser(lr=1e-4, betas=(0.5, 0.999))
Distance = Literal["l1", "l2", "features"]
Form = Literal["prior", "both"]
KEYS = ("encoder", "discriminator", "lambda_x", "lambda_z", "lambda_vae", "form")
"""Arguments that not every family has."""
LARGEST = 10.0
"""Logarithms of variances are kept within minus and plus this."""


class Translation(Model):
    """The networks and terms; subclasses are families.

    Args:
        feature_size: numbers that encode the conditions, an image among them, $c$.
        response_size: numbers in the response.
        generator: network from noise and features to the response.
        encoder: network from a response to the latent vector: to its mean and log-variance where there is a KL term.
        discriminator: network from response and features, side by side, to one score or several.
        noise: length of the latent vector.
        lambda_x: weight of the distance between real and reconstructed responses.
        lambda_z: weight of the distance between latent vectors and those found by the encoder.
        lambda_vae: weight of the KL term.
        form: whether the discriminator sees images from the `prior` alone, or from `both` prior and encoder.
        distance: between real and reconstructed responses, see above.
        objective: the losses of discriminator and generator.
        penalty: term of the discriminator's loss, or None.
        feature_matching: weight of the distance of mean features, which then takes the place of the objective's loss of the
            generator, or None.
        random_labels: part of the pairs that change sides in an update of the discriminator.
        spectral: whether the discriminator is spectrally normalised.
        discriminator_steps: turns of the discriminator in a round.
        generator_steps: turns of generator and encoder in a round.
        generator_optimiser: of the generator.
        encoder_optimiser: of the encoder.
        discriminator_optimiser: of the discriminator.
        rng: draws the initial weights; torch's own generator if None.
        geometry: where the response's cells sit, for networks that ask for it.

    Raises:
        ValueError: an argument that the family does not have, or a penalty on a discriminator that looks at the batch.
    """

    DEFAULTS: ClassVar[dict[str, Any]] = {}
    """Those of `KEYS` that the family has, with what they are unless said otherwise."""

    def __init__(
        self,
        *,
        feature_size: Given[int],
        response_size: Given[int],
        generator: Annotated[Spec, Part("networks")] = "dense",
        encoder: Annotated[Spec | None, Part("networks")] = None,
        discriminator: Annotated[Spec | None, Part("networks")] = None,
        noise: PositiveInt = 64,
        lambda_x: NonNegativeFloat | None = None,
        lambda_z: NonNegativeFloat | None = None,
        lambda_vae: NonNegativeFloat | None = None,
        form: Form | None = None,
        distance: Distance = "l1",
        objective: Annotated[Spec, Part("objectives")] = "vanilla",
        penalty: Annotated[Spec | None, Part("penalties")] = None,
        feature_matching: PositiveFloat | None = None,
        random_labels: Annotated[float, Field(ge=0, lt=0.5)] = 0.0,
        spectral: bool = False,
        discriminator_steps: PositiveInt = 1,
        generator_steps: PositiveInt = 1,
        generator_optimiser: Optimiser = ADAM,
        encoder_optimiser: Optimiser = ADAM,
        discriminator_optimiser: Optimiser = ADAM,
        rng: Given[torch.Generator | None] = None,
        geometry: Given[Calorimeter | None] = None,
    ) -> None:
        super().__init__()
        said: dict[str, Any] = {
            "encoder": encoder,
            "discriminator": discriminator,
            "lambda_x": lambda_x,
            "lambda_z": lambda_z,
            "lambda_vae": lambda_vae,
            "form": form,
        }
        self._check(said)
        chosen = {key: self.DEFAULTS.get(key) if said[key] is None else said[key] for key in KEYS}
        self.lambda_x, self.lambda_z, self.lambda_vae = (float(chosen[k] or 0) for k in ("lambda_x", "lambda_z", "lambda_vae"))
        self.form = chosen["form"]
        self.distance, self.feature_matching, self.random_labels = distance, feature_matching, random_labels
        self.discriminator_steps, self.generator_steps = discriminator_steps, generator_steps
        self.generator_optimiser, self.encoder_optimiser = generator_optimiser, encoder_optimiser
        self.discriminator_optimiser = discriminator_optimiser
        self.objective: Objective = factory("objectives", objective, "objective")()
        if self.objective.pairs:
            raise ValueError("an objective that compares pairs of events is played in the model 'gan' alone; choose another")
        self.penalty: Penalty | None = None if penalty is None else factory("penalties", penalty, "penalty")()
        self.noise_size = noise
        given = {"inputs": noise + feature_size, "outputs": response_size, "noise": noise, "rng": rng, "geometry": geometry}
        self.generator: nn.Module = factory("networks", generator, "generator")(**given)
        if chosen["encoder"] is not None:
            outputs = 2 * noise if "lambda_vae" in self.DEFAULTS else noise
            given |= {"inputs": response_size, "outputs": outputs, "noise": 0}
            self.encoder: nn.Module = factory("networks", chosen["encoder"], "encoder")(**given)
        if chosen["discriminator"] is not None:
            given |= {"inputs": response_size + feature_size, "outputs": 1, "noise": 0}
            self.discriminator: nn.Module = factory("networks", chosen["discriminator"], "discriminator")(**given)
            check_penalty(self.penalty, self.discriminator)
            self.apart = looks_at_the_batch(self.discriminator)
            if spectral:
                normalise_spectrally(self.discriminator, rng)

    def _check(self, said: dict[str, Any]) -> None:
        known = [key for key in KEYS if key in self.DEFAULTS]
        if odd := [key for key, value in said.items() if value is not None and key not in self.DEFAULTS]:
            name = type(self).__name__
            raise ValueError(f"{name} has no {odd[0]!r}; of these arguments it has {', '.join(known)}: leave it out")

    def sample(self, noise: Tensor, conditions: Tensor) -> Tensor:
        """$G(z, c)$, `(n, d)`."""
        made: Tensor = self.generator(torch.cat([noise, conditions], dim=1))
        return made

    def prior(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """$z \\sim N(0, 1)$, `(n, noise)`."""
        like = batch.conditions
        return torch.randn((len(batch), self.noise_size), generator=generator, device=like.device, dtype=like.dtype)

    def encoded(self, response: Tensor) -> tuple[Tensor, Tensor]:
        """$\\mu$ and $\\ln \\sigma^2$ of the latent vector, `(n, noise)` each, of responses `(n, d)`."""
        mean, log_variance = self.encoder(response).float().chunk(2, dim=1)
        return mean, log_variance.clamp(-LARGEST, LARGEST)

    def score(self, response: Tensor, conditions: Tensor) -> Tensor:
        """$D(x, c)$, `(n, patches)`."""
        scores: Tensor = self.discriminator(torch.cat([response, conditions], dim=1)).float()
        return scores

    def judged(self, batch: Batch, generated: Tensor, generator: torch.Generator, *, penalised: bool = True) -> Tensor:
        """The discriminator's loss of real and generated responses at the conditions of `batch`."""
        c = batch.conditions
        if self.apart:
            real_scores, scores = self.score(batch.response, c), self.score(generated, c)
        else:
            real_scores, scores = self.score(torch.cat([batch.response, generated]), torch.cat([c, c])).chunk(2)
        real_scores, scores = exchanged(real_scores, scores, self.random_labels, generator)
        loss = critic_loss(self.objective, real_scores, scores, batch.weights)
        if self.penalty is not None and penalised:
            loss = loss + self.penalty(lambda x: self.score(x, c).mean(1), batch.response, generated, generator)
        return loss

    def fooled(self, batch: Batch, generated: Tensor) -> Tensor:
        """The generator's loss of the game, or the distance of mean features in its place."""
        with frozen(self.discriminator):
            if self.feature_matching is None:
                return generator_loss(self.objective, self.score(generated, batch.conditions), batch.weights)
            with hidden(self.discriminator) as seen:
                self.score(batch.response, batch.conditions)
                self.score(generated, batch.conditions)
        return self.feature_matching * mean_features_apart(seen[0].detach(), seen[1], batch.weights)

    def reconstruction(self, batch: Batch, made: Tensor) -> Tensor:
        """$\\lambda_x$ times the distance of the responses of `batch` from `made`, `(n, d)`."""
        if self.distance == "features":
            with frozen(self.discriminator), hidden(self.discriminator) as seen:
                self.score(batch.response, batch.conditions)
                self.score(made, batch.conditions)
            return self.lambda_x * features_apart(seen[0].detach(), seen[1], batch.weights)
        difference = batch.response - made
        each = difference.abs().sum(1) if self.distance == "l1" else 0.5 * difference.square().sum(1)
        return self.lambda_x * weighted_mean(each, batch.weights)

    def latent(self, batch: Batch, z: Tensor, made: Tensor) -> Tensor:
        """$\\lambda_z\\, \\| z - E(\\tilde x) \\|_1$ of responses `made` from `z`."""
        found = self.encoder(made).float()[:, : self.noise_size]
        return self.lambda_z * weighted_mean((z - found).abs().sum(1), batch.weights)

    def divergence(self, batch: Batch, mean: Tensor, log_variance: Tensor) -> Tensor:
        """$\\lambda_\\mathrm{VAE}\\, KL(N(\\mu, \\Sigma) \\| N(0, 1))$."""
        return self.lambda_vae * weighted_mean(divergence(mean, log_variance), batch.weights)

    def discriminator_turn(self, loss: Any) -> Turn:
        """The discriminator's turn."""
        parameters = tuple(self.discriminator.parameters())
        return Turn("discriminator", parameters, self.discriminator_optimiser, loss, self.discriminator_steps)

    def generator_turn(self, loss: Any) -> Turn:
        """The generator's turn."""
        return Turn("generator", tuple(self.generator.parameters()), self.generator_optimiser, loss, self.generator_steps)

    def encoder_turn(self, loss: Any) -> Turn:
        """The encoder's turn."""
        return Turn("encoder", tuple(self.encoder.parameters()), self.encoder_optimiser, loss, self.generator_steps)


def reparametrised(mean: Tensor, log_variance: Tensor, generator: torch.Generator) -> Tensor:
    r"""$z = \mu + \Sigma^{1/2} \epsilon$ with $\epsilon \sim N(0, 1)$ and a diagonal $\Sigma$ (eq. 3.1.16), `(n, noise)`."""
    epsilon = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
    return mean + (0.5 * log_variance).exp() * epsilon


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    r"""$KL(N(\mu, \Sigma) \| N(0, 1))$ of each event, `(n,)`, for a diagonal $\Sigma$."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
