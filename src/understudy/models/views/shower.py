r"""Showers as a physicist looks at them: cells, and the shape of each layer.

With $f_c = x_c / E_l$ the share of a cell in its layer and $u_c$ its position, the critic sees besides the learned cells

- each layer's barycentre $\sum f u$, widths and correlation along its two axes,
- its hottest cell $\max f$, $\sum f^2$ and $\sum \sqrt f$, which say how concentrated it is,
- its profiles along both axes, $\sum_b f_{ab}$ and $\sum_a f_{ab}$,
- smooth numbers of cells above levels of the learned response, $\sum_c \tfrac12 [1 + \tanh s (y_c - t)]$,
- every bright cell's share of the shower's energy, and where a grid is fine, sums and numbers of cells in coarse blocks.

All are brought to mean 0 and standard deviation 1 over the training split, so that one gradient penalty suits them all. What
the photon-shower paper saw its dense network miss (edge cells, widths and barycentres along eta and phi, fractions of the
layers) is then as plain to the critic as any cell.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import NonNegativeFloat, NonNegativeInt
from torch import Tensor, nn

from understudy.geometry import Calorimeter, Layer
from understudy.models.base import Batch
from understudy.models.views.base import View
from understudy.registry import Given, register
from understudy.transforms.base import Chain

SHARPNESS = 5.0
"""$s$ of the smooth step at a level."""
TINY = 1e-3
"""Added to a layer's energy [MeV] where it divides."""
LEAST_SCALE = 1e-4
"""Columns that vary less than this are shown as zero."""
AT_ONCE = 4096
"""Events looked at together in the fit, which bounds its memory."""


class LayerShape(nn.Module):
    """Numbers that describe the shape of one layer."""

    positions: Tensor

    def __init__(self, layer: Layer, levels: list[float], coarse: int) -> None:
        super().__init__()
        self.grid = layer.shape
        centred = layer.cartesian - layer.cartesian.mean(0)
        scaled = centred / np.maximum(centred.std(0), 1e-12)
        self.register_buffer("positions", torch.as_tensor(scaled, dtype=torch.float32), persistent=False)
        self.levels = levels
        self.coarse = coarse if coarse and min(self.grid) >= 3 * coarse else 0

    def forward(self, cells: Tensor, learned: Tensor) -> Tensor:
        """Of cells [MeV] and of the learned response, `(n, cells)` each, to `(n, k)`."""
        share = cells / (cells.sum(1, keepdim=True) + TINY)
        mean, square = share @ self.positions, share @ self.positions**2
        widths = (square - mean**2).clamp(min=1e-6).sqrt()
        both = share @ self.positions.prod(1, keepdim=True) - mean.prod(1, keepdim=True)
        image = share.reshape(-1, *self.grid)
        found = [mean, widths, both, share.amax(1, keepdim=True), share.square().sum(1, keepdim=True)]
        found += [(share + 1e-6).sqrt().sum(1, keepdim=True), image.sum(1), image.sum(2)]
        found += [(0.5 + 0.5 * torch.tanh(SHARPNESS * (learned - t))).sum(1, keepdim=True) for t in self.levels]
        if self.coarse:
            found += [self._blocks(torch.tanh(SHARPNESS * learned)), torch.log1p(self._blocks(cells))]
        return torch.cat(found, 1)

    def _blocks(self, cells: Tensor) -> Tensor:
        """Sums over blocks of `coarse` x `coarse` cells, those that fit into the grid from its lower corner."""
        pooled = nn.functional.avg_pool2d(cells.reshape(-1, 1, *self.grid), self.coarse)
        return pooled.flatten(1) * self.coarse**2


