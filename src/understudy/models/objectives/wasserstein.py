r"""The Wasserstein objective (Arjovsky, Chintala and Bottou 2017).

$\min_G \max_{D} \mathbb{E}_{x}[D(x)] - \mathbb{E}_{\tilde x}[D(\tilde x)]$ over 1-Lipschitz critics $D$: at the critic's
optimum, minus its loss is the Wasserstein-1 distance. The Lipschitz constraint is a penalty's part.
"""

from __future__ import annotations

from torch import Tensor

from understudy.models.base import weighted_mean
from understudy.models.objectives.base import Objective
from understudy.registry import register


@register("objectives", "wasserstein")
class Wasserstein(Objective):
    """Critic: $E[D(\\tilde x)] - E[D(x)]$; generator: $-E[D(\\tilde x)]$."""

    def critic(self, real: Tensor, generated: Tensor, weights: Tensor | None) -> Tensor:
        """Minus the estimate of the Wasserstein-1 distance."""
        return weighted_mean(generated - real, weights)

    def generator(self, generated: Tensor, weights: Tensor | None) -> Tensor:
        """Minus the mean score of generated events."""
        return -weighted_mean(generated, weights)
