r"""Monotone rational-quadratic splines (Durkan et al. 2019, arXiv:1906.04032; Gregory and Delbourgo 1982).

Between knots $(x_k, y_k)$ with derivatives $\delta_k$, slope $s = (y_{k+1} - y_k) / (x_{k+1} - x_k)$ and $\xi = (x - x_k) /
(x_{k+1} - x_k)$,

$$y = y_k + (y_{k+1} - y_k) \frac{s \xi^2 + \delta_k \xi (1 - \xi)}{s + (\delta_{k+1} + \delta_k - 2 s) \xi (1 - \xi)},$$

which rises from knot to knot and is inverted by a quadratic equation. Outside the knots the map is the identity.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad, softmax

SMALLEST = 1e-3
"""Smallest bin width and height as a fraction of the range, and smallest derivative."""


@dataclass(frozen=True)
class Bin:
    """The bin that each value falls into, all `(n,)`; $\\delta$ are the derivatives at its two ends."""

    x: Tensor
    y: Tensor
    width: Tensor
    height: Tensor
    left: Tensor
    right: Tensor

    @property
    def slope(self) -> Tensor:
        """$s$, the height over the width."""
        return self.height / self.width


@dataclass(frozen=True)
class Spline:
    """One spline per row.

    Args:
        x: knots `(n, K + 1)`, increasing from `-bound` to `bound`.
        y: their images `(n, K + 1)`, likewise.
        derivatives: `(n, K + 1)`, positive; 1 at both ends, so that the tails go on smoothly.
        bound: $B$; the map is the identity outside $[-B, B]$.
    """

    x: Tensor
    y: Tensor
    derivatives: Tensor
    bound: float

    @classmethod
    def from_free(cls, widths: Tensor, heights: Tensor, derivatives: Tensor, bound: float) -> Spline:
        """From unconstrained numbers `(n, K)`, `(n, K)` and `(n, K - 1)`; zeros give the identity."""
        zero_at_one = math.log(math.expm1(1 - SMALLEST))
        inner = SMALLEST + _softplus(derivatives + zero_at_one)
        return cls(_knots(widths, bound), _knots(heights, bound), pad(inner, (1, 1), value=1.0), bound)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """$y$ and $\\log dy/dx$ of `x` `(n,)`."""
        inside = x.abs() < self.bound
        b = self._bin(self.x, x)
        xi = torch.where(inside, (x - b.x) / b.width, 0.5)
        s, product = b.slope, xi * (1 - xi)
        denominator = s + (b.right + b.left - 2 * s) * product
        y = b.y + b.height * (s * xi**2 + b.left * product) / denominator
        slope = s**2 * (b.right * xi**2 + 2 * s * product + b.left * (1 - xi) ** 2) / denominator**2
        return torch.where(inside, y, x), torch.where(inside, slope.log(), 0.0)

    def inverse(self, y: Tensor) -> Tensor:
        """$x$ of `y` `(n,)`: the root $\\xi = 2c / (-b - \\sqrt{b^2 - 4ac})$ of $a \\xi^2 + b \\xi + c = 0$."""
        inside = y.abs() < self.bound
        k = self._bin(self.y, y)
        s, rise = k.slope, torch.where(inside, y - k.y, 0.5 * k.height)
        curvature = rise * (k.right + k.left - 2 * s)
        a = k.height * (s - k.left) + curvature
        b = k.height * k.left - curvature
        c = -s * rise
        xi = 2 * c / (-b - (b**2 - 4 * a * c).clamp(min=0).sqrt())
        return torch.where(inside, k.x + xi * k.width, y)

    def _bin(self, knots: Tensor, values: Tensor) -> Bin:
        below = ((knots <= values.unsqueeze(1)).sum(1, keepdim=True) - 1).clamp(0, knots.shape[1] - 2)

        def at(table: Tensor, index: Tensor) -> Tensor:
            return table.gather(1, index).squeeze(1)

        x, y, left = at(self.x, below), at(self.y, below), at(self.derivatives, below)
        x1, y1, right = at(self.x, below + 1), at(self.y, below + 1), at(self.derivatives, below + 1)
        return Bin(x, y, x1 - x, y1 - y, left, right)


def _knots(free: Tensor, bound: float) -> Tensor:
    """Knots from `-bound` to `bound` with spacings softmax(free), none below `SMALLEST` of the range."""
    bins = free.shape[1]
    share = SMALLEST + (1 - SMALLEST * bins) * softmax(free, dim=1)
    below = torch.ones(bins, bins + 1, dtype=free.dtype, device=free.device).triu(1)  # sums from the left, as one product
    return bound * (2 * (share @ below) - 1)


def _softplus(x: Tensor) -> Tensor:
    """$\\ln(1 + e^x)$, written out because ONNX Runtime has it in single precision only."""
    return x.clamp(min=0) + (1 + (-x.abs()).exp()).log()
