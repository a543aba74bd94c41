r"""The Jensen-Shannon divergence and its generalisation to other priors, with the minimax generator.

A critic with logits $D$ that takes events for real with the prior probability $\pi$ maximises $\pi\, \mathbb{E}_x[\log
\sigma(D(x))] + (1 - \pi)\, \mathbb{E}_{\tilde x}[\log(1 - \sigma(D(\tilde x)))]$, whose largest value is, but for a constant,

$$JS_\pi[P \| Q] = \pi\, KL[P \| M] + (1 - \pi)\, KL[Q \| M], \qquad M = \pi P + (1 - \pi) Q$$

(F. Huszar, arXiv:1511.05101, eq. 8). At $\pi = 1/2$ it is the Jensen-Shannon divergence; divided by $\pi$ it tends to $KL[P
\| Q]$ for $\pi \to 0$, which covers all of the data, and divided by $1 - \pi$ to $KL[Q \| P]$ for $\pi \to 1$, which would
rather miss some. (The HCAL thesis exchanges the two weights in front, so that the limits need no division.) The generator of
the minimax game minimises what the critic maximises and has no gradient where the critic is sure; the non-saturating one
maximises $\mathbb{E}_{\tilde x}[\log \sigma(D(\tilde x))]$ (Goodfellow et al. 2014).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from understudy.models.base import weighted_mean
from understudy.models.objectives.base import Objective
from understudy.registry import register


@register("objectives", "jensen-shannon")
class JensenShannon(Objective):
    """Cross-entropy with a prior, in both forms of the generator.

    Args:
        prior: $\\pi$, how much real events count beside generated ones.
        saturating: the generator of the minimax game; False for the one with gradients where the critic is sure.
    """

    def __init__(self, prior: Annotated[float, Field(gt=0, lt=1)] = 0.5, saturating: bool = True) -> None:
        self.prior, self.saturating = prior, saturating

    def critic(self, real: Tensor, generated: Tensor, weights: Tensor | None) -> Tensor:
        """Cross-entropy, twice over: 2 log 2 where the prior is 1/2 and the samples cannot be told apart."""
        return 2 * weighted_mean(self.prior * softplus(-real) + (1 - self.prior) * softplus(generated), weights)

    def generator(self, generated: Tensor, weights: Tensor | None) -> Tensor:
        """What the critic gains by generated events, or minus the logarithm of their probability to be real."""
        gain = -softplus(generated) if self.saturating else softplus(-generated)
        return 2 * (1 - self.prior) * weighted_mean(gain, weights)
