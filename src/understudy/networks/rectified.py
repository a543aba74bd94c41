r"""A generator of cells that are often exactly empty: a rectified normal around each cell's mean.

$$y_c = \max(0,\; \mu_c(z, c) + \sigma_c(z, c)\, \varepsilon_c), \qquad \varepsilon_c \sim N(0, 1),$$

with one dense network for $\mu$ and $\sigma$. The latent noise $z$, shared by all cells, moves what cells have in common; each
cell's own $\varepsilon$ gives it the independent fluctuations that a network with few noise numbers has no room for, and the
rectifier its probability of being empty, $\Phi(-\mu/\sigma)$ (J. Tobin, Econometrica 26 (1958) 24).
"""

from __future__ import annotations

import itertools

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from understudy.networks.dense import ACTIVATIONS, Activation, Init, linear
from understudy.registry import Given, register

LEAST_SPREAD = 1e-3
NEVER = -0.5
"""Where the mean of a cell begins, relative to its average, if it is mostly empty."""
INITIAL_SCALE = 0.3
"""Of the weights of the last layer, so that a generator begins near the average shower."""


@register("networks", "rectified")
class Rectified(nn.Module):
    """`(n, inputs + outputs)` to cells `(n, outputs)`.

    The input is latent noise, the cells' own noise, and the features, side by side.

    Args:
        inputs: numbers of latent noise and features together.
        outputs: number of cells.
        noise: numbers of latent noise.
        layers: hidden layers.
        width: neurons in each hidden layer.
        activation: after each hidden layer.
        slope: slope of the leaky ReLU below zero.
        rectify: False leaves negative cells as they are, for transforms whose inverse takes them for empty ones, and which
            may want to know which of them is the highest.
        spread: initial $\\sigma$ in standard deviations of the cell.
        init: as of a dense network.
        rng: draws the initial weights; torch's own generator if None.
    """

    def __init__(
        self,
        *,
        inputs: Given[int],
        outputs: Given[int],
        noise: Given[int],
        layers: PositiveInt = 3,
        width: PositiveInt = 256,
        activation: Activation = "leaky-relu",
        slope: NonNegativeFloat = 0.2,
        rectify: bool = True,
        spread: PositiveFloat = 0.7,
        init: Init = "glorot-uniform",
        rng: Given[torch.Generator | None] = None,
    ) -> None:
        super().__init__()
        self.own_noise = outputs
        self.latent = noise
        self.initial_spread = spread
        self.rectify = rectify
        sizes = [inputs, *[width] * layers]
        modules: list[nn.Module] = []
        for before, after in itertools.pairwise(sizes):
            modules += [linear(before, after, init, rng), ACTIVATIONS[activation](slope)]
        self.body = nn.Sequential(*modules)
        self.last = linear(sizes[-1], 2 * outputs, init, rng)
        with torch.no_grad():
            self.last.weight.mul_(INITIAL_SCALE)

    def start(self, response: Tensor) -> None:
        """Let every cell begin at its mean and spread in `response`, the transformed training split `(n, outputs)`."""
        mean, sigma = response.mean(0), response.std(0).clamp(min=0.1) * self.initial_spread
        with torch.no_grad():
            self.last.bias.copy_(torch.cat([mean + NEVER * (mean < 1), torch.log(torch.expm1(sigma))]))

    def moments(self, latent: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """$\\mu$ and $\\sigma$ of the cells, `(n, outputs)` each."""
        free: Tensor = self.last(self.body(torch.cat([latent, features], dim=1)))
        mean, spread = free[:, : self.own_noise], free[:, self.own_noise :]
        softplus = spread.clamp(min=0.0) + torch.log(1 + torch.exp(-spread.abs()))
        return mean, softplus + LEAST_SPREAD

    def log_likelihood(self, cells: Tensor, latent: Tensor, features: Tensor) -> Tensor:
        """$\\sum_c \\ln p(y_c \\mid z, c)$ up to a constant, `(n,)`: normal above zero, $\\Phi(-\\mu/\\sigma)$ at it."""
        mean, spread = self.moments(latent, features)
        above = -0.5 * ((cells - mean) / spread) ** 2 - spread.log()
        return torch.where(cells > 0, above, torch.special.log_ndtr(-mean / spread)).sum(1)

    def forward(self, x: Tensor) -> Tensor:
        """Cells `(n, outputs)` from noise and features `(n, inputs + outputs)`."""
        latent, own, features = (
            x[:, : self.latent],
            x[:, self.latent : self.latent + self.own_noise],
            x[:, self.latent + self.own_noise :],
        )
        mean, spread = self.moments(latent, features)
        cells = mean + spread * own
        return (torch.relu(cells) if self.rectify else cells).to(x.dtype)
