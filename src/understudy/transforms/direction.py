r"""A momentum as energy and direction, $(p_x, p_y, p_z) \to (\ln|p|,\ t_x = p_x/p_z,\ t_y = p_y/p_z)$ with $p_z > 0$.

What a calorimeter measures of a particle are its energy, to a relative precision, and its slopes: in these coordinates one
number says how well, at all energies alike.
"""

from __future__ import annotations

import torch
from torch import Tensor

from understudy.registry import Given, register
from understudy.schema import Schema
from understudy.transforms.base import Tensors, Transform
from understudy.transforms.functions import LARGEST_EXPONENT

SAFE = 1e-3
"""The floor of pz, relative to the smallest one seen in the fit."""


@register("transforms", "direction")
class MomentumDirection(Transform):
    """Three columns of the response by their logarithm and slopes; the other columns stay as they are.

    Args:
        schema: the events' schema.
        of: name of the block of the response that holds the momentum.

    Raises:
        ValueError: the response has no block of that name with three columns.
    """

    floor: Tensor

    def __init__(self, schema: Given[Schema], of: str = "momentum") -> None:
        super().__init__()
        blocks = {b.name: b for b in schema.response}
        if of not in blocks or blocks[of].shape != (3,):
            said = ", ".join(f"{b.name} {b.shape}" for b in schema.response) or "nothing"
            raise ValueError(f"direction needs a momentum (px, py, pz) called {of!r} in the response, which holds {said}")
        names = list(blocks)
        self.of, self.start = of, sum(blocks[n].width for n in names[: names.index(of)])
        self.register_buffer("floor", torch.zeros(()))

    def _fit(self, response: Tensor, conditions: Tensors, weights: Tensor | None) -> None:
        lowest = response[:, self.start + 2].min()
        if not bool(lowest > 0):
            raise ValueError(
                f"direction cannot be fitted: {self.of!r} holds a pz of {lowest:g}, and slopes need a pz above 0; select"
                " forward-going particles"
            )
        self._keep(floor=SAFE * lowest)

    def _forward(self, response: Tensor, conditions: Tensors) -> Tensor:
        transverse, pz = response[:, self.start : self.start + 2], response[:, self.start + 2 : self.start + 3]
        pz = torch.maximum(pz, self.floor)
        momentum = (transverse.square().sum(1, keepdim=True) + pz.square()).sqrt()
        return self._replaced(response, momentum.log(), transverse / pz)

    def _inverse(self, response: Tensor, conditions: Tensors) -> Tensor:
        logarithm, slopes = response[:, self.start : self.start + 1], response[:, self.start + 1 : self.start + 3]
        momentum = logarithm.clamp(max=LARGEST_EXPONENT).exp()
        pz = momentum / (1 + slopes.square().sum(1, keepdim=True)).sqrt()
        return self._replaced(response, slopes * pz, pz)

    def _replaced(self, response: Tensor, *columns: Tensor) -> Tensor:
        return torch.cat([response[:, : self.start], *columns, response[:, self.start + 3 :]], dim=1)
