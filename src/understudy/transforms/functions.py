r"""Elementary functions that keep their precision near zero in ONNX as in torch.

ONNX has neither $\ln(1 + x)$ nor $e^x - 1$; written out, they lose all digits of small arguments. The hyperbolic
functions, which ONNX has, do not: $\ln(1 + x) = 2\,\mathrm{artanh}\frac{x}{2 + x}$ and
$e^x - 1 = \frac{2t}{1 - t}$ with $t = \tanh\frac{x}{2}$. The logistic function of ONNX Runtime is exact to 1e-7 of
1, which is all of a small fraction; written with the exponential it is exact to 1e-7 of its value.
"""

from __future__ import annotations

import torch
from torch import Tensor

LARGEST_EXPONENT = 60.0
"""Exponents are cut here, at 1e26: beyond every energy, and far from the overflow of float32 at 88."""
SMALLEST = 1e-38
"""About the smallest normal float32."""


def log1p(x: Tensor) -> Tensor:
    r"""$\ln(1 + x)$ for `x` above -1; anything below counts as just above it."""
    small = x.clamp(-0.5, 1.0)
    return torch.where(small == x, 2 * torch.atanh(small / (2 + small)), torch.log((1 + x).clamp(min=SMALLEST)))


def expm1(x: Tensor) -> Tensor:
    r"""$e^x - 1$, its exponent at most `LARGEST_EXPONENT`."""
    small = x.clamp(-1.0, 1.0)
    t = torch.tanh(small / 2)
    return torch.where(small == x, 2 * t / (1 - t), torch.exp(x.clamp(max=LARGEST_EXPONENT)) - 1)


def sigmoid(x: Tensor) -> Tensor:
    r"""$1/(1 + e^{-x})$."""
    e = torch.exp(-x.abs())
    return torch.where(x < 0, e, 1.0) / (1 + e)
