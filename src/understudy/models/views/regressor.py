r"""A view with the residuals of a pretrained regressor, $v = (y,\ R(x(y)) - c)$.

V. Chekalina et al., Generative Models for Fast Calorimeter Simulation, section 3.3: "by building up the information from the
pretrained regressor into the discriminator gradient, we obtain the conditional model". The critic sees what the regressor says
of a shower beside what was asked for; real showers have residuals of the regressor's own resolution, whatever the conditions, and
a shower of other parameters has others. Its gradient reaches the generator through the cells and through the regressor. The
paper's critic is not told the parameters otherwise (`critic_features: false`). How the information enters is not written
there; the residual is the reading taken here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import PositiveFloat
from torch import Tensor

from understudy.geometry import Calorimeter
from understudy.models.base import Batch
from understudy.models.reading import Reading
from understudy.models.views.base import View
from understudy.registry import Given, register
from understudy.schema import Schema
from understudy.transforms.base import Chain


@register("views", "regressor-residual")
class RegressorResidual(View):
    """The response and, behind it, predicted minus true conditions in the regressor's learned space, of unit spread.

    Args:
        need: which of the recipe's needs is the regressor.
        scale: factor of the residuals, against which the critic's slope is weighed by a gradient penalty.
        geometry: where the response's cells sit.
        schema: the events' schema.
        transforms: the stage's chain.
        needs: trained stand-ins by name.
    """

    def __init__(
        self,
        *,
        need: str = "regressor",
        scale: PositiveFloat = 1.0,
        geometry: Given[Calorimeter | None] = None,
        schema: Given[Schema | None] = None,
        transforms: Given[Chain | None] = None,
        needs: Given[Mapping[str, Any] | None] = None,
    ) -> None:
        super().__init__(transforms)
        self.reading = Reading(needs or {}, need, geometry, schema)
        self.scale = scale

    def extra(self, response_size: int) -> int:
        """One column per number that the regressor gives."""
        return self.reading.size

    def forward(self, response: Tensor, batch: Batch) -> Tensor:
        """`(n, d)` to `(n, d + size)`."""
        residual = self.reading.residual(self.physical(response.float(), batch.given), batch.given)
        return torch.cat([response, (self.scale * residual).to(response.dtype)], dim=1)
