r"""Mean, width and tails of an observable, with their errors.

With weights $w_i$ that may be negative, the mean is $\mu = \sum w_i v_i / \sum w_i$ and the width the root of
$\sigma^2 = \sum w_i (v_i - \mu)^2 / \sum w_i$; their errors are those of a mean of the numbers $v_i$ and $(v_i - \mu)^2$,

$$\delta\mu = \frac{(\sum w_i^2 (v_i - \mu)^2)^{1/2}}{\sum w_i}, \qquad
  \delta\sigma = \frac{1}{2 \sigma} \frac{(\sum w_i^2 ((v_i - \mu)^2 - \sigma^2)^2)^{1/2}}{\sum w_i}.$$

A quantile $q$ lies between the values at $q \pm (q (1 - q) / n)^{1/2}$ with $n = (\sum w)^2 / \sum w^2$; it is given where
$n q$ and $n (1 - q)$ are at least ten. What a quantile is where weights are negative, `quantiles.py` says.
"""

from __future__ import annotations

import numpy as np

from understudy.schema import Array
from understudy.validation.quantiles import monotone

TAILS = (0.001, 0.01, 0.99, 0.999)
FEWEST = 10


def moments(values: Array, weights: Array | None = None) -> dict[str, float]:
    """Mean and width with errors (`mean`, `mean_error`, `width`, `width_error`) of the defined values; NaN where there are none.

    Args:
        values: `(n,)`, NaN where not defined.
        weights: `(n,)`.
    """
    v, w = _defined(values, weights)
    total = w.sum()
    if not total > 0:
        return dict.fromkeys(("mean", "mean_error", "width", "width_error"), float("nan"))
    mean = float(w @ v / total)
    square = (v - mean) ** 2
    variance = float(w @ square / total)
    width = float(np.sqrt(max(variance, 0.0)))
    mean_error = float(np.sqrt(w**2 @ square) / total)
    spread = float(np.sqrt(w**2 @ (square - variance) ** 2) / total)
    width_error = spread / (2 * width) if width > 0 else 0.0
    return {"mean": mean, "mean_error": mean_error, "width": width, "width_error": width_error}


def tails(values: Array, weights: Array | None = None) -> dict[str, dict[str, float]]:
    """Quantiles of `TAILS` by name (`0.1 %`), each `value` and `error`; those that the sample is too small for are left out."""
    v, w = _defined(values, weights)
    total = w.sum()
    if not total > 0:
        return {}
    order = np.argsort(v)
    v, cumulative = v[order], monotone(np.cumsum(w[order])) / total
    n = total**2 / (w @ w)

    def at(q: float) -> float:
        return float(v[min(int(np.searchsorted(cumulative, q - 1e-12)), len(v) - 1)])

    found = {}
    for q in TAILS:
        if n * min(q, 1 - q) >= FEWEST * (1 - 1e-9):
            step = float(np.sqrt(q * (1 - q) / n))
            found[f"{100 * q:g} %"] = {"value": at(q), "error": 0.5 * (at(min(q + step, 1.0)) - at(max(q - step, 0.0)))}
    return found


def _defined(values: Array, weights: Array | None) -> tuple[Array, Array]:
    keep = ~np.isnan(values)
    return values[keep], np.ones(int(keep.sum())) if weights is None else weights[keep]
