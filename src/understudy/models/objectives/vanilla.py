r"""The first adversarial objective (Goodfellow et al. 2014), with its non-saturating generator.

The critic is a classifier with logits $D$, $\max_D \mathbb{E}_x[\log \sigma(D(x))] + \mathbb{E}_{\tilde x}[\log(1 -
\sigma(D(\tilde x)))]$; the generator maximises $\mathbb{E}_{\tilde x}[\log \sigma(D(\tilde x))]$, which has the same fixed
point as the minimax game (`jensen-shannon`) but gradients where the critic is sure.

One-sided label smoothing (Salimans et al. 2016, arXiv:1606.03498, section 3.4) tells the critic that real events are real with
the probability `real_label` only, so that its logits stay finite and the game does not stagnate.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from understudy.models.base import weighted_mean
from understudy.models.objectives.base import Objective
from understudy.registry import register


@register("objectives", "vanilla")
class Vanilla(Objective):
    """Binary cross-entropy on the critic's logits; $-\\log \\sigma(t)$ is softplus$(-t)$.

    Args:
        real_label: label of real events, 1 or a little less.
    """

    def __init__(self, real_label: Annotated[float, Field(gt=0.5, le=1)] = 1.0) -> None:
        self.real_label = real_label

    def critic(self, real: Tensor, generated: Tensor, weights: Tensor | None) -> Tensor:
        """Cross-entropy with real events labelled `real_label` and generated ones 0; 2 log 2 where they cannot be told apart."""
        of_real = softplus(-real)
        if self.real_label < 1:
            of_real = self.real_label * of_real + (1 - self.real_label) * softplus(real)
        return weighted_mean(of_real + softplus(generated), weights)

    def generator(self, generated: Tensor, weights: Tensor | None) -> Tensor:
        """Cross-entropy of generated events labelled 1."""
        return weighted_mean(softplus(-generated), weights)
