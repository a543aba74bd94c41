r"""Cells that pass a read-out threshold, as a power above it, with the energy of their layer given back exactly.

$$y_c = \begin{cases} \big((x_c / t_c)^p - 1\big) / p & x_c \ge t_c \\ 0 & \text{else} \end{cases}$$

with $t_c$ the threshold of the cell; $p = 0$ is the logarithm. It is the transform of Box and Cox with the threshold in place of
a shift: zeros stay zeros, small and large cells are both easy to see, and $y$ has no gap above 0. In the inverse the cells of
each layer are brought to the layer's energy, which is given, in one of two ways:

- `rescaled`: all cells take the same factor. Which ones pass their thresholds is decided by the energies that they then
  have: numbers just below 0 are cells just below their threshold, and may pass when the layer is scaled up, as others fall
  below when it is scaled down; otherwise cells just above threshold would be too few.
- `kept`: what is drawn above 0 is hit, as often as the model says, and what hit cells hold above their thresholds takes the
  factor. Where the layer's energy does not suffice for the thresholds of all hit cells, they are rescaled as above.

A cell that does not pass is empty, and the others take its energy. The highest cell of a layer always remains.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor

from understudy.geometry import Calorimeter
from understudy.registry import Given, register
from understudy.schema import Schema
from understudy.transforms.base import Tensors, Transform, condition
from understudy.transforms.divide import ratio
from understudy.transforms.functions import expm1, log1p

JUST_ABOVE = 1e-3
"""Where the highest cell of a layer is put that holds energy, but was drawn without any cell."""
LEAST = 1 - 1e-6
"""Part of its threshold that a cell must reach, but for rounding."""
PASSES = 2
"""Times that it is decided which cells pass, each with the energies that the last decision gave them."""
LEFT = 1e-3
"""Part of a layer's energy that must be left above the thresholds, or its hits are not kept."""
TINY = 1e-6
"""Of its threshold to the power: as low as a cell goes."""
LARGEST = 25.0
"""Logarithms of a cell over its threshold are cut here, at 7e10, before its layer is brought to its energy."""
SQUARINGS = {1.0: 0, 0.5: 1, 0.25: 2, 0.125: 3}
"""How often a number is squared to undo these powers: several times faster than by logarithms."""


