r"""Energies of layers as numbers that a density can be fitted to.

With $E_0 \ldots E_{N-1}$ the energies of the layers and $r$ the one that holds most of all energy,

$$y_0 = \ln \frac{\sum_j E_j}{E_\mathrm{inc}}, \qquad y_l = \ln \frac{E_l}{t_l} \quad (l \ne r),$$

with $t_l$ the threshold that a cell of the layer has to pass. An empty layer has $y_l = -1$, well below the others, which
start at 0: a density with an atom there is recognised by whoever fits it. Layer $r$ is what the others leave of the sum;
where it is empty, the sum is that of the others and tells nothing new: $y_0$ is then an atom as well, one below all others.
"""

from __future__ import annotations

import torch
from pydantic import PositiveFloat
from torch import Tensor

from understudy.geometry import Calorimeter
from understudy.registry import Given, register
from understudy.schema import Schema
from understudy.transforms.base import Tensors, Transform, condition
from understudy.transforms.divide import check_energies, energy_condition
from understudy.transforms.functions import LARGEST_EXPONENT

EMPTY = -1.0
"""Where an empty layer lies; halfway to 0 a layer counts as empty."""
TINY = 1e-6
"""The smallest sum of a shower's energies over the incident energy; an empty shower has it."""


@register("transforms", "layer-energies")
class LayerEnergies(Transform):
    """Energies `(n, N)` [MeV] of the layers to $y_0$ and $y_l$, `(n, N)`.

    Args:
        geometry: the calorimeter whose layers they are.
        schema: the events' schema.
        thresholds: the least energy [MeV] that a layer can hold unless it is empty, by name of the layer, or one for all.
        by: name of the condition that is the incident energy.

    Raises:
        ValueError: no geometry, other layers, or no such condition; in the fit, a layer that holds less than its threshold.
    """

    rest: Tensor
    least: Tensor
    lowest: Tensor

    def __init__(
        self,
        geometry: Given[Calorimeter | None],
        schema: Given[Schema],
        thresholds: dict[str, PositiveFloat] | PositiveFloat = 1.0,
        by: str = "incident_energy",
    ) -> None:
        super().__init__()
        if geometry is None:
            raise ValueError("layer-energies needs to know the layers of the response; name its geometry in the recipe")
        names = geometry.layer_names
        each = thresholds if isinstance(thresholds, dict) else dict.fromkeys(names, thresholds)
        if set(each) != set(names):
            raise ValueError(f"layer-energies has thresholds for {', '.join(each)} where the layers are {', '.join(names)}")
        self.by = energy_condition(schema, by, "layer-energies")
        self.names = names
        self.register_buffer("least", torch.tensor([float(each[n]) for n in names], dtype=torch.float64), persistent=False)
        self.register_buffer("rest", torch.zeros((), dtype=torch.int64))
        self.register_buffer("lowest", torch.zeros((), dtype=torch.float64))

    def _fit(self, response: Tensor, conditions: Tensors, weights: Tensor | None) -> None:
        if response.shape[1] != len(self.names):
            raise ValueError(f"layer-energies has {len(self.names)} layers, but the response has {response.shape[1]} columns")
        check_energies(conditions, self.by, "layer-energies")
        least = self.least * (1 - 1e-5)
        if bool((low := (response > 0) & (response < least)).any()):
            worst = int(low.any(0).nonzero()[0])
            raise ValueError(
                f"layer-energies: {int(low[:, worst].sum())} events have less than {self.least[worst]:g} MeV in"
                f" {self.names[worst]}, though not none; give the threshold that its cells really have"
            )
        w = torch.ones(len(response)) if weights is None else weights
        self._keep(rest=(w.double()[:, None] * response.double()).sum(0).argmax())
        hit = response[:, int(self.rest)] > 0
        if bool(hit.any()):
            self._keep(lowest=self._total(response.double(), conditions)[hit].min())

    def _total(self, energies: Tensor, conditions: Tensors) -> Tensor:
        return (energies.sum(1, keepdim=True) / condition(conditions, self.by)).clamp(min=TINY).log()

    def _forward(self, response: Tensor, conditions: Tensors) -> Tensor:
        energies = response.double()
        is_empty = energies.index_select(1, self.rest.reshape(1)) <= 0
        total = torch.where(is_empty, self.lowest + EMPTY, self._total(energies, conditions))
        layers = torch.where(energies > 0, (energies / self.least).clamp(min=1.0).log(), EMPTY)
        columns = torch.arange(len(self.names), device=response.device)
        return torch.where(columns == self.rest, total, layers).to(response.dtype)

    def _inverse(self, response: Tensor, conditions: Tensors) -> Tensor:
        y = response.double()
        is_rest = torch.arange(len(self.names), device=response.device) == self.rest
        told = y.index_select(1, self.rest.reshape(1))
        total = told.clamp(max=LARGEST_EXPONENT).exp() * condition(conditions, self.by)
        layers = torch.where(y < EMPTY / 2, 0.0, self.least * y.clamp(0.0, LARGEST_EXPONENT).exp())
        layers = torch.where(is_rest, 0.0, layers)
        others = layers.sum(1, keepdim=True)
        is_empty = told < self.lowest + EMPTY / 2
        layers = layers * torch.where((others > total) & ~is_empty, total / others.clamp(min=1e-30), 1.0)
        rest = torch.where(is_empty, 0.0, total - layers.sum(1, keepdim=True)).clamp(min=0.0)
        rest = torch.where(rest < self.least.index_select(0, self.rest.reshape(1)), 0.0, rest)
        return torch.where(is_rest, rest, layers).to(response.dtype)
