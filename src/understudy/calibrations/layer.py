r"""The shape of one layer of a shower, in unbounded coordinates.

With $f_c = x_c / E_l$ and $u_c$ the position of a cell in cell sizes: barycentres $\langle u \rangle = \sum_c f_c u_c$; widths
as $\tfrac12 \ln (\mathrm{Var}\,u + \epsilon^2)$; the correlation of the two axes as $\mathrm{artanh}$; and, where both axes are
lengths, the part of the energy within radii $R$ of the barycentre as a logit, a cell at the distance $r$ counting by
$\mathrm{clip}(R - r + \tfrac12, 0, 1)$, all in cell sizes.

Cells that are hit remain hit: with $t$ the read-out threshold, only what a cell holds above $t$ is changed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from understudy.calibrations.tilt import STEPS, Basis, products, tilt
from understudy.geometry import Layer
from understudy.schema import Array
from understudy.transforms.divide import ratio

SHAPES = ("barycentre", "width", "correlation", "containment")
NARROW = 0.1
"""$\\epsilon$ [cell sizes]."""
EDGE = 1e-3
"""Fractions are squeezed by this at 0 and 1, and correlations at -1 and 1, before their logit and artanh."""
LEAST = 1e-3
"""Part of a layer's energy that is left above the thresholds at least."""
AT_MOST = 4.0
"""Factor by which a variance, the energy within or outside a radius, or a barycentre's distance from the layer's border changes
at most; the barycentre moves by its square root times the width. Beyond that lies what no tilt can reach."""
RADII = (1.0, 2.0, 4.0)
"""Radii of containment [cell sizes] where none are given: those of them that are at most a quarter of the layer."""


