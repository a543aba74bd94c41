r"""A dense velocity network: a residual multilayer perceptron whose layers are modulated by time and features.

$$h_0 = W x, \qquad h_{l+1} = h_l + W_l\, \mathrm{silu}\,m_l(h_l, e), \qquad f = W_L\, \mathrm{silu}\,m_L(h_L, e),$$

with $m_l(h, e) = (1 + \gamma_l(e)) \odot \mathrm{LN}(h) + \beta_l(e)$, adaptive layer normalisation (Peebles and Xie 2023,
arXiv:2212.09748).
"""

from __future__ import annotations

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from understudy.networks.dense import linear
from understudy.networks.velocity import Modulation, Velocity, zeroed
from understudy.registry import Given, register


@register("velocities", "dense")
class VelocityDense(Velocity):
    """A velocity of any response.

    Args:
        size: numbers in the response.
        features: numbers that encode the conditions.
        layers: residual layers between the first and the last.
        width: neurons in each layer.
        embedding: width of the embedding of time and features.
        rng: draws the initial weights; torch's own generator if None.
    """

    def __init__(
        self,
        *,
        size: Given[int],
        features: Given[int],
        layers: NonNegativeInt = 2,
        width: PositiveInt = 256,
        embedding: PositiveInt = 64,
        rng: Given[torch.Generator | None] = None,
    ) -> None:
        super().__init__(size, features, embedding, rng)
        self.first = linear(size, width, "glorot-uniform", rng)
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in range(layers + 1))
        self.modulations = nn.ModuleList(Modulation(embedding, width, rng) for _ in range(layers + 1))
        self.hidden = nn.ModuleList(linear(width, width, "glorot-uniform", rng) for _ in range(layers))
        self.last = zeroed(linear(width, size, "glorot-uniform", rng))

    def body(self, x: Tensor, e: Tensor) -> Tensor:
        """$f(x, e)$, `(n, size)`."""
        h: Tensor = self.first(x)
        for norm, modulation, layer in zip(self.norms, self.modulations, [*self.hidden, None], strict=True):
            activated = nn.functional.silu(modulation(norm(h), e))
            h = self.last(activated) if layer is None else h + layer(activated)
        return h
