r"""Showers as a physicist looks at them: cells, and the shape of each layer.

The critic sees the learned cells of the shower that a response stands for: back in physical values and forth again, so that
what the transforms put right (the energy of a layer, thresholds) is right before it. Where learned cells are not what one looks
at, or hard to find again (normal scores), it sees cells $y_c = [(x_c / t_c)^p - 1]/p$ as powers over their `thresholds` instead,
and zeros for those below. With $f_c = x_c / E_l$ the share of a
cell in its layer and $u_c$ its position in cells, it sees besides

- each layer's barycentre $\sum f u$, widths and correlation along its two axes,
- its hottest cell $\max f$, $\sum f^2$ and $\sum \sqrt f$, which say how concentrated it is,
- what lies around its barycentre, $\sum_c f_c\, e^{-|u_c - \langle u \rangle|^2 / 2 R^2}$ for some radii,
- its profiles along both axes, $\sum_b f_{ab}$ and $\sum_a f_{ab}$,
- smooth numbers of cells above levels of the cells that are shown, $\sum_c \tfrac12 [1 + \tanh s (y_c - t)]$,
- every bright cell's share of the shower's energy, where a grid is fine, sums and numbers of cells in coarse blocks, and where
  `energies` are asked for, that of the layer, $\ln (1 + E_l)$.

Each number $v$ is shown as $\mathrm{arsinh}\, [(v - \mu(c)) / \sigma(c)]$, with the mean and the width that it has at the
conditions $c$: both from fits quadratic in the features, $\sigma$ from one of $\ln (v - \mu)^2$. So the critic need not learn
how a barycentre follows the impact point before it sees that it fluctuates wrongly; one gradient penalty suits all numbers;
and those that are rarely far out (a cell that is hardly ever hit) do not outweigh all others when they are. What the
photon-shower paper saw its dense network miss (edge cells, widths and barycentres along eta and phi) is then as plain as
any cell.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat
from torch import Tensor, nn

from understudy.geometry import Calorimeter, Layer
from understudy.models.base import Batch
from understudy.models.views.base import View
from understudy.registry import Given, register
from understudy.schema import Array
from understudy.transforms.base import Chain

SHARPNESS = 10.0
"""$s$ of the smooth step at a level."""
TINY = 1e-3
"""Added to a layer's energy [MeV] where it divides."""
LEAST_SCALE = 1e-4
"""Numbers that vary less are constant in the training split: that a generated one differs has to be seen all the more."""
UNEXPECTED = {"shapes": 1e-2, "shares": 1e-3}
"""The width in which departures from a constant are shown; of the learned cells it is `least`."""
AT_ONCE = 4096
"""Events looked at together in the fit, which bounds its memory."""
LOOKED_AT = 20_000
"""Events that the fit looks at; of more, evenly spaced ones."""
RIDGE = 1e-4
"""Of the fits' normal equations."""
LEAST_WIDTH = 0.3
"""A number varies at fixed conditions by at least about this part of its variation over all residuals."""


class LayerShape(nn.Module):
    """Numbers that describe the shape of one layer."""

    positions: Tensor

    def __init__(self, layer: Layer, levels: list[float], radii: list[float], coarse: int, energy: bool = False) -> None:
        super().__init__()
        self.grid = layer.shape
        centred = layer.cartesian - layer.cartesian.mean(0)
        scaled = centred / np.sqrt(layer.areas.mean()) if layer.shape_of_grid == "polar" else _in_cells(layer)
        self.radii = radii
        self.register_buffer("positions", torch.as_tensor(scaled, dtype=torch.float32), persistent=False)
        self.levels, self.energy = levels, energy
        self.coarse = coarse if coarse and min(self.grid) >= 3 * coarse else 0

    def forward(self, cells: Tensor, shown: Tensor) -> Tensor:
        """Of cells [MeV] and of the cells as they are shown, `(n, cells)` each, to `(n, k)`."""
        share = cells / (cells.sum(1, keepdim=True) + TINY)
        mean, square = share @ self.positions, share @ self.positions**2
        widths = (square - mean**2).clamp(min=1e-6).sqrt()
        both = share @ self.positions.prod(1, keepdim=True) - mean.prod(1, keepdim=True)
        image = share.reshape(-1, *self.grid)
        found = [mean, widths, both, share.amax(1, keepdim=True), share.square().sum(1, keepdim=True)]
        if self.radii:
            distance = (self.positions - mean[:, None, :]).square().sum(2)
            found += [(share * torch.exp(-distance / (2 * r * r))).sum(1, keepdim=True) for r in self.radii]
        found += [(share + 1e-6).sqrt().sum(1, keepdim=True), image.sum(1), image.sum(2)]
        found += [(0.5 + 0.5 * torch.tanh(SHARPNESS * (shown - t))).sum(1, keepdim=True) for t in self.levels]
        if self.coarse:
            found += [self._blocks(torch.tanh(SHARPNESS * shown)), torch.log1p(self._blocks(cells))]
        if self.energy:
            found.append(torch.log1p(cells.sum(1, keepdim=True)))
        return torch.cat(found, 1)

    def _blocks(self, cells: Tensor) -> Tensor:
        """Sums over blocks of `coarse` x `coarse` cells, those that fit into the grid from its lower corner."""
        pooled = nn.functional.avg_pool2d(cells.reshape(-1, 1, *self.grid), self.coarse)
        return pooled.flatten(1) * self.coarse**2


