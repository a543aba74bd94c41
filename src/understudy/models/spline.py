r"""A conditional flow of one number: an affine map, then a rational-quadratic spline.

$z = f(x; c) = S_c((x - \mu_c)\, e^{-\sigma_c})$ is standard normal if $x$ follows the density $p(x \mid c) = N(f(x; c); 0, 1)\,
|\partial f / \partial x|$. A small network gives $\mu_c$, $\sigma_c$ and the spline's knots; it is trained by maximum likelihood
and sampled by the closed-form inverse (Durkan et al. 2019, arXiv:1906.04032).
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn

from understudy.models.base import Batch, Model, Optimiser, Spec, Turn, weighted_mean
from understudy.models.rational_quadratic import Spline
from understudy.registry import Given, Part, factory, register

NETWORK: dict[str, Any] = {"kind": "dense", "layers": 2, "width": 64, "activation": "silu"}
OPTIMISER = Optimiser(lr=3e-3, betas=(0.9, 0.999), schedule="cosine", clip_norm=10.0)
LARGEST_LOG_SCALE = 5.0


@register("models", "spline")
class SplineFlow(Model):
    """The distribution of one number given the conditions: the energy in all cells given the true energy, say.

    Args:
        feature_size: numbers that encode the conditions.
        response_size: must be 1; the number should be standardised, the spline's knots lie within `bound` widths.
        network: from the features to the spline.
        bins: bins of the spline.
        bound: where the spline's linear tails begin, in standard deviations.
        optimiser: of the likelihood fit. Signed weights count with their sign.
        rng: draws the initial weights; torch's own generator if None.

    Raises:
        ValueError: the response has more than one number.
    """

    noise_size = 1

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
        if response_size != 1:
            raise ValueError(
                f"the model 'spline' draws one number per event, but the response has {response_size}; choose another model"
            )
        self.bins = bins
        self.bound = bound
        self.optimiser = optimiser
        given = {"inputs": feature_size, "outputs": 3 * bins + 1, "rng": rng}
        self.network: nn.Module = factory("networks", network, "network")(**given)

    def turns(self) -> tuple[Turn, ...]:
        """One turn: maximum likelihood."""
        return (Turn("flow", tuple(self.parameters()), self.optimiser, self.loss),)

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Weighted mean of the negative log-likelihood."""
        return -weighted_mean(self.log_prob(batch.response, batch.conditions), batch.weights)

    def log_prob(self, response: Tensor, conditions: Tensor) -> Tensor:
        """$\\log p(x \\mid c)$, `(n,)`."""
        z, log_slope = self.whiten(response, conditions)
        return log_slope - 0.5 * (z**2 + math.log(2 * math.pi))

    def whiten(self, response: Tensor, conditions: Tensor) -> tuple[Tensor, Tensor]:
        """$z = f(x; c)$ and $\\log \\partial f / \\partial x$, both `(n,)`."""
        mean, log_scale, spline = self._at(conditions)
        z, log_slope = spline.forward((response[:, 0] - mean) * (-log_scale).exp())
        return z, log_slope - log_scale

    def sample(self, noise: Tensor, conditions: Tensor) -> Tensor:
        """$f^{-1}(z; c)$, `(n, 1)`; in double precision inside, since a next stage may be sharp in what it draws."""
        mean, log_scale, spline = self._at(conditions, torch.float64)
        return (mean + log_scale.exp() * spline.inverse(noise[:, 0].double()))[:, None].to(noise.dtype)

    def _at(self, conditions: Tensor, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor, Spline]:
        free: Tensor = self.network(conditions).to(dtype or conditions.dtype)
        affine, widths, heights, derivatives = torch.split(free, [2, self.bins, self.bins, self.bins - 1], dim=1)
        log_scale = LARGEST_LOG_SCALE * torch.tanh(affine[:, 1] / LARGEST_LOG_SCALE)
        return affine[:, 0], log_scale, Spline.from_free(widths, heights, derivatives, self.bound)
