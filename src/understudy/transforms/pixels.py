r"""Pixels from 0 to 1 to the range from -1 to 1, $y = 2x - 1$: zero is a medium grey, and a hyperbolic tangent reaches both ends.

The levels of a digital image are left as they are: GANs and flow matching have no density that levels could drive to infinity, as
they do in a flow trained by its likelihood, which needs dequantised pixels. `digitise` brings what is generated back to levels.
"""

from __future__ import annotations

from torch import Tensor

from understudy.registry import register
from understudy.transforms.base import Tensors, Transform


@register("transforms", "pixels")
class Pixels(Transform):
    """Pixels from 0 to 1 to -1 to 1; the inverse never leaves 0 to 1.

    Raises:
        ValueError: in the fit, where a pixel is outside 0 to 1.
    """

    def _fit(self, response: Tensor, conditions: Tensors, weights: Tensor | None) -> None:
        low, high = float(response.min()), float(response.max())
        if not (low >= 0 and high <= 1):
            raise ValueError(f"pixels cannot be fitted to values from {low:g} to {high:g}, only to 0 to 1; divide by the largest")

    def _forward(self, response: Tensor, conditions: Tensors) -> Tensor:
        return 2 * response - 1

    def _inverse(self, response: Tensor, conditions: Tensors) -> Tensor:
        return ((response + 1) / 2).clamp(0.0, 1.0)
