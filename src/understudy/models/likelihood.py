r"""A likelihood that stays bounded where events count negatively.

In $-\sum_i w_i \log p(x_i)$ an event with $w_i < 0$ pays without bound for a density of zero. For these events alone the
logarithm is that of $p(x) + \epsilon\, u(x)$ with a broad normal density $u$ (three standard deviations wide): below $\epsilon u$
nothing more is to be gained. Where $p \gg \epsilon u$, as wherever a signal is left once the background is subtracted, nothing
changes, and the minimum stays where it is up to terms of order $\epsilon$. Without negative weights the likelihood is as it was.
Better still is to have no negative weights in a likelihood at all: a stage's `weights: expected` (`understudy.signed`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

EPSILON = 1e-3
WIDTH = 3.0


def floored(log_prob: Tensor, response: Tensor, weights: Tensor | None) -> Tensor:
    """$\\log p$, `(n,)`, for negative weights $\\log(p + \\epsilon u)$.

    Args:
        log_prob: `(n,)`.
        response: where, `(n, d)`.
        weights: `(n,)`, or None.
    """
    if weights is None or not bool((weights < 0).any()):
        return log_prob
    d = response.shape[1]
    broad = -0.5 * (response / WIDTH).square().sum(1) - d * math.log(WIDTH * math.sqrt(2 * math.pi)) + math.log(EPSILON)
    return torch.where(weights < 0, torch.logaddexp(log_prob, broad), log_prob)
