r"""A conditional flow of a few numbers: for each, an affine map and a rational-quadratic spline given those before it.

$z_k = f_k(x_k; x_{<k}, c) = S((x_k - \mu)\, e^{-\sigma})$ is standard normal if $x$ follows the density $p(x \mid c) = \prod_k
N(f_k; 0, 1)\, |\partial f_k / \partial x_k|$. A small network for each number gives $\mu$, $\sigma$ and the spline's knots from
the conditions and the numbers before; all are trained by maximum likelihood, and sampled one after the other by the
closed-form inverse (Durkan et al. 2019, arXiv:1906.04032).

A number may have an atom at its lowest value (the energy of a layer that is often empty): there the likelihood would grow
without bound, so in training the atom is spread evenly towards the next value, over less than half of the way; whoever
decodes a sample takes what lies in the lower half of the gap for the atom.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn

from understudy.models.base import Batch, Model, Optimiser, Spec, Turn, last_map, weighted_mean
from understudy.models.likelihood import floored
from understudy.models.rational_quadratic import Spline
from understudy.registry import Given, Part, factory, register

NETWORK: dict[str, Any] = {"kind": "dense", "layers": 2, "width": 64, "activation": "silu"}
OPTIMISER = Optimiser(lr=3e-3, betas=(0.9, 0.999), schedule="cosine", clip_norm=10.0)
LARGEST_LOG_SCALE = 5.0
MOST = 64
"""Numbers per event that are drawn one after the other at most."""
ATOM = 0.005
"""Fraction of equal lowest values from which on they are an atom."""
SPREAD = 0.45
"""Part of the gap above an atom over which it is spread."""


@register("models", "spline")
class SplineFlow(Model):
    """The distribution of a few numbers given the conditions: the energies of the layers given the true energy, say.

    Args:
        feature_size: numbers that encode the conditions.
        response_size: numbers in the response; they should be standardised, the splines' knots lie within `bound` widths.
        network: from the features, and the numbers before, to a spline.
        bins: bins of a spline.
        bound: where a spline's linear tails begin, in standard deviations.
        optimiser: of the likelihood fit. Signed weights count with their sign (`likelihood.floored`).
        rng: draws the initial weights; torch's own generator if None.

    Raises:
        ValueError: the response has too many numbers to draw them one after the other.
    """

    steep = True
    """Rounding of a number moves all those after it (see `deployment.parity`)."""
    atoms: Tensor
    spreads: Tensor

    def __init__(
        self,
        *,
        feature_size: Given[int],
        response_size: Given[int],
        network: Annotated[Spec, Part("networks")] = NETWORK,
        bins: Annotated[int, Field(ge=2, le=100)] = 12,
        bound: PositiveFloat = 5.0,
        optimiser: Optimiser = OPTIMISER,
        rng: Given[torch.Generator | None] = None,
    ) -> None:
        super().__init__()
        if response_size > MOST:
            raise ValueError(
                f"the model 'spline' draws numbers one after the other, {MOST} at most, but the response has {response_size};"
                " choose another model"
            )
        self.noise_size = response_size
        self.bins = bins
        self.bound = bound
        self.optimiser = optimiser
        build = factory("networks", network, "network")
        known: dict[str, Any] = {"outputs": 3 * bins + 1, "labels": (0, feature_size), "rng": rng}
        self.networks = nn.ModuleList(build(inputs=feature_size + k, **known) for k in range(response_size))
        self.register_buffer("atoms", torch.zeros(response_size))
        self.register_buffer("spreads", torch.zeros(response_size))

    def fit(
        self,
        response: Tensor,
        conditions: Tensor,
        weights: Tensor | None = None,
        given: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> None:
        """Find the columns' atoms: equal lowest values of at least `ATOM` of the events."""
        lowest = response.min(0).values
        here = response == lowest
        above = torch.where(here, torch.inf, response).min(0).values
        is_atom = (here.float().mean(0) >= ATOM) & above.isfinite()
        self.atoms = torch.where(is_atom, lowest, 0.0).detach().clone()
        self.spreads = torch.where(is_atom, SPREAD * (above - lowest), 0.0).detach().clone()

    def turns(self) -> tuple[Turn, ...]:
        """One turn: maximum likelihood."""
        return (Turn("flow", tuple(self.parameters()), self.optimiser, self.loss),)

    def misfit(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The loss."""
        return self.loss(batch, generator)

    def last_maps(self) -> list[nn.Parameter]:
        """The last linear map of each network."""
        return [p for network in self.networks for p in last_map(network)]

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Weighted mean of the negative log-likelihood."""
        found = floored(self.log_prob(self.spread(batch.response, generator), batch.conditions), batch.response, batch.weights)
        return -weighted_mean(found, batch.weights)

    def spread(self, response: Tensor, generator: torch.Generator) -> Tensor:
        """The response `(n, d)` with atoms spread evenly over `spreads`."""
        if not bool((self.spreads > 0).any()):
            return response
        uniform = torch.rand(response.shape, generator=generator, device=response.device, dtype=response.dtype)
        here = (response == self.atoms) & (self.spreads > 0)
        return torch.where(here, response + self.spreads * uniform, response)

    def log_prob(self, response: Tensor, conditions: Tensor) -> Tensor:
        """$\\log p(x \\mid c)$, `(n,)`."""
        z, log_slope = self.whiten(response, conditions)
        return (log_slope - 0.5 * (z**2 + math.log(2 * math.pi))).sum(1)

    def whiten(self, response: Tensor, conditions: Tensor) -> tuple[Tensor, Tensor]:
        """$z_k$ and $\\log \\partial f_k / \\partial x_k$, both `(n, d)`."""
        found = []
        for k in range(self.noise_size):
            mean, log_scale, spline = self._at(k, conditions, response[:, :k])
            z, log_slope = spline.forward((response[:, k] - mean) * (-log_scale).exp())
            found.append((z, log_slope - log_scale))
        return torch.stack([z for z, _ in found], 1), torch.stack([s for _, s in found], 1)

    def sample(self, noise: Tensor, conditions: Tensor) -> Tensor:
        """$f^{-1}(z; c)$, `(n, d)`; in double precision inside, since a next stage may be sharp in what it draws."""
        drawn = noise[:, :0]
        for k in range(self.noise_size):
            mean, log_scale, spline = self._at(k, conditions, drawn, torch.float64)
            x = mean + log_scale.exp() * spline.inverse(noise[:, k].double())
            drawn = torch.cat([drawn, x[:, None].to(noise.dtype)], 1)
        return drawn

    def _at(self, k: int, conditions: Tensor, before: Tensor, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor, Spline]:
        free: Tensor = self.networks[k](torch.cat([conditions, before], 1) if k else conditions)
        affine, widths, heights, derivatives = torch.split(
            free.to(dtype or conditions.dtype), [2, self.bins, self.bins, self.bins - 1], dim=1
        )
        log_scale = LARGEST_LOG_SCALE * torch.tanh(affine[:, 1] / LARGEST_LOG_SCALE)
        return affine[:, 0], log_scale, Spline.from_free(widths, heights, derivatives, self.bound)