@register("views", "shower")
class ShowerView(View):
    """The learned cells, and the shape of every layer, each standardised.

    Args:
        geometry: where the cells sit; the learned response must have a column per cell.
        transforms: the stage's chain.
        cells: weight of the learned cells in standard deviations.
        shapes: weight of the numbers of shape.
        shares: weight of the cells' shares of the shower.
        faint: cells that hold less than this part of the mean shower have no share shown, and their learned value counts
            `faint_weight` times.
        faint_weight: see `faint`.
        least: learned cells vary by at least this much when they are standardised, so that a cell that is rarely hit is no
            outlier whenever it is.
        levels: of the learned response, above which cells are counted.
        coarse: side of the blocks of fine grids; 0 for none.
    """

    centre: Tensor
    scale: Tensor

    def __init__(
        self,
        geometry: Given[Calorimeter | None] = None,
        transforms: Given[Chain | None] = None,
        cells: NonNegativeFloat = 1.0,
        shapes: NonNegativeFloat = 1.0,
        shares: NonNegativeFloat = 1.0,
        faint: NonNegativeFloat = 0.0,
        faint_weight: NonNegativeFloat = 0.3,
        least: NonNegativeFloat = 0.15,
        levels: list[float] = [0.0],  # noqa: B006
        coarse: NonNegativeInt = 0,
    ) -> None:
        super().__init__(transforms)
        if geometry is None:
            raise ValueError("the view 'shower' needs to know where the cells sit; name the recipe's geometry")
        self.geometry = geometry
        self.weights = (cells, shapes, shares)
        self.faint, self.faint_weight, self.least = faint, faint_weight, least
        self.sizes = [layer.n_cells for layer in geometry.layers]
        self.layers = nn.ModuleList(LayerShape(layer, list(levels), coarse) for layer in geometry.layers)
        nothing = torch.zeros(1, geometry.n_cells)
        self.numbers = self._shapes(nothing, nothing).shape[1]
        columns = 2 * geometry.n_cells + self.numbers
        self.register_buffer("centre", torch.zeros(columns))
        self.register_buffer("scale", torch.zeros(columns))

    def extra(self, response_size: int) -> int:
        """The numbers of shape and a share per cell.

        Raises:
            ValueError: the learned response has not one column per cell.
        """
        if response_size != self.geometry.n_cells:
            raise ValueError(
                f"the view 'shower' needs a learned response with one column per cell ({self.geometry.n_cells}), found"
                f" {response_size}; choose transforms that keep the cells"
            )
        return self.numbers + self.geometry.n_cells

    def forward(self, response: Tensor, batch: Batch) -> Tensor:
        """The view `(n, d + extra)`: cells, shapes, shares."""
        return (self._raw(response, batch) - self.centre) * self.scale

    def fit(self, batch: Batch) -> None:
        """Means and standard deviations of the training split's view."""
        n, total, squares = len(batch), torch.zeros(()), torch.zeros(())
        for start in range(0, n, AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            part = Batch(batch.response[rows], batch.conditions[rows], given={k: v[rows] for k, v in batch.given.items()})
            raw = self._raw(part.response, part).double()
            total, squares = total + raw.sum(0), squares + raw.square().sum(0)
        mean = total / n
        spread = (squares / n - mean**2).clamp(min=0.0).sqrt()
        cells, shapes, shares = (torch.full((k,), w) for k, w in zip(self._columns, self.weights, strict=True))
        faint = mean[-self.geometry.n_cells :] < self.faint
        cells[faint] *= self.faint_weight
        shares[faint] = 0.0
        floor = torch.cat([torch.full((self._columns[0],), self.least), torch.zeros(sum(self._columns[1:]))])
        shown = spread > LEAST_SCALE
        weight = torch.cat([cells, shapes, shares]).double()
        scale = torch.where(shown, weight / torch.maximum(spread, floor.double()).clamp(min=1e-12), 0.0)
        self.centre, self.scale = mean.float(), scale.float()

    @property
    def _columns(self) -> tuple[int, int, int]:
        return self.geometry.n_cells, self.numbers, self.geometry.n_cells

    def _raw(self, response: Tensor, batch: Batch) -> Tensor:
        cells = self.physical(response, batch.given)
        share = cells / (cells.sum(1, keepdim=True) + TINY)
        return torch.cat([response, self._shapes(cells, response), share], 1)

    def _shapes(self, cells: Tensor, learned: Tensor) -> Tensor:
        parts = zip(self.layers, torch.split(cells, self.sizes, 1), torch.split(learned, self.sizes, 1), strict=True)
        return torch.cat([layer(c, y) for layer, c, y in parts], 1)
