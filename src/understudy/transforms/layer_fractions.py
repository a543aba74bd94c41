r"""Showers as fractions: of the layers' energies, and of the cells within each layer.

With the layers' energies $E_0 \ldots E_{N-1}$ the energies are encoded as (CaloFlow, Krause and Shih, arXiv:2106.05285;
also CaloDiffusion, Amram and Pedro, arXiv:2308.03876)

$$u_0 = \frac{\sum_j E_j}{k\,E_\mathrm{inc}}, \qquad u_i = \frac{E_{i-1}}{\sum_{j \ge i-1} E_j} \quad (i = 1 \ldots N - 1),$$

and the cells as $f_c = x_c / E_{l(c)}$, which add up to 1 in each layer. An empty layer has $f = 0$, an empty rest $u = 0$.
All of them lie between 0 and 1, ready for the logit, as long as $k\,E_\mathrm{inc}$ bounds the energy in the cells.
"""

from __future__ import annotations

import torch
from pydantic import PositiveFloat
from torch import Tensor

from understudy.geometry import Calorimeter
from understudy.registry import Given, register
from understudy.schema import Schema
from understudy.transforms.base import Tensors, Transform, condition
from understudy.transforms.divide import check_energies, energy_condition, positive, ratio


@register("transforms", "layer-fractions")
class LayerFractions(Transform):
    """Cells `(n, d)` to `(n, d + N)`: the cells' fractions of their layer, then $u_0 ... u_{N-1}$.

    The inverse brings fractions to 0 and above and each layer's to sum 1, and $u_1 ...$ to 0 to 1, so energies that it
    returns are never negative and add up to $u_0 k E_inc$. It is accurate to the resolution of float32 relative to the
    energy of the shower (of a layer that holds less than 1e-7 of it, nothing is left).

    Args:
        geometry: the calorimeter that says which cell is in which layer.
        schema: the events' schema.
        by: name of the condition that bounds the energy: `incident_energy`, or `total_energy`, with which $u_0 = 1$.
        scale: $k$, for cells that are calibrated above the incident energy.

    Raises:
        ValueError: no geometry, an unknown condition, a scale that is not positive; in the fit, a response with another
            number of cells or with negative energies.
    """

    layer_of_cell: Tensor

    def __init__(
        self, geometry: Given[Calorimeter | None], schema: Given[Schema], by: str = "incident_energy", scale: PositiveFloat = 1.0
    ) -> None:
        super().__init__()
        if geometry is None:
            raise ValueError("layer-fractions needs to know the layers of the response; name its geometry in the recipe")
        self.geometry = geometry
        self.by = energy_condition(schema, by, "layer-fractions")
        self.scale = positive(scale, "layer-fractions")
        self.sizes = [layer.n_cells for layer in geometry.layers]
        self.register_buffer("layer_of_cell", torch.as_tensor(geometry.layer_of_cell), persistent=False)

    def output_size(self, d: int) -> int:
        """Number of cells plus number of layers."""
        self.geometry.check_cells(d)
        return d + len(self.sizes)

    def _fit(self, response: Tensor, conditions: Tensors, weights: Tensor | None) -> None:
        self.geometry.check_cells(response.shape[1])
        check_energies(conditions, self.by, "layer-fractions")
        if not bool(response.min() >= 0):
            raise ValueError(
                f"layer-fractions cannot be fitted to cells with {response.min():g} MeV; set negative energies to zero first"
            )

    def _layer_sums(self, cells: Tensor) -> Tensor:
        return torch.cat([part.sum(1, keepdim=True) for part in torch.split(cells, self.sizes, 1)], 1)

    def _forward(self, response: Tensor, conditions: Tensors) -> Tensor:
        energies = self._layer_sums(response)
        # rest[i] is the energy from layer i on
        rest = energies.flip(1).cumsum(1).flip(1)
        total = ratio(rest[:, :1], self.scale * condition(conditions, self.by))
        fractions = ratio(response, energies[:, self.layer_of_cell])
        return torch.cat([fractions, total, ratio(energies, rest)[:, :-1]], 1)

    def _inverse(self, response: Tensor, conditions: Tensors) -> Tensor:
        n_cells, n_layers = len(self.layer_of_cell), len(self.sizes)
        fractions = response[:, :n_cells].clamp(min=0.0)
        rest = response[:, n_cells : n_cells + 1].clamp(min=0.0) * (self.scale * condition(conditions, self.by))
        energies = []
        for i in range(1, n_layers):
            u = response[:, n_cells + i : n_cells + i + 1].clamp(0.0, 1.0)
            energies.append(rest * u)
            rest = rest * (1 - u)
        per_cell = torch.cat([*energies, rest], 1)[:, self.layer_of_cell]
        return per_cell * ratio(fractions, self._layer_sums(fractions)[:, self.layer_of_cell])
