r"""Whether a particle is detected, as a probability.

$$P(\text{detected} \mid c) = \sigma(F(c)), \qquad \text{detected} \iff \Phi(z) < P, \quad z \sim N(0, 1),$$

with $\Phi$ the normal distribution function, so that $\Phi(z)$ is uniform. $F$ is trained by the weighted binary cross entropy, a
strictly proper scoring rule: its smallest expectation is at the true probability, which makes the network calibrated where it is
flexible enough. Weights may have either sign; the loss is linear in them.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from understudy.models.base import Batch, Model, Optimiser, Spec, Turn, last_map, weighted_mean
from understudy.registry import Given, Part, factory, register

NETWORK: dict[str, Any] = {"kind": "dense", "layers": 2, "width": 64, "activation": "silu"}
ADAM = Optimiser(lr=3e-3, betas=(0.9, 0.999), schedule="cosine")


@register("models", "detection")
class Detection(Model):
    """Draws 1 (detected) or 0 for every row.

    Args:
        feature_size: numbers that encode the conditions.
        network: from the features to the logarithm of the odds.
        optimiser: of the network.
        rng: draws the initial weights; torch's own generator if None.
    """

    noise_size = 1

    def __init__(
        self,
        *,
        feature_size: Given[int],
        network: Annotated[Spec, Part("networks")] = NETWORK,
        optimiser: Optimiser = ADAM,
        rng: Given[torch.Generator | None] = None,
    ) -> None:
        super().__init__()
        self.optimiser = optimiser
        known: dict[str, Any] = {"inputs": feature_size, "outputs": 1, "labels": (0, feature_size), "rng": rng}
        self.network: nn.Module = factory("networks", network, "network")(**known)

    def turns(self) -> tuple[Turn, ...]:
        """One: cross entropy."""
        return (Turn("detection", tuple(self.parameters()), self.optimiser, self.loss),)

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Weighted mean of the binary cross entropy; a response above one half counts as detected."""
        odds = self.log_odds(batch.conditions)
        truth = (batch.response[:, 0] > 0.5).to(odds)
        return weighted_mean(nn.functional.binary_cross_entropy_with_logits(odds, truth, reduction="none"), batch.weights)

    def misfit(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The loss."""
        return self.loss(batch, generator)

    def last_maps(self) -> list[nn.Parameter]:
        """The network's last linear map."""
        return last_map(self.network)

    def log_odds(self, features: Tensor) -> Tensor:
        """$F(c)$, `(n,)`."""
        odds: Tensor = self.network(features)
        return odds.squeeze(1)

    def probability(self, features: Tensor) -> Tensor:
        """$P(\\text{detected} \\mid c)$, `(n,)`."""
        return torch.sigmoid(self.log_odds(features))

    def drawn(self, noise: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Probability and whether detected (1 or 0), both `(n,)`, for noise `(n, 1)`."""
        probability = self.probability(features)
        uniform = 0.5 * (1 + torch.erf(noise[:, 0] / math.sqrt(2)))
        return probability, (uniform < probability).to(noise.dtype)

    def sample(self, noise: Tensor, conditions: Tensor) -> Tensor:
        """1 or 0, `(n, 1)`."""
        return self.drawn(noise, conditions)[1].unsqueeze(1)
