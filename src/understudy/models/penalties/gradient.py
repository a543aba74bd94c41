r"""The two-sided gradient penalty (Gulrajani et al. 2017).

$\lambda\, \mathbb{E}_{\hat x}[(\|\nabla_{\hat x} D(\hat x, c)\|_2 - 1)^2]$ with $\hat x = \epsilon x + (1 - \epsilon) \tilde
x$ and $\epsilon \sim U[0, 1]$ for each pair of a real $x$ and a generated $\tilde x$ with the same conditions $c$. The gradient
is with respect to the response alone: the critic may change as steeply as it likes with the conditions. Event weights do
not enter, since the penalty holds everywhere on the lines between the two samples and negative weights would reward steepness.
"""

from __future__ import annotations

import torch
from pydantic import NonNegativeFloat
from torch import Tensor

from understudy.models.penalties.base import Critic, Penalty
from understudy.registry import register


@register("penalties", "gradient")
class GradientPenalty(Penalty):
    """$\\lambda (\\|\\nabla D\\| - \\mathrm{target})^2$ between real and generated events.

    Args:
        weight: $\\lambda$.
        target: the norm that is asked for.
    """

    def __init__(self, weight: NonNegativeFloat = 10.0, target: NonNegativeFloat = 1.0) -> None:
        self.weight = weight
        self.target = target

    def __call__(self, critic: Critic, real: Tensor, generated: Tensor, generator: torch.Generator) -> Tensor:
        """The penalty, a scalar, times its weight."""
        epsilon = torch.rand((len(real), 1), generator=generator, device=real.device, dtype=real.dtype)
        between = torch.lerp(generated.detach(), real, epsilon).requires_grad_()
        (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
        norms = torch.linalg.vector_norm(gradient, dim=1)
        penalty: Tensor = self.weight * (norms - self.target).square().mean()
        return penalty