def _in_cells(layer: Layer) -> Array:
    """Centres of a cartesian layer's cells `(n_cells, 2)`, from the layer's middle, in mean cell sizes."""
    size = np.array([(edges[-1] - edges[0]) / (len(edges) - 1) for edges in layer.edges])
    return np.asarray((layer.centres - layer.centres.mean(0)) / size)


@register("views", "shower")
class ShowerView(View):
    """The cells, learned or as powers over thresholds, and the shape of every layer, each standardised.

    Args:
        feature_size: numbers that encode the conditions.
        geometry: where the cells sit; without thresholds the learned response must have a column per cell.
        transforms: the stage's chain.
        thresholds: energy [MeV] of each layer's cells by name of the layer, or one for all cells, over which cells are shown;
            None shows the learned cells.
        power: $p$, where there are thresholds.
        cells: weight of the cells in standard deviations.
        shapes: weight of the numbers of shape.
        shares: weight of the cells' shares of the shower.
        faint: cells that hold less than this part of the mean shower have no share shown, and the cell itself counts
            `faint_weight` times.
        faint_weight: see `faint`.
        least: cells, as they are shown, vary by at least this much when they are standardised, so that a cell that is rarely
            hit is no outlier whenever it is.
        levels: of the cells as they are shown, above which they are counted.
        radii: of the energy around the barycentre, in cells.
        coarse: side of the blocks of fine grids; 0 for none.
        energies: show the energy of each layer too, for transforms that do not put it right.
    """

    threshold: Tensor | None
    mean: Tensor
    width: Tensor
    scale: Tensor
    least_width: Tensor

    def __init__(
        self,
        feature_size: Given[int] = 0,
        geometry: Given[Calorimeter | None] = None,
        transforms: Given[Chain | None] = None,
        thresholds: dict[str, PositiveFloat] | PositiveFloat | None = None,
        power: Annotated[float, Field(gt=0, le=1)] = 0.25,
        cells: NonNegativeFloat = 1.0,
        shapes: NonNegativeFloat = 1.0,
        shares: NonNegativeFloat = 1.0,
        faint: NonNegativeFloat = 0.0,
        faint_weight: NonNegativeFloat = 0.3,
        least: NonNegativeFloat = 0.15,
        levels: list[float] = [0.0],  # noqa: B006
        radii: list[float] = [0.6, 0.9, 1.35, 2.0, 4.0],  # noqa: B006
        coarse: NonNegativeInt = 0,
        energies: bool = False,
    ) -> None:
        super().__init__(transforms)
        if geometry is None:
            raise ValueError("the view 'shower' needs to know where the cells sit; name the recipe's geometry")
        self.geometry, self.power = geometry, power
        self.register_buffer("threshold", _each(geometry, thresholds), persistent=False)
        self.weights = (cells, shapes, shares)
        self.faint, self.faint_weight, self.least = faint, faint_weight, least
        self.sizes = [layer.n_cells for layer in geometry.layers]
        words = list(levels), list(radii), coarse, energies
        self.layers = nn.ModuleList(LayerShape(layer, *words) for layer in geometry.layers)
        nothing = torch.zeros(1, geometry.n_cells)
        self.numbers = self._shapes(nothing, nothing).shape[1]
        terms, columns = (feature_size + 1) * (feature_size + 2) // 2, sum(self._columns)
        self.register_buffer("mean", torch.zeros(terms, columns))
        self.register_buffer("width", torch.zeros(terms, columns))
        self.register_buffer("scale", torch.zeros(columns))
        self.register_buffer("least_width", torch.ones(columns))

    def extra(self, response_size: int) -> int:
        """The cells that are shown, the numbers of shape and a share per cell, less the columns of the response itself.

        Raises:
            ValueError: the learned response has not one column per cell.
        """
        if self.threshold is None and response_size != self.geometry.n_cells:
            raise ValueError(
                f"the view 'shower' needs a learned response with one column per cell ({self.geometry.n_cells}), found"
                f" {response_size}; choose transforms that keep the cells, or give the view thresholds"
            )
        return sum(self._columns) - response_size

    def forward(self, response: Tensor, batch: Batch) -> Tensor:
        """The view `(n, d + extra)`: cells, shapes, shares."""
        terms = quadratic(batch.conditions)
        width = (terms @ self.width).clamp(-40.0, 40.0).exp()
        rest = (self._raw(response, batch) - terms @ self.mean) / torch.maximum(width, self.least_width)
        return torch.asinh(rest) * self.scale

    def fit(self, batch: Batch) -> None:
        """Means and widths of the training split's view as functions of the conditions."""
        parts = _parts(batch)
        terms = torch.cat([quadratic(part.conditions) for part in parts]).double()
        raw = torch.cat([self._raw(part.response, part) for part in parts])
        normal = terms.T @ terms + RIDGE * len(terms) * torch.eye(terms.shape[1], dtype=torch.float64, device=terms.device)
        mean = torch.linalg.solve(normal, terms.T @ raw.double())
        rest = raw - (terms @ mean).float()
        spread = rest.std(0)
        varies, floors = spread > LEAST_SCALE, self._floors(spread)
        logs = torch.where(varies, (rest.square() + (LEAST_WIDTH * spread).square()).clamp(min=1e-30).log(), 0.0)
        width = torch.linalg.solve(normal, terms.T @ logs.double()) / 2
        unit = (rest / (terms @ width).float().clamp(-40.0, 40.0).exp()).square().mean(0).sqrt()
        width[0] += torch.where(varies, unit, floors).clamp(min=1e-6).log()
        shares = raw[:, -self.geometry.n_cells :].mean(0)
        self.mean, self.width = mean.float(), width.float()
        self.scale, self.least_width = self._scales(shares < self.faint), floors

    def _scales(self, faint: Tensor) -> Tensor:
        """Weight of every column."""
        cells, shapes, shares = (torch.full((k,), w) for k, w in zip(self._columns, self.weights, strict=True))
        cells[faint.cpu()] *= self.faint_weight
        shares[faint.cpu()] = 0.0
        return torch.cat([cells, shapes, shares]).to(faint.device)

    def _floors(self, spread: Tensor) -> Tensor:
        """Least width of every column."""
        cells, shapes, shares = torch.split(spread, list(self._columns))
        constant = [torch.full_like(part, w) for part, w in zip((shapes, shares), UNEXPECTED.values(), strict=True)]
        rest = [torch.where(p > LEAST_SCALE, LEAST_WIDTH * p, c) for p, c in zip((shapes, shares), constant, strict=True)]
        return torch.cat([(LEAST_WIDTH * cells).clamp(min=max(self.least, LEAST_SCALE)), *rest])

    @property
    def _columns(self) -> tuple[int, int, int]:
        return self.geometry.n_cells, self.numbers, self.geometry.n_cells

    def _raw(self, response: Tensor, batch: Batch) -> Tensor:
        cells = self.physical(response, batch.given)
        shown = self.learned(cells, batch.given) if self.threshold is None else over(cells, self.threshold, self.power)
        share = cells / (cells.sum(1, keepdim=True) + TINY)
        return torch.cat([shown, self._shapes(cells, shown), share], 1)

    def _shapes(self, cells: Tensor, shown: Tensor) -> Tensor:
        parts = zip(self.layers, torch.split(cells, self.sizes, 1), torch.split(shown, self.sizes, 1), strict=True)
        return torch.cat([layer(c, y) for layer, c, y in parts], 1)


