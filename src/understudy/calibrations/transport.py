r"""The triangular transport: from the coordinates of generated events to those that the reference would have at that rank.

One conditional flow $f$ (an affine map and a rational-quadratic spline for each coordinate, given those before it, as in
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

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from understudy.models.base import Batch, Model, Optimiser, Turn, weighted_mean
from understudy.models.rational_quadratic import Spline
from understudy.models.spline import LARGEST_LOG_SCALE

GENERATED, REFERENCE = -0.5, 0.5
"""$s$ of either sample."""
OPTIMISER = Optimiser(kind="adamw", lr=3e-3, betas=(0.9, 0.999), weight_decay=0.1, schedule="cosine", clip_norm=10.0)
BOUND = 5.0
"""Where the splines' linear tails begin, in widths."""
SMEAR = 0.05
"""Width of the smearing, over the coordinates' own."""
FARTHEST = 4.0
"""No coordinate is moved by more than this, over its width."""


class Transport(Model):
    """The flow of standardised coordinates; its conditions are the flag, and the features.

    The networks of all coordinates are evaluated together: each sees the features and all coordinates, with weights of zero
    for its own and those behind it (Germain et al. 2015, arXiv:1502.03509).

    Args:
        feature_size: numbers that encode the conditions, without the flag.
        response_size: coordinates.
        layers: hidden layers for each coordinate.
        width: neurons in each of them.
        bins: of a spline.
        optimiser: of the likelihood fit. Signed weights count with their sign.
        rng: draws the initial weights.
    """

    seen: Tensor

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
        super().__init__()
        self.noise_size, self.bins, self.optimiser = response_size, bins, optimiser
        sizes = [feature_size + response_size, *[width] * layers, 2 * (3 * bins + 1)]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for inputs, outputs in itertools.pairwise(sizes):
            limit = math.sqrt(6 / (inputs + outputs))
            self.weights.append(limit * (2 * torch.rand(response_size, inputs, outputs, generator=rng) - 1))
            self.biases.append(torch.zeros(response_size, 1, outputs))
        with torch.no_grad():
            self.weights[-1].chunk(2, 2)[1].zero_()
        before = torch.arange(response_size)[:, None] > torch.arange(response_size)
        seen = torch.cat([torch.ones(response_size, feature_size), before.float()], 1)[:, :, None]
        self.register_buffer("seen", seen, persistent=False)

    def turns(self) -> tuple[Turn, ...]:
        """One turn: maximum likelihood."""
        return (Turn("transport", tuple(self.parameters()), self.optimiser, self.loss),)

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Weighted mean of the negative log-likelihood of smeared coordinates."""
        x = batch.response
        smeared = x + SMEAR * torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return -weighted_mean(self.log_prob(smeared, batch.conditions), batch.weights)

    def log_prob(self, coordinates: Tensor, conditions: Tensor) -> Tensor:
        """$\\log p(m \\mid c, s)$, `(n,)`."""
        z, log_slope = self.whiten(coordinates, conditions)
        return (log_slope - 0.5 * (z**2 + math.log(2 * math.pi))).sum(1)

    def whiten(self, coordinates: Tensor, conditions: Tensor) -> tuple[Tensor, Tensor]:
        """$f_k$ and $\\log \\partial f_k / \\partial m_k$, both `(n, k)`."""
        flag, features = torch.split(conditions, [1, conditions.shape[1] - 1], 1)
        hidden = torch.cat([features, coordinates], 1)
        last = len(self.weights) - 1
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.matmul(hidden, weight if number else weight * self.seen) + bias
            hidden = hidden if number == last else silu(hidden)
        mean, log_scale, spline = self._map(hidden.flatten(0, 1), flag.repeat(self.noise_size, 1))
        z, log_slope = spline.forward((coordinates.T.flatten() - mean) * (-log_scale).exp())
        return z.reshape(self.noise_size, -1).T, (log_slope - log_scale).reshape(self.noise_size, -1).T

    def sample(self, noise: Tensor, conditions: Tensor) -> Tensor:
        """$f^{-1}(z; c, s)$, `(n, k)`, one coordinate after the other; splines in double precision."""
        flag, drawn = torch.split(conditions, [1, conditions.shape[1] - 1], 1)
        for k, z in enumerate(torch.split(noise, 1, 1)):
            last = len(self.weights) - 1
            hidden = drawn
            for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
                here = weight[k] if number else weight[k, : drawn.shape[1]]
                hidden = hidden @ here + bias[k]
                hidden = hidden if number == last else silu(hidden)
            mean, log_scale, spline = self._map(hidden.double(), flag.double())
            x = mean + log_scale.exp() * spline.inverse(z.squeeze(1).double())
            drawn = torch.cat([drawn, x.unsqueeze(1).to(noise.dtype)], 1)
        return torch.split(drawn, [drawn.shape[1] - self.noise_size, self.noise_size], 1)[1]

    def move(self, coordinates: Tensor, features: Tensor) -> Tensor:
        """$m' - m$ of generated standardised coordinates `(n, k)` at features `(n, c)`."""
        flag = torch.ones_like(features[:, :1])
        z, _ = self.whiten(coordinates, torch.cat([GENERATED * flag, features], 1))
        moved = self.sample(z, torch.cat([REFERENCE * flag, features], 1))
        return (moved - coordinates).clamp(-FARTHEST, FARTHEST)

    def _map(self, free: Tensor, flag: Tensor) -> tuple[Tensor, Tensor, Spline]:
        """Mean, logarithm of the scale and spline, of unconstrained parameters `(n, 2 (3 bins + 1))` and flags `(n, 1)`."""
        shared, flagged = free.chunk(2, 1)
        sizes = [1, 1, self.bins, self.bins, self.bins - 1]
        mean, log_scale, widths, heights, derivatives = torch.split(shared + flag * flagged, sizes, 1)
        log_scale = LARGEST_LOG_SCALE * torch.tanh(log_scale / LARGEST_LOG_SCALE)
        return mean.squeeze(1), log_scale.squeeze(1), Spline.from_free(widths, heights, derivatives, BOUND)