@register("transforms", "over-threshold")
class OverThreshold(Transform):
    """Cells `(n, d)` [MeV] to powers above their thresholds, `(n, d)`.

    Exact both ways for cells that are zero or above their threshold, and whose layers hold the energies of the condition.

    Args:
        geometry: the calorimeter.
        schema: the events' schema.
        thresholds: energy of each layer's cells [MeV] by name of the layer, or one for all cells.
        power: $p$. A logarithm suits cells well above their thresholds; behind a small threshold a power of 1/4, say, keeps the
            fluctuations of a network's output from becoming huge energies.
        hits: how a layer comes to its energy, see above: `kept` for models that know well how many cells are hit.
        by: name of the condition that holds the energies of the layers `(layers,)`, or of the whole shower.

    Raises:
        ValueError: no geometry or condition; in the fit, cells above zero and below their threshold.
    """

    least: Tensor
    layer: Tensor

    def __init__(
        self,
        geometry: Given[Calorimeter | None],
        schema: Given[Schema],
        thresholds: dict[str, PositiveFloat] | PositiveFloat,
        power: Annotated[float, Field(ge=0, le=1)] = 0.0,
        hits: Literal["rescaled", "kept"] = "rescaled",
        by: str = "layer_energies",
    ) -> None:
        super().__init__()
        if geometry is None:
            raise ValueError("over-threshold needs to know the layers of the response; name its geometry in the recipe")
        self.geometry, self.by, self.power, self.hits = geometry, by, power, hits
        known = {b.name: b.width for b in schema.conditions}
        if known.get(by) not in (1, len(geometry.layers)):
            raise ValueError(
                f"over-threshold: the condition {by!r} must hold the energy of each of the {len(geometry.layers)} layers, or"
                f" that of the shower; the conditions are {', '.join(f'{n} ({w})' for n, w in known.items())}"
            )
        self.per_layer = known[by] == len(geometry.layers)
        each = thresholds if isinstance(thresholds, dict) else dict.fromkeys(geometry.layer_names, thresholds)
        layer = geometry.layer_of_cell if self.per_layer else 0 * geometry.layer_of_cell
        sizes = [la.n_cells for la in geometry.layers] if self.per_layer else [geometry.n_cells]
        self.slices = [slice(a, b) for a, b in itertools.pairwise(itertools.accumulate(sizes, initial=0))]
        self.register_buffer("least", torch.as_tensor(geometry.per_layer(each), dtype=torch.float32), persistent=False)
        self.register_buffer("layer", torch.as_tensor(layer), persistent=False)

    def _fit(self, response: Tensor, conditions: Tensors, weights: Tensor | None) -> None:
        self.geometry.check_cells(response.shape[1])
        condition(conditions, self.by)
        if bool((low := (response != 0) & (response < self.least * (1 - 1e-6))).any()):
            raise ValueError(
                f"over-threshold: {int(low.sum())} cells hold something, but less than their threshold (the least"
                f" {float(response[low].min()):g} MeV); apply the same threshold as a projection"
            )

    def _forward(self, response: Tensor, conditions: Tensors) -> Tensor:
        logarithm = torch.where(response > 0, (response / self.least).clamp(min=1.0).log(), 0.0)
        return expm1(self.power * logarithm) / self.power if self.power else logarithm

    def _inverse(self, response: Tensor, conditions: Tensors) -> Tensor:
        energy = condition(conditions, self.by).to(response.dtype)
        y = self._by_layer(_with_a_cell, response)
        drawn = torch.where(y != 0, self.least * self._over(y), 0.0)
        highest = self._by_layer(_highest, drawn)
        rescaled = self._rescaled(drawn, y > 0, highest, energy)
        return rescaled if self.hits == "rescaled" else self._kept(drawn, y > 0, energy, rescaled)

    def _rescaled(self, drawn: Tensor, hit: Tensor, highest: Tensor, energy: Tensor) -> Tensor:
        """Cells times a factor for each layer."""
        for _ in range(PASSES):
            hit = highest | (self._to(drawn, hit, energy) >= LEAST * self.least)
        cells = self._to(drawn, hit, energy)
        hit = highest | (hit & (cells >= LEAST * self.least))  # none more: what is left can only be scaled up
        return self._to(torch.where(hit, cells, 0.0), hit, energy)

    def _kept(self, drawn: Tensor, hit: Tensor, energy: Tensor, rescaled: Tensor) -> Tensor:
        """Hit cells at their thresholds and what they hold above times a factor for each layer, where its energy suffices."""
        base = torch.where(hit, self.least, 0.0)
        left = energy - self._by_layer(_sum, base)
        above = torch.where(hit, drawn - self.least, 0.0).clamp(min=0.0)
        enough = (left >= LEFT * energy) & (self._by_layer(_sum, above) > 0)
        factor = ratio(left, self._by_layer(_sum, above))
        if len(self.slices) > 1:
            enough, factor = enough[:, self.layer], factor[:, self.layer]
        return torch.where(enough, base + above * factor, rescaled)

    def _over(self, y: Tensor) -> Tensor:
        """$x_c / t_c = (1 + p y_c)^{1/p}$ of learned cells, cut at `LARGEST`; below zero it goes on, down to empty cells."""
        if self.power in SQUARINGS:
            x = (1 + self.power * y).clamp(0.0, math.exp(LARGEST * self.power))
            for _ in range(SQUARINGS[self.power]):
                x = x * x
            return x
        logarithm = log1p((self.power * y).clamp(min=TINY - 1)) / self.power if self.power else y
        return logarithm.clamp(-LARGEST, LARGEST).exp()

    def _by_layer(self, function: Callable[[Tensor], Tensor], cells: Tensor) -> Tensor:
        """A function of each layer's cells, side by side."""
        found = [function(cells[:, part]) for part in self.slices]
        return found[0] if len(found) == 1 else torch.cat(found, 1)

    def _to(self, cells: Tensor, hit: Tensor, energy: Tensor) -> Tensor:
        """All cells times what brings those of each layer that are hit to the layer's energy."""
        factors = ratio(energy, self._by_layer(_sum, torch.where(hit, cells, 0.0)))
        return cells * (factors if len(self.slices) == 1 else factors[:, self.layer])


def _sum(layer: Tensor) -> Tensor:
    """Energy of a layer's cells, `(n, 1)`."""
    return layer.sum(1, keepdim=True)


def _with_a_cell(layer: Tensor) -> Tensor:
    """Learned cells of a layer `(n, k)`, the highest one raised above zero where none is."""
    return torch.where(_highest(layer) & (layer <= 0), JUST_ABOVE, layer)


def _highest(layer: Tensor) -> Tensor:
    """Which cell of a layer `(n, k)` is the highest, the first of several."""
    return torch.arange(layer.shape[1], device=layer.device) == layer.argmax(1, keepdim=True)
