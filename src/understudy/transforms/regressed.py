r"""Columns that are nearly functions of each other, as residuals of regressions on each other, given the conditions.

In the triangular form (Cholesky's, with coefficients that follow the conditions $c$)

$$x_i = a_i(c) + \sum_{j<i} A_{ij}(c)\, r_j + s_i(c)\, r_i, \qquad r_i = Q_i^{-1}(z_i),$$

$r_i$ has no mean, a mean size of one, and no linear dependence on the columns before: even where a column is known from the
others to one part in ten thousand, what is left of it is a number as broad as any. $a$, $A$ and $\ln s$ are linear between nodes
in the logarithm of one condition, and belong to cells of the others (classes, intervals); so do the quantiles $Q$, which make
normal scores of what is left. All come from weighted least squares and are a change of variables: whatever they miss is left to
the model.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from understudy.schema import Array
from understudy.transforms.base import Fitted
from understudy.transforms.quantile import knots_of

PER_NODE = 60
"""Events for each node in a cell, on average, at least."""
FEWEST = 100
"""Events (of positive weight) in a cell below which it takes the constants of all events together."""
ROUNDS = 3
"""Of least squares, each with the widths that the one before found."""
RIDGE = 1e-9
NARROWEST = 1e-6
"""Least width, relative to that of the column."""
FARTHEST = 30.0
"""Beyond the outermost quantiles, in scores."""
SIGNED = 0.2
"""A width found with signed weights is at least this part of the one without."""


class Regressed(Fitted):
    """Columns `(n, d)` in an order, a position and a cell of each event, to scores `(n, d)` and back.

    Args:
        nodes: along the position, at most.
        knots: of the quantiles of each column and cell.
    """

    ends: Tensor
    table: Tensor
    quantiles: Tensor
    reach: Tensor

    def __init__(self, nodes: int, knots: int) -> None:
        super().__init__()
        self.nodes, self.knots = nodes, knots
        for name in ("ends", "table", "quantiles", "reach"):
            self.register_buffer(name, torch.empty(0))

    def fit(self, x: Array, filler: Array, gone: Array, position: Array, cell: Array, cells: int, weights: Array) -> None:
        """Learn the constants.

        Args:
            x: `(n, d)`, each column to be regressed on those before.
            filler: normal random numbers `(n, d)` that stand where a column is `gone`.
            gone: where a column has no value of its own, `(n, d)`.
            position: `(n,)`.
            cell: number of the cell, `(n,)`.
            cells: how many there are.
            weights: `(n,)`, may be negative.
        """
        n, d = x.shape
        nodes = int(np.clip(n // (PER_NODE * cells), 2, self.nodes))
        ends = np.array([position.min(), max(position.max(), position.min() + 1e-6)])
        place = (position - ends[0]) / (ends[1] - ends[0]) * (nodes - 1)
        table, quantiles, reach = np.zeros((cells, nodes, d, d + 2)), np.empty((cells, d, self.knots)), np.empty((cells, d))
        whole: tuple[Array, Array, Array] | None = None
        for k in range(cells):
            rows = cell == k
            if (weights[rows] > 0).sum() < FEWEST:
                whole = whole or self._of(x, filler, gone, place, weights, nodes)
                table[k], quantiles[k], reach[k] = whole
            else:
                table[k], quantiles[k], reach[k] = self._of(x[rows], filler[rows], gone[rows], place[rows], weights[rows], nodes)
        self._keep(
            ends=torch.tensor(ends), table=torch.tensor(table), quantiles=torch.tensor(quantiles), reach=torch.tensor(reach)
        )
        self._set_fitted()

    def _of(self, x: Array, filler: Array, gone: Array, place: Array, w: Array, nodes: int) -> tuple[Array, Array, Array]:
        """Table, quantiles and reach of one cell."""
        n, d = x.shape
        table, knots, reach = np.zeros((nodes, d, d + 2)), np.empty((d, self.knots)), np.empty(d)
        before = [np.ones(n)]
        for i in range(d):
            there = ~gone[:, i]
            kept = there if w[there].sum() > 0 and there.sum() > d + 2 else np.ones(n, bool)
            table[:, i, : i + 1], table[:, i, -1] = regression(x[kept, i], np.stack(before, 1)[kept], place[kept], w[kept], nodes)
            at = interpolate(place, nodes) @ table[:, i]
            r = (x[:, i] - (at[:, : i + 1] * np.stack(before, 1)).sum(1)) * np.exp(-at[:, -1])
            knots[i], scores = knots_of(r[kept], w[kept], self.knots)
            reach[i] = abs(scores[0])
            before.append(np.where(there, r, filler[:, i]))
        return table, knots, reach

    def forward(self, x: Tensor, filler: Tensor, gone: Tensor, position: Tensor, cell: Tensor) -> Tensor:
        """Scores `(n, d)`, which where a column is `gone` are the `filler`'s."""
        self._require_fitted()
        at = self._at(position, cell).to(x)
        first, reach = self._first(cell), self.reach[cell].to(x)
        residuals: list[Tensor] = []
        scores: list[Tensor] = []
        for i in range(x.shape[1]):
            before = sum((at[:, i, j + 1] * r for j, r in enumerate(residuals)), at[:, i, 0])
            r = (x[:, i] - before) * (-at[:, i, -1]).exp()
            z = torch.where(gone[:, i], filler[:, i].to(r), self._score(r, self.quantiles[cell, i].to(r), reach[:, i]))
            scores.append(z)
            residuals.append(torch.where(gone[:, i], self._quantile(z, first[:, i], reach[:, i]), r))
        return torch.stack(scores, 1)

    def inverse(self, z: Tensor, position: Tensor, cell: Tensor) -> Tensor:
        """Columns `(n, d)` of scores `(n, d)`."""
        self._require_fitted()
        d = z.shape[1]
        row, part = self._row(position, cell)
        nodes = self.table.to(z.dtype)  # intercepts, widths, coefficients: what is small of an event lies side by side
        nodes = torch.cat([nodes[:, :, :, 0], nodes[:, :, :, -1], nodes[:, :, :, 1:-1].flatten(2)], 2).flatten(0, 1)
        steps = torch.cat([nodes[1:] - nodes[:-1], nodes[:1]])  # of constants, as the table: engines find them once
        at = nodes.index_select(0, row) + part.to(z.dtype).unsqueeze(1) * steps.index_select(0, row)
        r = self._quantile(z, self._first(cell), self.reach.index_select(0, cell))
        x: Tensor = at[:, :d] + (at[:, 2 * d :].reshape(-1, d, d) * r.unsqueeze(1)).sum(2) + at[:, d : 2 * d].exp() * r
        return x

    def _at(self, position: Tensor, cell: Tensor) -> Tensor:
        """Intercepts, coefficients and logarithmic widths of events, `(n, d, d + 2)`."""
        (row, part), d, rows = self._row(position, cell), self.table.shape[2], self.table.flatten(2).flatten(0, 1)
        first = rows.index_select(0, row).double()  # terms of a hundred may cancel
        found: Tensor = first + part.unsqueeze(1) * (rows.index_select(0, row + 1) - first)
        return found.reshape(-1, d, d + 2)

    def _row(self, position: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """The last node before each event among those of all cells, and what part of the way to the next one it lies."""
        nodes = self.table.shape[1]
        low, high = self.ends.double()
        place = ((position.double() - low) * ((nodes - 1) / (high - low))).clamp(0, nodes - 1)  # a table is steep in it
        node = place.floor().clamp(max=nodes - 2)
        return cell * nodes + node.long(), place - node

    def _first(self, cell: Tensor) -> Tensor:
        """Where among all quantiles those of each column of an event's cell begin, `(n, d)`."""
        d = self.table.shape[2]
        return (cell.unsqueeze(1) * d + torch.arange(d, device=cell.device)) * self.knots

    def _quantile(self, z: Tensor, first: Tensor, reach: Tensor) -> Tensor:
        """The map from scores, evenly spaced within `reach`, to quantiles: linear between, exponential beyond; one shape."""
        last = self.knots - 2
        step = reach * (2 / (last + 1))
        beyond = (z.abs() - reach).clamp(0.0, FARTHEST)
        place = (z.maximum(-reach).minimum(reach) + reach) / step
        piece = place.floor().clamp(0, last)
        at, knots = (first + piece.long()).flatten(), self.quantiles.flatten().to(z.dtype)
        low = knots.index_select(0, at).reshape(z.shape)
        height = torch.cat([knots[1:] - knots[:-1], knots[:1]]).index_select(0, at).reshape(z.shape)
        return low + ((place - piece) + z.sign() * (beyond.exp() - 1) / step) * height

    def _score(self, r: Tensor, knots: Tensor, reach: Tensor) -> Tensor:
        """The inverse of `_quantile`, up to its `FARTHEST`, of residuals `(n,)` with knots `(n, k)`."""
        last = self.knots - 2
        step = reach * (2 / (last + 1))
        at = (torch.searchsorted(knots.contiguous(), r.unsqueeze(1).contiguous()) - 1).clamp(0, last)
        low = knots.gather(1, at)[:, 0]
        height = knots.gather(1, at + 1)[:, 0] - low
        over = r - r.maximum(knots[:, 0]).minimum(knots[:, -1])
        within = (at[:, 0] + (r - over - low) / height) * step - reach
        return within + over.sign() * (over.abs() / height * step).log1p().clamp(max=FARTHEST)


def regression(t: Array, before: Array, place: Array, w: Array, nodes: int) -> tuple[Array, Array]:
    """Coefficients `(nodes, k)` of columns `before` `(n, k)` for `t` `(n,)`, and the logarithm of the width `(nodes,)`.

    Both are linear between nodes; `place` `(n,)` counts in nodes. The width is the mean size of what is left.
    """
    hats, k = interpolate(place, nodes), before.shape[1]
    scale = np.ones(len(t))
    least = NARROWEST * max(float(np.abs(t - t.mean()).mean()), 1e-12)
    for _ in range(ROUNDS):
        weight = w / scale**2
        weight *= len(w) / max(float(np.abs(weight).sum()), 1e-300)
        normal = np.empty((k, nodes, k, nodes))
        for a, b in itertools.combinations_with_replacement(range(k), 2):
            product = hats.multiply((weight * before[:, a] * before[:, b])[:, None]).T @ hats
            normal[a, :, b] = normal[b, :, a] = product.toarray()
        square = normal.reshape(k * nodes, k * nodes)
        right = np.concatenate([hats.T @ (weight * t * before[:, a]) for a in range(k)])
        size = np.sqrt(np.maximum(np.abs(np.diag(square)), 1e-12))
        square = square / np.outer(size, size) + RIDGE * np.eye(len(size))
        found = np.linalg.solve(square, right / size) / size
        coefficients = found.reshape(k, nodes).T
        left = np.abs(t - ((hats @ coefficients) * before).sum(1))
        width = _width(left, w, hats, least)
        scale = np.exp(hats @ width)
    return coefficients, width


def _width(left: Array, w: Array, hats: sparse.csr_array, least: float) -> Array:
    """Logarithm of the mean of `left` at each node; where nobody is near, that of the neighbours."""
    signed = (hats.T @ (w * left)) / np.maximum(hats.T @ w, 1e-9)
    number = np.asarray(hats.sum(0)).ravel()
    plain = (hats.T @ left) / np.maximum(number, 1e-9)
    known = np.flatnonzero(number > 5) if (number > 5).any() else np.array([int(number.argmax())])
    found = np.log(np.maximum(np.maximum(signed, SIGNED * plain), least))[known]
    return np.asarray(np.interp(np.arange(len(number)), known, found))


def interpolate(place: Array, nodes: int) -> sparse.csr_array:
    """The matrix `(n, nodes)` that takes values at nodes to values at places, linear between."""
    place = np.clip(place, 0, nodes - 1)
    node = np.minimum(place.astype(int), nodes - 2)
    part, n = place - node, len(place)
    row = np.arange(n)
    return sparse.csr_array(
        (np.concatenate([1 - part, part]), (np.concatenate([row, row]), np.concatenate([node, node + 1]))), shape=(n, nodes)
    )
