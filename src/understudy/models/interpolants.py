r"""Paths from noise to data, on which a flow learns its velocity.

A path $x_t = a(t)\, x_0 + b(t)\, x_1$ leads from noise $x_0 \sim N(0, 1)$ at $t = 0$ to data $x_1$ at $t = 1$ with the velocity
$\dot x_t = \dot a\, x_0 + \dot b\, x_1$ (Albergo and Vanden-Eijnden 2023, arXiv:2209.15571):

- `straight`: $a = 1 - t$, $b = t$ (Lipman et al. 2023, arXiv:2210.02747; Liu et al. 2023, arXiv:2209.03003);
- `circular`: $a = \cos \tfrac{\pi t}{2}$, $b = \sin \tfrac{\pi t}{2}$ (the trigonometric interpolant). It keeps the variance of
  data that have that of the noise: where the data are standard normal already, the mean velocity $E[\dot x_t \mid x_t]$ is
  zero at every time, while on the straight path it is $(2t - 1)\, x / (t^2 + (1 - t)^2)$, which a few steps integrate to the
  identity only roughly. In whitened spaces few steps on the circle are therefore the more exact ones.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Path = Literal["straight", "circular"]


def coefficients(path: Path, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """$a, b, \\dot a, \\dot b$ at times `t`, each of its shape."""
    if path == "straight":
        one = torch.ones_like(t)
        return 1 - t, t, -one, one
    angle = 0.5 * math.pi * t
    cos, sin = angle.cos(), angle.sin()
    return cos, sin, -0.5 * math.pi * sin, 0.5 * math.pi * cos


def on_path(path: Path, x0: Tensor, x1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """$x_t$ and $\\dot x_t$, `(n, d)` each, for noise and data `(n, d)` at times `(n, 1)`."""
    a, b, da, db = coefficients(path, t)
    return a * x0 + b * x1, da * x0 + db * x1
