"""One-way maps of physical energies, applied last: read-out thresholds, saturation, no negative energies; levels of pixels."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor

from understudy.geometry import Calorimeter
from understudy.registry import Given, register
from understudy.transforms.base import Projection, Tensors


@register("projections", "threshold")
class Threshold(Projection):
    """Cells below the cut are set to zero; cells at the cut are kept, as in ATLAS' e < cut.

    Args:
        geometry: the calorimeter that says which cell is in which layer; needed with `layers`.
        layers: cut of each layer by name [MeV].
        energy: one cut for all cells [MeV]; either this or `layers`.
    """

    cut: Tensor

    def __init__(
        self,
        geometry: Given[Calorimeter | None] = None,
        layers: dict[str, NonNegativeFloat] | None = None,
        energy: NonNegativeFloat | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("cut", per_cell(geometry, layers, energy, "threshold"), persistent=False)

    def forward(self, response: Tensor, conditions: Tensors) -> Tensor:
        """Cells `(n, d)` with those below the cut at zero."""
        check_width(response, self.cut, "threshold")
        return torch.where(response < self.cut, 0.0, response)


@register("projections", "cap")
class Cap(Projection):
    """Saturation: no cell holds more than the cap.

    Args:
        geometry: the calorimeter that says which cell is in which layer; needed with `layers`.
        layers: cap of each layer by name [MeV].
        energy: one cap for all cells [MeV]; either this or `layers`.
    """

    largest: Tensor

    def __init__(
        self,
        geometry: Given[Calorimeter | None] = None,
        layers: dict[str, PositiveFloat] | None = None,
        energy: PositiveFloat | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("largest", per_cell(geometry, layers, energy, "cap"), persistent=False)

    def forward(self, response: Tensor, conditions: Tensors) -> Tensor:
        """Cells `(n, d)`, none above the cap."""
        check_width(response, self.largest, "cap")
        return torch.minimum(response, self.largest)


@register("projections", "non-negative")
class NonNegative(Projection):
    """Negative energies are set to zero."""

    def forward(self, response: Tensor, conditions: Tensors) -> Tensor:
        """Cells `(n, d)`, none below zero."""
        return response.clamp(min=0.0)


def per_cell(geometry: Calorimeter | None, layers: dict[str, float] | None, energy: float | None, who: str) -> Tensor:
    """One number per cell `(d,)` from one per layer, or `(1,)` for all cells."""
    if (layers is None) == (energy is None):
        raise ValueError(f"{who} needs either layers (one energy per layer) or energy (one for all cells)")
    given = layers if layers is not None else {"energy": float(energy or 0)}
    if bad := {k: v for k, v in given.items() if not 0 <= v < math.inf}:
        raise ValueError(f"{who}: {', '.join(f'{k}: {v}' for k, v in bad.items())} is no energy of 0 MeV or more")
    if layers is None:
        return torch.tensor([given["energy"]])
    if geometry is None:
        raise ValueError(f"{who} of each layer needs to know the layers of the response; name its geometry in the recipe")
    return torch.as_tensor(geometry.per_layer(layers), dtype=torch.float32)


def check_width(response: Tensor, constants: Tensor, who: str) -> None:
    """ValueError unless the response has one column per constant, or there is one constant for all."""
    if len(constants) not in (1, response.shape[1]) or response.ndim != 2:
        raise ValueError(f"{who} has {len(constants)} cells, but the response has shape {tuple(response.shape)}")


@register("projections", "digitise")
class Digitise(Projection):
    """Numbers from 0 to 1 to the nearest of equally many levels, 0 and 1 among them: what a camera of 8 bits keeps of its pixels.

    Args:
        levels: how many; 256 for a byte.
    """

    def __init__(self, levels: Annotated[int, Field(ge=2, le=65536)] = 256) -> None:
        super().__init__()
        self.steps = levels - 1

    def forward(self, response: Tensor, conditions: Tensors) -> Tensor:
        """Pixels `(n, d)` at the levels."""
        return torch.round(response.clamp(0.0, 1.0) * self.steps) / self.steps
