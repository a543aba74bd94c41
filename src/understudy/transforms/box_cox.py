r"""The Box-Cox power transform, $y = (t^\lambda - 1)/\lambda$ with $t = 1 + x/s$.

Box and Cox, J. R. Stat. Soc. B 26 (1964) 211: $\lambda$ maximises the likelihood of a normal $y$, which with weights is

$$\ell(\lambda) = (\lambda - 1) \sum_i w_i \ln t_i - \tfrac12 \Big(\sum_i w_i\Big) \ln \sigma_w^2(y).$$

The shift $s$ lets zeros through, $y(0) = 0$ exactly. Written with $t$ rather than $x + s$ the likelihood is shifted by a
constant only, so $\lambda$ is the same.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field, PositiveFloat
from scipy.optimize import minimize_scalar
from torch import Tensor

from understudy.registry import register
from understudy.schema import Array
from understudy.transforms.base import Tensors, Transform
from understudy.transforms.functions import LARGEST_EXPONENT, expm1, log1p
from understudy.transforms.standardise import Per

LARGEST_POWER = 2.0
Power = Annotated[float, Field(ge=-LARGEST_POWER, le=LARGEST_POWER)]
DEEPEST = 3.0
"""A negative power is at least `-DEEPEST / ln t_max`, so that float32 still tells large values from each other."""
ZERO_POWER = 1e-12
"""Stands for the logarithm, lambda = 0, which it equals to the resolution of float32."""
VALUES_AT_MOST = 4_000_000
"""Values that the likelihood is summed over; of a larger sample every k-th event is taken."""


@register("transforms", "box-cox")
class BoxCox(Transform):
    """The power that makes the response most nearly normal.

    Values not above `-shift` have no power: they are refused in the fit, and taken to be just above it later on. With a negative
    power finite numbers lead to infinite energies: the inverse stops at twice the largest value of the fit.

    Args:
        shift: in the unit of the response (MeV), above 0.
        power: a fixed lambda, or None to fit it.
        per: `component` (each column its own power) or `all`.
        of: fit the power to `all` values, or to the `positive` ones. No power makes a spike at zero normal, and where most
            cells are empty the spike alone would decide; zero stays at zero whatever the power.
    """

    power: Tensor
    largest: Tensor

    def __init__(
        self,
        shift: PositiveFloat = 1.0,
        power: Power | None = None,
        per: Per = "all",
        of: Literal["all", "positive"] = "all",
    ) -> None:
        super().__init__()
        if not 0 < shift < math.inf:
            raise ValueError(f"box-cox needs a shift above 0, found {shift!r}")
        if power is not None and not abs(power) <= LARGEST_POWER:
            raise ValueError(f"box-cox needs a power from -{LARGEST_POWER:g} to {LARGEST_POWER:g}, found {power!r}")
        self.shift = float(shift)
        self.fixed = power
        self.per = per
        self.of = of
        self.register_buffer("power", torch.empty(0))
        self.register_buffer("largest", torch.tensor(LARGEST_EXPONENT))

    def _fit(self, response: Tensor, conditions: Tensors, weights: Tensor | None) -> None:
        if not bool(response.min() > -self.shift):
            raise ValueError(
                f"box-cox with shift {self.shift:g} cannot be fitted to a response that holds {response.min():g};"
                " choose a larger shift"
            )
        highest = float(response.max()) if response.numel() else 0.0
        self._keep(largest=torch.tensor(math.log1p(2 * max(highest, self.shift) / self.shift)))
        step = max(1, math.ceil(response.numel() / VALUES_AT_MOST))
        log_t = np.log1p(response[::step].double().cpu().numpy() / self.shift)
        w = np.ones(len(log_t)) if weights is None else weights[::step].double().cpu().numpy()
        if self.per == "all":
            columns, w = [log_t.ravel()], np.repeat(w, log_t.shape[1])
        else:
            columns = list(log_t.T)
        powers = [self._power(column, w) if self.fixed is None else self.fixed for column in columns]
        self._keep(power=torch.tensor([p if abs(p) > ZERO_POWER else ZERO_POWER for p in powers]))

    def _power(self, log_t: Array, weights: Array) -> float:
        kept = log_t > 0 if self.of == "positive" else slice(None)
        return fit_power(log_t[kept], weights[kept])

    def _forward(self, response: Tensor, conditions: Tensors) -> Tensor:
        return expm1(self.power * log1p(response / self.shift)) / self.power

    def _inverse(self, response: Tensor, conditions: Tensors) -> Tensor:
        log_t = log1p(self.power * response) / self.power
        return self.shift * expm1(torch.minimum(log_t, self.largest))


def log_likelihood(power: float, log_t: Array, weights: Array) -> float:
    """Profile log-likelihood of a power, up to a constant; minus infinity where signed weights leave no variance.

    Args:
        power: lambda.
        log_t: logarithms of the positive values, `(n,)`.
        weights: `(n,)`, may be negative.
    """
    y = np.expm1(power * log_t) / power if power else log_t
    total = weights.sum()
    mean = weights @ y / total
    variance = weights @ (y - mean) ** 2 / total
    if not variance > 0:
        return -math.inf
    return float((power - 1) * (weights @ log_t) - 0.5 * total * math.log(variance))


def fit_power(log_t: Array, weights: Array) -> float:
    """The power of largest likelihood: the best of a grid, then refined between its neighbours; 1 without any spread."""
    if len(log_t) == 0 or float(np.ptp(log_t)) == 0:
        return 1.0
    lowest = max(-LARGEST_POWER, -DEEPEST / max(float(log_t.max()), 1e-6))
    grid = np.linspace(lowest, LARGEST_POWER, 33)
    values = [log_likelihood(p, log_t, weights) for p in grid]
    best = int(np.argmax(values))
    if values[best] == -math.inf:
        return 1.0
    bounds = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])

    def loss(p: float) -> float:
        return min(-log_likelihood(p, log_t, weights), 1e300)

    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(found.x) if found.fun < -values[best] else float(grid[best])
