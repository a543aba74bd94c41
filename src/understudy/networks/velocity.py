r"""Velocity networks $v(x, t, c)$: where a response in the making moves at time $t$, given the features $c$.

All of them begin with an embedding of time and features,

$$e = \mathrm{silu}\Big(W_t \big(\cos k \pi t\big)_{k=0}^{K-1} + W_2\, \mathrm{silu}(W_1 c + b_1) + b\Big),$$

a cosine series being complete on $[0, 1]$, and end in

$$v(x, t, c) = g(e) \odot x + f(x, e),$$

where $g$ is linear, so that a body $f$ that is narrower than the response need not carry each number's own scale through its
neck. In between, $e$ scales and shifts normalised layers (Perez et al. 2018, arXiv:1709.07871; Peebles and Xie 2023,
arXiv:2212.09748). The last layers of $g$ and $f$ start at zero: an untrained velocity is 0, and the flow that it makes is the
identity.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from understudy.networks.dense import linear

COSINES = 8
"""$K$, terms of the cosine series in time."""


class Velocity(nn.Module, ABC):
    """`(x, t, c)` to the velocity of `x`; a subclass gives the body $f$, whose output is zero before training.

    Args:
        size: numbers in the response.
        features: numbers that encode the conditions.
        embedding: width of the embedding of time and features.
        rng: draws the initial weights; torch's own generator if None.
    """

    def __init__(self, size: int, features: int, embedding: int, rng: torch.Generator | None) -> None:
        super().__init__()
        self.register_buffer("orders", math.pi * torch.arange(COSINES), persistent=False)
        self.from_time = linear(COSINES, embedding, "glorot-uniform", rng)
        self.from_features = nn.Sequential(
            linear(features, embedding, "glorot-uniform", rng), nn.SiLU(), linear(embedding, embedding, "glorot-uniform", rng)
        )
        self.gate = zeroed(linear(embedding, size, "glorot-uniform", rng))

    orders: Tensor

    def embed(self, t: Tensor, c: Tensor) -> Tensor:
        """$e$, `(n, embedding)`, of times `(n, 1)` or `(1, 1)` and features `(n, features)`."""
        embedded: Tensor = self.from_time(torch.cos(self.orders.to(t.dtype) * t)) + self.from_features(c)
        return nn.functional.silu(embedded)

    def forward(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """$v$, `(n, size)`.

        Args:
            x: `(n, size)`.
            t: times in [0, 1], `(n, 1)`, or `(1, 1)` for one time of all.
            c: features `(n, features)`.
        """
        e = self.embed(t, self.embedded(c))
        velocity: Tensor = self.gate(e) * x + self.body(self.beside(x, c), e)
        return velocity

    def embedded(self, c: Tensor) -> Tensor:
        """The features that are embedded with the time: all of them, unless some are seen beside the response."""
        return c

    def beside(self, x: Tensor, c: Tensor) -> Tensor:
        """What the body sees: `x` alone, unless features are images of the same cells."""
        return x

    @abstractmethod
    def body(self, x: Tensor, e: Tensor) -> Tensor:
        """$f(x, e)$, `(n, size)`, of what `beside` gives and the embedding `(n, embedding)`."""


class Modulation(nn.Module):
    """$(1 + \\gamma(e))\\, h + \\beta(e)$ with linear $\\gamma$ and $\\beta$, for layers of `width` channels."""

    def __init__(self, embedding: int, width: int, rng: torch.Generator | None) -> None:
        super().__init__()
        self.scale = linear(embedding, width, "glorot-uniform", rng)
        self.shift = linear(embedding, width, "glorot-uniform", rng)

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        """Modulate `h` `(n, width)`, tokens `(n, T, width)` or images `(n, width, rows, columns)` by `e` `(n, embedding)`."""
        scale, shift = self.scale(e), self.shift(e)
        if h.ndim == 3:
            scale, shift = scale[:, None], shift[:, None]
        elif h.ndim == 4:
            scale, shift = scale[:, :, None, None], shift[:, :, None, None]
        modulated: Tensor = (1 + scale) * h + shift
        return modulated


def zeroed(layer: nn.Linear) -> nn.Linear:
    """The layer with weights of zero."""
    with torch.no_grad():
        layer.weight.zero_()
    return layer
