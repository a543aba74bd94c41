r"""The logit of fractions, $y = \ln\frac{u}{1 - u}$ with $u = \alpha + (1 - 2\alpha)\,x$.

The squeeze by $\alpha$ lets 0 and 1 through, as in CaloFlow (Krause and Shih, arXiv:2106.05285, with
$\alpha = 10^{-6}$).
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from understudy.registry import register
from understudy.transforms.base import Tensors, Transform
from understudy.transforms.functions import sigmoid


@register("transforms", "logit")
class Logit(Transform):
    """Fractions from 0 to 1 to the whole line.

    Values outside 0 to 1 are refused in the fit and brought to the nearer end later on; the inverse never leaves 0 to 1.

    Args:
        alpha: distance from 0 and 1 that the fractions are squeezed to, above 0 and below 0.5.
    """

    def __init__(self, alpha: Annotated[float, Field(gt=0, lt=0.5)] = 1e-6) -> None:
        super().__init__()
        if not 0 < alpha < 0.5:
            raise ValueError(f"logit needs an alpha above 0 and below 0.5, found {alpha!r}")
        self.alpha = float(alpha)

    def _fit(self, response: Tensor, conditions: Tensors, weights: Tensor | None) -> None:
        low, high = float(response.min()), float(response.max())
        if not (low >= 0 and high <= 1 + 1e-5):
            raise ValueError(
                f"logit cannot be fitted to values from {low:g} to {high:g}, only to fractions from 0 to 1;"
                " divide by the energy or take layer fractions first, with a larger scale"
            )

    def _forward(self, response: Tensor, conditions: Tensors) -> Tensor:
        x = response.clamp(0.0, 1.0)
        return torch.log(self.alpha + (1 - 2 * self.alpha) * x) - torch.log(self.alpha + (1 - 2 * self.alpha) * (1 - x))

    def _inverse(self, response: Tensor, conditions: Tensors) -> Tensor:
        return ((sigmoid(response) - self.alpha) / (1 - 2 * self.alpha)).clamp(0.0, 1.0)
