r"""A shower is described by its energy, how its layers share it, and the shape of each layer.

The total energy is $\ln (E_\mathrm{tot} / E)$ with $E$ the incident energy where that is a condition; the share of a layer is
$\ln (E_l / E_\mathrm{tot} + 10^{-4})$, for all layers but the one that holds most, which gets what the others leave; shapes
are those of `layer.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from understudy.calibrations.base import Description
from understudy.calibrations.layer import LayerShape, over_floor, shapes_of
from understudy.calibrations.tilt import STEPS
from understudy.geometry import Calorimeter
from understudy.transforms.base import Tensors, condition
from understudy.transforms.divide import ratio

MOMENTS = ("total_energy", "layer_energies", "barycentre", "width", "correlation", "containment")
FAINT = 1e-4
"""Of a shower's energy: layers that hold less are as good as empty."""
LOWEST = 1e-6
"""The smallest response that the logarithm tells apart."""


class Showers(Description):
    """Moments of a calorimeter's cells `(n, d)` [MeV].

    Args:
        geometry: where the cells are.
        chosen: of `MOMENTS`; all that the geometry has if None.
        layers: whose shapes are described; all if None.
        radii: of the containment [mm]; 1, 2 and 4 cell sizes, as the layer is large, if None.
        energy: condition that is the incident energy, or None.
        floor: read-out threshold of all cells `(1,)` or of each `(d,)` [MeV]; cells that are hit stay at or above it.
        who: named in errors.
        steps: Newton's steps of a tilt.

    Raises:
        ValueError: a moment or layer that the geometry lacks.
    """

    rest: Tensor
    floor: Tensor | None

    def __init__(
        self,
        geometry: Calorimeter,
        chosen: Sequence[str] | None = None,
        layers: Sequence[str] | None = None,
        radii: Sequence[float] | None = None,
        energy: str | None = None,
        floor: Tensor | None = None,
        who: str = "moments",
        steps: int = STEPS,
    ) -> None:
        super().__init__()
        shaped = geometry.layer_names if layers is None else tuple(geometry.layer(name).name for name in layers)
        has = available(geometry, shaped)
        if chosen is not None and (missing := [name for name in chosen if name not in has]):
            raise ValueError(f"{who}: the response has no {missing[0]!r}; geometry {geometry.name!r} has {', '.join(has)}")
        wanted = has if chosen is None else [name for name in has if name in chosen]
        self.total, self.shared, self.energy = "total_energy" in wanted, "layer_energies" in wanted, energy
        self.register_buffer("floor", floor, persistent=False)
        self.parts = [layer.n_cells for layer in geometry.layers]
        whole = not self.shared and not set(wanted) - {"total_energy"}
        nothing: list[str] = []
        shapes = [LayerShape(la, wanted if la.name in shaped else nothing, radii, steps) for la in geometry.layers]
        self.shapes = nn.ModuleList([] if whole else shapes)
        self.register_buffer("rest", torch.zeros((), dtype=torch.int64))
        self.names = (
            *(["total_energy"] if self.total else []),
            *(f"share_{i}" for i in range(len(self.parts) - 1) if self.shared),
            *(name for shape in self._shapes() for name in shape.names),
        )

    def fit(self, reference: Tensor, conditions: Tensors, weights: Tensor | None = None) -> None:
        """Find the layer that holds most."""
        w = torch.ones(len(reference)) if weights is None else weights
        self._keep(rest=(w[:, None] * self._energies(reference)).sum(0).argmax())
        self._set_fitted()

    def forward(self, response: Tensor, conditions: Tensors) -> Tensor:
        """Coordinates `(n, k)`."""
        self._require_fitted()
        cells = response.clamp(min=0.0)
        energies = self._energies(cells)
        total = energies.sum(1, keepdim=True)
        found = [self._response(total, conditions)] if self.total else []
        if self.shared:
            found.append((ratio(energies, total) + FAINT).double().log().index_select(1, self._others()))
        found += [shape(part) for shape, part in zip(self._shapes(), self._layers(cells), strict=False)]
        return torch.cat(found, 1)

    def impose(self, response: Tensor, coordinates: Tensor, conditions: Tensors) -> Tensor:
        """Cells that have these moments; what is not described keeps its share."""
        self._require_fitted()
        cells = response.clamp(min=0.0)
        before = self._energies(cells)
        total = before.sum(1, keepdim=True)
        shapes = self._shapes()
        shares = (len(self.parts) - 1) * self.shared
        sizes = [int(self.total), shares, *(len(shape.names) for shape in shapes)]
        own, others, *forms = torch.split(coordinates, sizes, 1)
        change = (own - self._response(total, conditions)).exp().to(cells.dtype) if self.total else 1.0
        after = total * change
        if not shapes:
            base, above, left = over_floor(cells, after, self.floor)
            return base + above * ratio(left, above.sum(1, keepdim=True))
        energies = self._divided(others, before, after, self._held(cells)) if shares else before * ratio(after, total)
        each = zip(shapes, self._layers(cells), forms, torch.split(energies, 1, 1), self._floors(), strict=True)
        done = [shape.impose(part, form, energy, floor) for shape, part, form, energy, floor in each]
        return done[0] if len(done) == 1 else torch.cat(done, 1)

    def _divided(self, shares: Tensor, before: Tensor, total: Tensor, held: Tensor) -> Tensor:
        """Energies `(n, l)` of the layers from the coordinates of all but the first; empty layers stay empty."""
        others = (shares.exp() - FAINT).clamp(min=0.0).to(total.dtype) * total
        places = torch.arange(len(self.parts), device=total.device)
        spread = torch.cat([others, torch.zeros_like(total)], 1)
        column = torch.where(places > self.rest, places - 1, places)
        is_rest = places == self.rest
        spread = torch.maximum(spread.index_select(1, column), held)
        spread = torch.where(is_rest | (before <= 0), 0.0, spread)
        left = torch.maximum(total - spread.sum(1, keepdim=True), held)
        energies = torch.where(is_rest & (before > 0), left, spread)
        return energies * ratio(total, energies.sum(1, keepdim=True))

    def _shapes(self) -> list[LayerShape]:
        return [shape for shape in self.shapes if isinstance(shape, LayerShape)]

    def _response(self, total: Tensor, conditions: Tensors) -> Tensor:
        incident = 1.0 if self.energy is None else condition(conditions, self.energy).clamp(min=LOWEST)
        return (total / incident).clamp(min=LOWEST).double().log()

    def _others(self) -> Tensor:
        places = torch.arange(len(self.parts) - 1, device=self.rest.device)
        return places + (places >= self.rest).to(places.dtype)

    def _layers(self, cells: Tensor) -> tuple[Tensor, ...]:
        return torch.split(cells, self.parts, 1)

    def _energies(self, cells: Tensor) -> Tensor:
        return torch.cat([part.sum(1, keepdim=True) for part in self._layers(cells)], 1)

    def _held(self, cells: Tensor) -> Tensor:
        """What hit cells hold at least, with a little above, `(n, l)`, or a zero."""
        return cells.new_zeros(()) if self.floor is None else 1.01 * self._energies(torch.minimum(cells, self.floor))

    def _floors(self) -> list[Tensor | None]:
        """The threshold of each layer."""
        if self.floor is None or len(self.floor) == 1:
            return [self.floor] * len(self.parts)
        return list(torch.split(self.floor, self.parts))


def held_above(floor: Tensor | None, held: float) -> Tensor | None:
    """The threshold of the cells, raised to `held` [MeV]; None where neither is above zero."""
    if not held:
        return floor
    return torch.tensor([held]) if floor is None else floor.clamp(min=held)


def available(geometry: Calorimeter, layers: Sequence[str]) -> list[str]:
    """Of `MOMENTS`, those that a geometry and these of its layers have."""
    shapes = {shape for name in layers for shape in shapes_of(geometry.layer(name))}
    several = {"layer_energies"} if len(geometry.layers) > 1 else set[str]()
    return [name for name in MOMENTS if name == "total_energy" or name in shapes | several]


def is_shower(geometry: Calorimeter | None, width: int) -> bool:
    """Whether a response of `width` numbers is the cells of `geometry`."""
    return geometry is not None and width == geometry.n_cells
