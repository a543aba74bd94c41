r"""The Kullback-Leibler divergence of generated from real events, by a critic that estimates the ratio of their densities.

The optimum of the cross-entropy is the logit $D^* = \log(P / Q)$ with the real density $P$ and the generated $Q$; a generator
that minimises $-\mathbb{E}_{\tilde x}[D(\tilde x)]$ then minimises $\mathbb{E}_Q[\log(Q / P)] = KL[Q \| P]$ (C. K. Sonderby
et al., arXiv:1610.04490; section 3.3.2 of the HCAL thesis).
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus

from understudy.models.base import weighted_mean
from understudy.models.objectives.base import Objective
from understudy.registry import register


@register("objectives", "kullback-leibler")
class KullbackLeibler(Objective):
    """The critic's cross-entropy, and minus the mean logit for the generator."""

    def critic(self, real: Tensor, generated: Tensor, weights: Tensor | None) -> Tensor:
        """Cross-entropy with real events labelled 1 and generated ones 0."""
        return weighted_mean(softplus(-real) + softplus(generated), weights)

    def generator(self, generated: Tensor, weights: Tensor | None) -> Tensor:
        """The estimate of KL of generated from real events."""
        return -weighted_mean(generated, weights)