class LayerShape(nn.Module):
    """Shape of the cells `(n, c)` of a layer.

    Args:
        layer: the grid.
        chosen: of `SHAPES`, those wanted; those that the layer does not have are left out.
        radii: of the containment [mm]; `RADII` if None.
        steps: Newton's steps of a tilt.
    """

    u: Tensor
    powers: Tensor
    fixed: Tensor
    pairs: Tensor
    index: Tensor
    first: Tensor
    second: Tensor
    reach: Tensor
    lowest: Tensor
    highest: Tensor

    def __init__(self, layer: Layer, chosen: Sequence[str], radii: Sequence[float] | None = None, steps: int = STEPS) -> None:
        super().__init__()
        self.steps = steps
        names, u, size = positions(layer)
        has = shapes_of(layer)
        wanted = [shape for shape in SHAPES if shape in chosen and shape in has]
        self.axes = len(names)
        self.wide = [a for a in range(self.axes) if len(np.unique(u[:, a])) > 2] if "width" in wanted else []
        self.correlated = "correlation" in wanted
        usual = [r for r in RADII if 4 * r <= min(layer.shape)]
        given = torch.tensor(usual if radii is None else [r / size for r in radii])
        self.moves, self.round = "barycentre" in wanted, "containment" in wanted and len(given) > 0
        at, exact = torch.as_tensor(u, dtype=torch.float32), torch.as_tensor(u, dtype=torch.float64)
        powers = [exact, exact**2] + ([exact[:, :1] * exact[:, 1:]] if self.axes == 2 else [])
        self.register_buffer("u", at, persistent=False)
        self.register_buffer("powers", torch.cat(powers, 1), persistent=False)
        columns = [*range(self.axes), *(self.axes + a for a in self.wide), *([4] if self.correlated else [])]
        fixed = self.powers[:, columns]
        pairs, index = products(fixed)
        grid = at.reshape(*layer.shape, -1)
        first, second = grid[:, 0, 0] if names else at, grid[0, :, -1] if names else at
        limits = {"lowest": exact.amin(0), "highest": exact.amax(0)}
        constants = limits | {"fixed": fixed, "pairs": pairs, "index": index, "first": first, "second": second}
        for name, value in (constants | {"reach": given.to(torch.float32)[:, None] - 0.5}).items():
            self.register_buffer(name, value.clone(), persistent=False)
        self.names = (
            *(f"barycentre_{n}_{layer.name}" for n in names if self.moves),
            *(f"width_{names[a]}_{layer.name}" for a in self.wide),
            *([f"correlation_{layer.name}"] if self.correlated else []),
            *(f"containment_{r * size:.3g}mm_{layer.name}" for r in given.tolist() if self.round),
        )

    def forward(self, cells: Tensor) -> Tensor:
        """Coordinates `(n, k)`, in double precision, of cells `(n, c)`, none below zero."""
        mean, variance, covariance = self._spread(cells)
        found = [mean] if self.moves else []
        found.append(0.5 * (variance[:, self.wide] + NARROW**2).log())
        if self.correlated:
            correlation = (covariance / self._scale(variance)).clamp(EDGE - 1, 1 - EDGE)
            found.append(0.5 * ((1 + correlation) / (1 - correlation)).log())
        if self.round:
            found.append(-(EDGE + (1 - 2 * EDGE) * self._outside(cells, mean)).logit())
        return torch.cat(found, 1)

    def impose(self, cells: Tensor, coordinates: Tensor, energy: Tensor, floor: Tensor | None) -> Tensor:
        """Cells `(n, c)` with coordinates `(n, k)` and energies `(n, 1)` [MeV]; hit cells stay at or above `floor`."""
        base, above, left = over_floor(cells, energy, floor)
        if not self.names:
            return base + above * ratio(left, above.sum(1, keepdim=True))
        mean, targets = self._targets(cells, coordinates)
        basis = Basis(self.fixed, self.pairs, self.index, self.rings(mean) if self.round else None)
        if floor is not None:
            held = base.sum(1, keepdim=True)
            targets = ((held + left) * targets - basis.means(base, torch.ones_like(held))) / left.clamp(min=1e-30)
        return base + tilt(above, basis, targets, self.steps) * ratio(left, above.sum(1, keepdim=True))

    def rings(self, mean: Tensor) -> Tensor:
        """How far each cell counts as outside each radius of `mean` `(n, 2)`, `(n, r, c)`.

        Outside: sums of what is little lose no digits, as differences from all would.
        """
        x, y = torch.split(mean.to(self.first.dtype), 1, 1)
        dx, dy = (self.first - x).square(), (self.second - y).square()
        distance = (dx.unsqueeze(2) + dy.unsqueeze(1)).sqrt().flatten(1)
        return (distance.unsqueeze(1) - self.reach).clamp(0.0, 1.0)

    def _outside(self, cells: Tensor, mean: Tensor) -> Tensor:
        """The part of the energy outside each radius of `mean`, `(n, r)`."""
        return ratio((self.rings(mean) @ cells.unsqueeze(2)).squeeze(2), cells.sum(1, keepdim=True)).double()

    def _targets(self, cells: Tensor, coordinates: Tensor) -> tuple[Tensor, Tensor]:
        """The barycentre, and the means of all functions, that the coordinates say."""
        mean, variance, covariance = self._spread(cells)
        first = mean
        sizes = [self.axes * self.moves, len(self.wide), int(self.correlated), len(self.reach) * self.round]
        moved, widths, correlation, within = torch.split(coordinates, sizes, 1)
        known = self._outside(cells, mean) if self.round else within
        if self.moves:
            low, high = self.lowest + (mean - self.lowest) / AT_MOST, self.highest - (self.highest - mean) / AT_MOST
            mean = torch.maximum(torch.minimum(moved, high), low)
            far = AT_MOST**0.5 * variance.sqrt()
            mean = torch.maximum(torch.minimum(mean, first + far), first - far)
        columns, at = list(torch.split(variance, 1, 1)), torch.split(mean, 1, 1)
        for axis, width in zip(self.wide, torch.split(widths, 1, 1), strict=False):
            columns[axis] = _near((2 * width).exp() - NARROW**2, columns[axis])
        targets = [mean, *(columns[a] + at[a].square() for a in self.wide)]
        if self.correlated:
            covariance = correlation.tanh() * self._scale(torch.cat(columns, 1))
            targets.append(covariance + at[0] * at[1])
        if self.round:
            outside = _near(((-within).sigmoid() - EDGE) / (1 - 2 * EDGE), known)
            targets.append(1 - _near(1 - outside, 1 - known))
        return mean, torch.cat(targets, 1)

    def _spread(self, cells: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Barycentre `(n, a)`, variances `(n, a)` and covariance `(n, 0 or 1)`, all zero where nothing is hit."""
        cells = cells.double()
        means = ratio(cells @ self.powers, cells.sum(1, keepdim=True))
        sizes = [self.axes, self.axes, int(self.axes == 2)]
        first, second, mixed = torch.split(means, sizes, 1)
        variance = (second - first.square()).clamp(min=0.0)
        covariance = mixed - first.prod(1, keepdim=True) if self.axes == 2 else mixed
        return first, variance, covariance

    @staticmethod
    def _scale(variance: Tensor) -> Tensor:
        return (variance + NARROW**2).prod(1, keepdim=True).sqrt()


def _near(wanted: Tensor, known: Tensor) -> Tensor:
    """`wanted`, at most `AT_MOST` times as large or small as `known`, which is not below zero."""
    return torch.maximum(torch.minimum(wanted, AT_MOST * known), known / AT_MOST)


def over_floor(cells: Tensor, energy: Tensor, floor: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """What of cells `(n, c)` stays, what lies above their floor, and what of `energy` `(n, 1)` is to lie there."""
    if floor is None:
        return torch.zeros_like(cells), cells, energy
    base = torch.minimum(cells, floor)
    held = base.sum(1, keepdim=True)
    return base, cells - base, torch.maximum(energy - held, LEAST * energy)


def positions(layer: Layer) -> tuple[list[str], Array, float]:
    """Names of the axes along which a layer has a barycentre, cell centres `(c, a)` in cell sizes, and the size (the first)."""
    if layer.shape_of_grid == "polar" and layer.shape[0] > 1:
        names, at = ["x", "y"], layer.cartesian
        sizes = np.full(2, layer.edges[1][-1] / layer.shape[1])
    else:
        kept = [a for a in (0, 1) if layer.shape[a] > 1]
        names, at = [layer.axes[a] for a in kept], layer.centres[:, kept]
        sizes = np.array([(layer.edges[a][-1] - layer.edges[a][0]) / layer.shape[a] for a in kept])
    if is_round(layer):
        sizes = np.full(2, sizes.max())
    return names, (at - at.mean(0)) / sizes, float(sizes[0]) if len(sizes) else 1.0


def shapes_of(layer: Layer) -> list[str]:
    """Of `SHAPES`, those that a layer has."""
    _, u, _ = positions(layer)
    cells = [len(np.unique(u[:, a])) for a in range(u.shape[1])]
    found = ["barycentre"] if cells else []
    found += ["width"] if max(cells, default=0) > 2 else []
    found += ["correlation"] if len(cells) == 2 and min(cells) > 2 else []
    return found + (["containment"] if is_round(layer) else [])


def is_round(layer: Layer) -> bool:
    """Whether a layer has radii: both axes are the same length and have cells."""
    return layer.shape_of_grid == "cartesian" and layer.units == ("mm", "mm") and min(layer.shape) > 2
