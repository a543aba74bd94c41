r"""Least squares in place of the cross-entropy (Mao et al. 2017, arXiv:1611.04076).

$\min_D \tfrac12 E[(D(x) - 1)^2] + \tfrac12 E[D(\tilde x)^2]$ and $\min_G \tfrac12 E[(D(\tilde x) - 1)^2]$: events on the right
side of the critic's decision still have a gradient, as large as they are far from it. BicycleGAN was published with it.
"""

from __future__ import annotations

from torch import Tensor

from understudy.models.base import weighted_mean
from understudy.models.objectives.base import Objective
from understudy.registry import register


@register("objectives", "least-squares")
class LeastSquares(Objective):
    """Labels 1 and 0, squared distances to them."""

    def critic(self, real: Tensor, generated: Tensor, weights: Tensor | None) -> Tensor:
        """Real events should score 1, generated ones 0."""
        return weighted_mean(0.5 * ((real - 1).square() + generated.square()), weights)

    def generator(self, generated: Tensor, weights: Tensor | None) -> Tensor:
        """Generated events should score 1."""
        return weighted_mean(0.5 * (generated - 1).square(), weights)
