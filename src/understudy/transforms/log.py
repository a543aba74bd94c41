r"""The logarithm of energies, $y = \ln(1 + x/s) = \ln(x + s) - \ln s$.

The shift $s$ lets zeros through, $y(0) = 0$ exactly in both directions, and sets the energy at which the map turns from
linear to logarithmic. With $s = 0$ it is $y = \ln x$, for values that are all positive.
"""

from __future__ import annotations

import torch
from pydantic import NonNegativeFloat
from torch import Tensor

from understudy.registry import register
from understudy.transforms.base import Tensors, Transform
from understudy.transforms.functions import LARGEST_EXPONENT, expm1, log1p

SAFE = 1e-3
"""The floor of the logarithm's argument, relative to the smallest one seen in the fit."""


@register("transforms", "log")
class Log(Transform):
    """The logarithm of `x + shift`, up to a constant.

    Values not above `-shift` have no logarithm: they are refused in the fit, and taken to be just above it later on.

    Args:
        shift: in the unit of the response (MeV); 0 for responses that are all positive.
    """

    floor: Tensor

    def __init__(self, shift: NonNegativeFloat = 1.0) -> None:
        super().__init__()
        if not 0 <= shift < float("inf"):
            raise ValueError(f"log needs a shift of 0 or more, found {shift!r}")
        self.shift = float(shift)
        self.register_buffer("floor", torch.zeros(()))

    def _fit(self, response: Tensor, conditions: Tensors, weights: Tensor | None) -> None:
        lowest = response.min() + self.shift
        if not bool(lowest > 0):
            raise ValueError(
                f"log with shift {self.shift:g} cannot be fitted to a response that holds {response.min():g};"
                " choose a larger shift, or one above 0 where there are zeros"
            )
        self._keep(floor=SAFE * lowest - self.shift)

    def _forward(self, response: Tensor, conditions: Tensors) -> Tensor:
        above = torch.maximum(response, self.floor)
        return log1p(above / self.shift) if self.shift else above.log()

    def _inverse(self, response: Tensor, conditions: Tensors) -> Tensor:
        if self.shift:
            return self.shift * expm1(response)
        return response.clamp(max=LARGEST_EXPONENT).exp()
