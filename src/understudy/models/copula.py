r"""The Gaussian copula: columns that are normal each by itself, correlated as they are in the training sample.

$$y = \mu + \sigma\, L z, \qquad L L^T = \Sigma,$$

with the full covariance $\Sigma$ of all columns, shrunk where events are few. Behind a transform that makes every column
standard normal given the conditions (`conditional-marginals`), this is the copula of A. Sklar (1959) with Gaussian dependence:
every column follows its own distribution at any conditions, and columns depend on each other as Gaussian variables do. It is
fitted in seconds, has no training to go wrong, and is what a network must beat.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from understudy.models.base import Model, Turn
from understudy.registry import Given, register
from understudy.transforms.covariance import root, standardised, times_lower


@register("models", "copula")
class Copula(Model):
    """Normal columns with the full covariance of the training sample.

    Args:
        response_size: numbers in the response.
        standard: the columns are standard normal by construction (normal scores): only their correlations are learned. Where
            empty cells are imputed, a spread that comes out two per cent too large has the farthest cells, empty but for
            scores above 2.5, hit by a sixth too often.
    """

    mean: Tensor
    lower: Tensor

    def __init__(self, *, response_size: Given[int], standard: bool = False) -> None:
        super().__init__()
        self.standard = standard
        self.noise_size = response_size
        self.register_buffer("mean", torch.zeros(response_size))
        self.register_buffer("lower", torch.eye(response_size))

    def fit(
        self,
        response: Tensor,
        conditions: Tensor,
        weights: Tensor | None = None,
        given: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> None:
        """Learn mean and covariance; warns where fewer events than columns leave it shrunk.

        Raises:
            ValueError: no covariance can be found.
        """
        columns, mean, scale = standardised(response, weights)
        if self.standard:
            mean, scale = torch.zeros_like(mean), torch.ones_like(scale)
        lower = scale[:, None] * root(columns, weights, "copula")
        self.mean, self.lower = (t.detach().to(self.mean).contiguous() for t in (mean, lower))

    def turns(self) -> tuple[Turn, ...]:
        """None: nothing is trained."""
        return ()

    def sample(self, noise: Tensor, conditions: Tensor) -> Tensor:
        """$\\mu + \\sigma L z$, `(n, d)`."""
        return times_lower(noise, self.lower) + self.mean
