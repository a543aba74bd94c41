r"""The first adversarial objective (Goodfellow et al. 2014), with its non-saturating generator.

The critic is a classifier with logits $D$, $\max_D \mathbb{E}_x[\log \sigma(D(x))] + \mathbb{E}_{\tilde x}[\log(1 -
\sigma(D(\tilde x)))]$; the generator maximises $\mathbb{E}_{\tilde x}[\log \sigma(D(\tilde x))]$, which has the same fixed
point as the minimax game but gradients where the critic is sure.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus

from understudy.models.base import weighted_mean
from understudy.models.objectives.base import Objective
from understudy.registry import register


@register("objectives", "vanilla")
class Vanilla(Objective):
    """Binary cross-entropy on the critic's logits; $-\\log \\sigma(t)$ is softplus$(-t)$."""

    def critic(self, real: Tensor, generated: Tensor, weights: Tensor | None) -> Tensor:
        """Cross-entropy with real events labelled 1 and generated ones 0; 2 log 2 where they cannot be told apart."""
        return weighted_mean(softplus(-real) + softplus(generated), weights)

    def generator(self, generated: Tensor, weights: Tensor | None, real: Tensor | None = None) -> Tensor:
        """Cross-entropy of generated events labelled 1."""
        return weighted_mean(softplus(-generated), weights)