def over(cells: Tensor, threshold: Tensor, power: float) -> Tensor:
    """$[(x/t)^p - 1]/p$ of cells `(n, d)` [MeV] over thresholds `(d,)`, 0 below: continuous, with finite gradients everywhere."""
    return ((cells / threshold).clamp(min=1.0).pow(power) - 1) / power


def _each(geometry: Calorimeter, thresholds: dict[str, float] | float | None) -> Tensor | None:
    """The threshold of every cell `(d,)`."""
    if thresholds is None:
        return None
    each = thresholds if isinstance(thresholds, dict) else dict.fromkeys(geometry.layer_names, thresholds)
    return torch.as_tensor(geometry.per_layer(each), dtype=torch.float32)


def quadratic(features: Tensor) -> Tensor:
    """1, the features, and their products `(n, (c + 1)(c + 2)/2)`; features are taken to be within 4 of zero."""
    near = features.clamp(-4.0, 4.0)
    i, j = torch.triu_indices(near.shape[1], near.shape[1], device=near.device)
    return torch.cat([torch.ones_like(near[:, :1]), near, near[:, i] * near[:, j]], 1)


def _parts(batch: Batch) -> list[Batch]:
    """At most `LOOKED_AT` events of the training split, in pieces."""
    rows = torch.arange(0, len(batch), max(1, -(-len(batch) // LOOKED_AT)), device=batch.response.device)
    return [
        Batch(batch.response[r], batch.conditions[r], given={k: v[r] for k, v in batch.given.items()})
        for r in torch.split(rows, AT_ONCE)
    ]
