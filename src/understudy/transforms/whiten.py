r"""Uncorrelated columns: $y = L^{-1}\, (x - \mu)/\sigma$ with $L L^T$ the full covariance of the standardised columns.

Behind normal scores, what is left in $y$ is what the columns' dependence has beyond a Gaussian one, and near nothing of it has a
preferred direction: tight physical constraints, which live in the small eigenvalues, weigh as much as the large ones.
"""

from __future__ import annotations

import torch
from torch import Tensor

from understudy.registry import register
from understudy.transforms.base import Tensors, Transform
from understudy.transforms.covariance import root, standardised, times_lower


@register("transforms", "whiten")
class Whiten(Transform):
    """Shift, scale and rotate `(n, d)` to mean 0 and the identity as covariance.

    The covariance is shrunk as `understudy.transforms.covariance` says, with a warning where events are few.

    Args:
        standard: the columns are standard normal by construction (normal scores): only their correlations are learned.
    """

    mean: Tensor
    lower: Tensor
    inverted: Tensor

    def __init__(self, standard: bool = False) -> None:
        super().__init__()
        self.standard = standard
        self.register_buffer("mean", torch.empty(0))
        self.register_buffer("lower", torch.empty(0))
        self.register_buffer("inverted", torch.empty(0))

    def _fit(self, response: Tensor, conditions: Tensors, weights: Tensor | None) -> None:
        columns, mean, scale = standardised(response, weights)
        if self.standard:
            mean, scale = torch.zeros_like(mean), torch.ones_like(scale)
        lower = scale[:, None] * root(columns, weights, "whiten")
        identity = torch.eye(len(mean), dtype=lower.dtype, device=lower.device)
        self._keep(mean=mean, lower=lower, inverted=torch.linalg.solve_triangular(lower, identity, upper=False))

    def _forward(self, response: Tensor, conditions: Tensors) -> Tensor:
        return times_lower(response - self.mean, self.inverted)

    def _inverse(self, response: Tensor, conditions: Tensors) -> Tensor:
        return times_lower(response, self.lower) + self.mean
