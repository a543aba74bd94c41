r"""The triangular transport: from the coordinates of generated events to those that the reference would have at that rank.

One conditional flow $f$ (an affine map and a rational-quadratic spline for each coordinate, given those before it; see
`models/spline.py`) is trained by maximum likelihood on both samples, with a flag $s = -\tfrac12$ for generated and
$+\tfrac12$ for reference events. A generated $m$ is then moved to

$$m' = f^{-1}\big(f(m;\, c,\, s = -\tfrac12);\, c,\, s = +\tfrac12\big),$$

the map of Knothe and Rosenblatt (Santambrogio, "Optimal Transport for Applied Mathematicians", ch. 2.3): it turns one
distribution into the other, rises in each coordinate given those before it, and so keeps the ranks. The parameters of
the splines are $\theta = a(h) + s\, b(h)$ with $h$ a hidden layer that both share and $b = 0$ at first: samples that do not
differ give no slope in $b$, and the map remains the identity. In training, the coordinates are smeared by a few per cent of
their width, so that no likelihood is to be gained from single values that are frequent.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from understudy.models.base import Batch, Optimiser, weighted_mean
from understudy.models.spline import SplineFlow
from understudy.networks.dense import Dense

GENERATED, REFERENCE = -0.5, 0.5
"""$s$ of either sample."""
OPTIMISER = Optimiser(kind="adamw", lr=3e-3, betas=(0.9, 0.999), weight_decay=0.1, schedule="cosine", clip_norm=10.0)
SMEAR = 0.03
"""Width of the smearing, over the coordinates' own."""
FARTHEST = 4.0
"""No coordinate is moved by more than this, over its width."""


class Transport(SplineFlow):
    """The flow of standardised coordinates; its features are the flag and those of the conditions.

    Args:
        feature_size: numbers that encode the conditions, without the flag.
        response_size: coordinates.
        layers: hidden layers for each coordinate.
        width: neurons in each of them.
        bins: of a spline.
        optimiser: of the likelihood fit.
        rng: draws the initial weights.
    """

    heads: ClassVar[int] = 2

    def __init__(
        self,
        *,
        feature_size: int,
        response_size: int,
        layers: int,
        width: int,
        bins: int,
        optimiser: Optimiser = OPTIMISER,
        rng: torch.Generator | None = None,
    ) -> None:
        network = {"kind": "dense", "layers": layers, "width": width, "activation": "silu"}
        super().__init__(
            feature_size=feature_size, response_size=response_size, network=network, bins=bins, optimiser=optimiser, rng=rng
        )
        with torch.no_grad():
            for dense in self.networks:
                if isinstance(dense, Dense):
                    dense.head.weight.chunk(2)[1].zero_()

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Weighted mean of the negative log-likelihood of smeared coordinates."""
        response = self.spread(batch.response, generator)
        noise = torch.randn(response.shape, generator=generator, device=response.device, dtype=response.dtype)
        return -weighted_mean(self.log_prob(response + SMEAR * noise, batch.conditions), batch.weights)

    def move(self, coordinates: Tensor, features: Tensor) -> Tensor:
        """$m' - m$ of generated standardised coordinates `(n, k)` at features `(n, c)`."""
        flag = torch.ones_like(features[:, :1])
        middle = torch.where(coordinates == self.atoms, coordinates + 0.5 * self.spreads, coordinates)
        z, _ = self.whiten(middle, torch.cat([GENERATED * flag, features], 1))
        moved = self.sample(z, torch.cat([REFERENCE * flag, features], 1))
        return (moved - middle).clamp(-FARTHEST, FARTHEST)

    def _free(self, k: int, conditions: Tensor, before: Tensor) -> Tensor:
        flag, features = conditions[:, :1], conditions[:, 1:]
        shared, flagged = super()._free(k, features, before).chunk(2, 1)
        return shared + flag * flagged
