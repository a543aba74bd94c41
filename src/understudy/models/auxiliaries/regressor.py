r"""The regressor's error as a plain auxiliary loss of the generator, $w\, \langle \|R(x(G(z, c))) - c\|^2 \rangle$.

The other way in which a pretrained regressor can make a GAN conditional (V. Chekalina et al., Generative Models for Fast
Calorimeter Simulation, do it through the critic, see `views.regressor`). Mind what it asks for: a shower whose parameters the
regressor reads without error, while real showers are read with its resolution. A large weight makes showers too regular.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import NonNegativeFloat
from torch import Tensor

from understudy.geometry import Calorimeter
from understudy.models.auxiliaries.base import Auxiliary
from understudy.models.base import Batch, weighted_mean
from understudy.models.learned_space import LearnedSpace
from understudy.models.reading import Reading
from understudy.registry import Given, register
from understudy.schema import Schema
from understudy.transforms.base import Chain


@register("auxiliaries", "regressor")
class RegressorLoss(Auxiliary):
    """Mean squared residual of the regressor, in its learned space of unit spread.

    Args:
        need: which of the recipe's needs is the regressor.
        weight: of the loss.
        geometry: where the response's cells sit.
        schema: the events' schema.
        transforms: the stage's chain.
        needs: trained stand-ins by name.
    """

    def __init__(
        self,
        *,
        need: str = "regressor",
        weight: NonNegativeFloat = 1.0,
        geometry: Given[Calorimeter | None] = None,
        schema: Given[Schema | None] = None,
        transforms: Given[Chain | None] = None,
        needs: Given[Mapping[str, Any] | None] = None,
    ) -> None:
        super().__init__()
        if transforms is None:
            raise ValueError("the regressor's loss needs the transforms that lead from the learned space to cells")
        self.space = LearnedSpace(transforms)
        self.weight = weight
        self.reading = Reading(needs or {}, need, geometry, schema)

    def forward(self, response: Tensor, batch: Batch, generator: torch.Generator) -> Tensor:
        """A scalar for generated responses `(n, d)`."""
        cells = self.space.physical(response.float(), batch.given)
        return weighted_mean(self.reading.residual(cells, batch.given).square().mean(1), batch.weights)
