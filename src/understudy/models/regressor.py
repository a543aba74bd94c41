r"""A regressor: one answer for given features, $\hat y = R(c)$, without noise.

With `loss: mse` it learns $\langle \|\hat y - y\|^2 \rangle$ in the learned space, whose minimum is the conditional mean.

V. Chekalina et al., Generative Models for Fast Calorimeter Simulation, section 3.3, train the regressor of the particle's
five parameters, which has the architecture of their critic, "with a perceptual loss [...] because, as we figured out, it
works better rather than standard MSE", and do not say more. A perceptual, or feature, loss (Johnson, Alahi and Fei-Fei,
arXiv:1603.08155) compares the activations of prediction and truth in several layers of a network $\phi$ that is kept fixed,

$$\mathcal{L} = \frac{1}{L} \sum_{l=1}^{L}
  \frac{\langle \|\phi_l(\hat y) - \phi_l(y)\|^2 \rangle}{\langle \|\phi_l(y) - \phi_l(y')\|^2 \rangle} .$$

There $\phi$ sees images and was trained to name what they show; here it sees five numbers, for which no trained network exists.
The reading taken here: $\phi$ is a dense network with weights drawn at random, once, and never trained. Its tanh units
saturate, so that small residuals count quadratically and large ones no further: a few events that cannot be reconstructed
do not draw the weights to themselves. The denominator, a constant that is measured on the training split over random pairs,
brings the layers to one scale. `loss: mse` is there to be compared with; which of the two is better has to be measured.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from understudy.geometry import Calorimeter
from understudy.models.base import Batch, Model, Optimiser, Spec, Turn, weighted_mean
from understudy.registry import Given, Part, factory, register

ADAM = Optimiser(lr=1e-3, betas=(0.9, 0.999), schedule="cosine")


class Embedding(nn.Module):
    r"""The fixed network $\phi$ of the perceptual loss: tanh layers with random weights, in buffers.

    Args:
        inputs: numbers that are compared.
        widths: units of each layer.
        gain: spread of a unit's argument for inputs of unit variance; the larger, the sooner large residuals count no further.
        rng: draws the weights.
    """

    scales: Tensor

    def __init__(self, inputs: int, widths: tuple[int, ...], gain: float, rng: torch.Generator | None) -> None:
        super().__init__()
        self.layers = len(widths)
        for i, (a, b) in enumerate(itertools.pairwise((inputs, *widths))):
            self.register_buffer(f"weight_{i}", gain * torch.randn(a, b, generator=rng) / a**0.5)
            self.register_buffer(f"bias_{i}", gain * (2 * torch.rand(b, generator=rng) - 1))
        self.register_buffer("scales", torch.ones(self.layers))

    def forward(self, values: Tensor) -> list[Tensor]:
        """Activations `(n, width)` of every layer for `(n, inputs)`."""
        found = []
        with torch.autocast(values.device.type, enabled=False):  # residuals are small differences
            for i in range(self.layers):
                values = torch.tanh(values @ getattr(self, f"weight_{i}") + getattr(self, f"bias_{i}"))
                found.append(values)
        return found

    def fit(self, values: Tensor) -> None:
        """Measure each layer's mean squared distance between events, `(n, inputs)`; two neighbours are a pair."""
        with torch.no_grad():
            scales = [(a - a.roll(1, 0)).square().mean() for a in self(values)]
            self.scales.copy_(torch.stack(scales).clamp(min=1e-12))

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """The perceptual distance of each event, `(n,)`."""
        parts = [(x - y).square().mean(1) / s for x, y, s in zip(self(a), self(b), self.scales, strict=True)]
        return torch.stack(parts).mean(0)


@register("models", "regressor")
class Regressor(Model):
    """Predicts a response from features.

    Args:
        feature_size: numbers that encode the conditions.
        response_size: numbers to predict.
        network: from features to prediction; `convolution` where the features are an image.
        loss: `perceptual` or `mse`.
        embedding: widths of the perceptual loss's fixed layers.
        gain: how soon large residuals count no further, see `Embedding`.
        mse: weight of the mean squared error beside the perceptual loss.
        optimiser: of the network.
        rng: draws the weights; torch's own generator if None.
        geometry: where the cells among the features sit, for a network that asks for it.
    """

    noise_size = 0

    def __init__(
        self,
        *,
        feature_size: Given[int],
        response_size: Given[int],
        network: Annotated[Spec, Part("networks")] = "dense",
        loss: Literal["perceptual", "mse"] = "perceptual",
        embedding: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (128, 128, 128),
        gain: Annotated[float, Field(gt=0)] = 1.0,
        mse: NonNegativeFloat = 0.0,
        optimiser: Optimiser = ADAM,
        rng: Given[torch.Generator | None] = None,
        geometry: Given[Calorimeter | None] = None,
    ) -> None:
        super().__init__()
        self.kind, self.mse, self.optimiser = loss, mse, optimiser
        given = {"inputs": feature_size, "outputs": response_size, "rng": rng, "geometry": geometry}
        self.network: nn.Module = factory("networks", network, "network")(**given)
        self.embedding = Embedding(response_size, tuple(embedding), gain, rng) if loss == "perceptual" else None

    def fit(
        self,
        response: Tensor,
        conditions: Tensor,
        weights: Tensor | None = None,
        given: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> None:
        """Measure the scales of the perceptual loss; a split of one event leaves them as they are."""
        if self.embedding is not None and len(response) > 1:
            self.embedding.fit(response)

    def turns(self) -> tuple[Turn, ...]:
        """One."""
        return (Turn("regressor", tuple(self.network.parameters()), self.optimiser, self.loss),)

    def sample(self, noise: Tensor, conditions: Tensor) -> Tensor:
        """The prediction `(n, d)`; `noise` is `(n, 0)`."""
        prediction: Tensor = self.network(conditions)
        return prediction

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The mean distance of prediction and truth."""
        prediction = self.network(batch.conditions).float()
        squared = (prediction - batch.response).square().mean(1)
        if self.embedding is None:
            return weighted_mean(squared, batch.weights)
        distance = self.embedding.distance(prediction, batch.response)
        return weighted_mean(distance + self.mse * squared if self.mse else distance, batch.weights)
