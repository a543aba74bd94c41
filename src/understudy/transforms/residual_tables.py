r"""How standardised residuals follow from normal scores, as tables that many cells share.

A residual $r = (y - \mu)/\sigma$ is standard normal if a cell is as the network says, and empty below $r = -b$. What it really
does is read from the training sample, in bins of $b$ and of the first feature: the quantile function $R(z)$ with
$P(r \le R(z)) = \Phi(z)$. Empty cells tell only that $r \le -b$, and $b$ differs from cell to cell, so that the distribution is
that of Kaplan and Meier (J. Am. Stat. Assoc. 53 (1958) 457) run from above: with residuals in falling order,
$P(r < r_k) = \prod_{j \le k} (1 - w_j / W_j)$, where $W_j$ is the weight of all that lie or may lie at or below $r_j$.

Between bins and knots $R$ is interpolated linearly, beyond the outermost knots it goes on straight: for every cell a map that
rises, and that is inverted exactly.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from understudy.schema import Array

KNOTS = 41
"""Of a quantile function, evenly over normal scores up to `FARTHEST`."""
FARTHEST = 5.0
STEP = 2 * FARTHEST / (KNOTS - 1)
BINS = 32
"""Of $b$, evenly in its area hyperbolic sine."""
LOWEST_LIMIT = -6.0
LOW, HIGH = float(np.arcsinh(LOWEST_LIMIT)), float(np.arcsinh(40.0))
WIDTH = (HIGH - LOW) / (BINS - 1)
FEWEST = 60
"""Residuals that a quantile function needs to be known."""
ENOUGH = 200
"""Residuals that one of a single bin of the first feature needs."""
EDGE = 20
"""Residuals beyond the last quantile that counts as known."""
LEAST_SLOPE = 0.2
RISE = 1e-4
"""Of a quantile function from knot to knot at least."""


def asinh(b: Tensor) -> Tensor:
    """The area hyperbolic sine from the lowest bin on, by functions that engines compute many numbers at a time of."""
    b = b.clamp(min=LOWEST_LIMIT)
    return torch.log(b + torch.sqrt(b * b + 1.0))


def place(b: Tensor) -> tuple[Tensor, Tensor]:
    """The bin of $b$, a whole number, and how far it is towards the next one, 0 to 1."""
    found = (asinh(b) * (1 / WIDTH) - LOW / WIDTH).clamp(0.0, BINS - 1.0)
    lower = found.clamp(max=BINS - 2.0).floor()
    return lower, found - lower


def nearest(b: Tensor) -> Tensor:
    """The bin that is nearest to $b$."""
    return ((asinh(b) - LOW) / WIDTH).round().clamp(0, BINS - 1).long()


def interpolated(table: Tensor, row: Tensor, towards: Tensor, z: Tensor) -> Tensor:
    """$R(z)$ `(n, d)`.

    Args:
        table: of each event `(n, rows * KNOTS)`, or of all `(rows * KNOTS,)`.
        row: of each cell `(n, d)`, a whole number of floating type; the next row is that of the next bin.
        towards: the next bin `(n, d)`, 0 to 1.
        z: normal scores `(n, d)`.
    """
    position = z * (1 / STEP) + FARTHEST / STEP
    knot = position.clamp(0.0, KNOTS - 2.0).floor()
    along = position - knot
    first = (row * float(KNOTS) + knot).long()
    a, b, c, d = (_taken(table[..., shift:], first) for shift in (0, 1, KNOTS, KNOTS + 1))
    lower, upper = a + (b - a) * along, c + (d - c) * along
    return lower + (upper - lower) * towards


def _taken(table: Tensor, index: Tensor) -> Tensor:
    return table.gather(0, index.flatten()).view_as(index) if table.ndim == 1 else table.gather(1, index)


def solved(table: Tensor, row: Tensor, towards: Tensor, residual: Tensor) -> Tensor:
    """The normal scores `(n, d)` at which $R$ is `residual`; arguments as of `interpolated`."""
    rows = table.reshape(-1, table.shape[-1] // KNOTS, KNOTS)
    events = torch.arange(len(rows), device=table.device)[:, None]
    number = row.long()
    known = torch.lerp(rows[events, number], rows[events, number + 1], towards[:, :, None])
    knot = (torch.searchsorted(known, residual[:, :, None].contiguous()) - 1).clamp(0, KNOTS - 2)
    at, after = known.gather(2, knot).squeeze(2), known.gather(2, knot + 1).squeeze(2)
    return (knot.squeeze(2) + (residual - at) / (after - at)) * STEP - FARTHEST


@dataclass(frozen=True)
class Residuals:
    """Residuals of cells that share tables, all flat `(m,)`.

    Args:
        residual: $r$ of those that are not empty.
        limit: $b$.
        empty: which are only known to have $r \\le -b$.
        weights: of their events.
    """

    residual: Array
    limit: Array
    empty: Array
    weights: Array

    def where(self, rows: Array) -> Residuals:
        """Some of them."""
        return Residuals(self.residual[rows], self.limit[rows], self.empty[rows], self.weights[rows])

    def quantiles(self) -> Array | None:
        """$R$ at the knots, or None where too few are known."""
        if (~self.empty).sum() < FEWEST:
            return None
        residual, z = self._distribution()
        if len(z) < FEWEST:
            return None
        return straightened(residual, z)

    def _distribution(self) -> tuple[Array, Array]:
        """Rising residuals and their normal scores."""
        below = np.where(self.empty, -self.limit, self.residual)
        order = np.lexsort((self.empty, -below))  # an empty cell at the same place lies below it
        w, seen = self.weights[order], ~self.empty[order]
        at_risk = w[::-1].cumsum()[::-1]
        kept = np.where(seen & (at_risk > 0), 1 - w / np.where(at_risk > 0, at_risk, 1.0), 1.0)
        chance = np.cumprod(np.clip(kept, 0.0, None))
        before = np.concatenate([[1.0], chance[:-1]])
        middle = np.minimum.accumulate(np.clip(0.5 * (chance + before), 1e-9, 1 - 1e-9))  # signed weights may make it rise
        z = ndtri(middle[seen])[::-1]
        residual = below[order][seen][::-1]
        new = np.concatenate([np.diff(z) > 0, [True]])
        return residual[new], z[new]


def straightened(residual: Array, z: Array) -> Array:
    """Quantiles at the knots from rising residuals at rising normal scores, straight beyond the `EDGE` outermost ones."""
    knots = np.linspace(-FARTHEST, FARTHEST, KNOTS)
    edge = min(EDGE, len(z) // 4)
    low, high = z[edge], z[-1 - edge]

    def at(where: float) -> float:
        return float(np.interp(where, z, residual))

    span = min(0.7, 0.5 * (high - low))
    down, up = (max((at(s + span) - at(s)) / span, LEAST_SLOPE) for s in (low, high - span))
    found = np.interp(knots, z, residual)
    found = np.where(knots < low, at(low) + down * (knots - low), found)
    found = np.where(knots > high, at(high) + up * (knots - high), found)
    return np.asarray(np.maximum.accumulate(found - RISE * np.arange(KNOTS)) + RISE * np.arange(KNOTS))


def tables(cells: Residuals, bins: Array, limits: bool, common: Array | None = None) -> Array:
    """$R$ in every bin, `(BINS, KNOTS)`.

    Args:
        cells: the residuals.
        bins: the bin that each belongs to, `(m,)`.
        limits: False where no cell is ever empty: there is one distribution, whatever the bin.
        common: $R$ of more cells `(BINS, KNOTS)`, for bins with fewer than `ENOUGH` residuals. Without it neighbouring bins, from
            the lowest on, are taken together until they have `FEWEST`; with fewer in all, the network is believed.
    """
    known = np.linspace(-FARTHEST, FARTHEST, KNOTS) if common is None else common
    if not limits:
        whole = cells.quantiles()
        return np.broadcast_to(known, (BINS, KNOTS)).copy() if whole is None else np.tile(whole, (BINS, 1))
    order = np.argsort(bins, kind="stable")
    starts = np.searchsorted(bins[order], np.arange(BINS + 1))
    counts = np.diff(np.concatenate([[0], np.cumsum(~cells.empty[order])])[starts])
    found = np.broadcast_to(known, (BINS, KNOTS)).copy()
    edges = _runs(counts) if common is None else list(range(BINS + 1))
    for first, after in itertools.pairwise(edges):
        if common is not None and counts[first] < ENOUGH:
            continue
        mine = cells.where(order[starts[first] : starts[after]]).quantiles()
        if mine is not None:
            found[first:after] = mine
    return found


def _runs(counts: Array) -> list[int]:
    """Where runs of bins begin and the last one ends; each holds `FEWEST` residuals, but for a single one that cannot."""
    edges, held = [0], 0
    for k, count in enumerate(counts):
        held += int(count)
        if held >= FEWEST:
            edges.append(k + 1)
            held = 0
    return [*edges[:-1], len(counts)] if len(edges) > 1 else [0, len(counts)]


@dataclass(frozen=True)
class Sharing:
    """Which cells share tables.

    Args:
        first: the first feature, `(n,)`.
        group: of each cell `(d,)`, from 0.
        atom: which cells can be empty `(d,)`.
        varies: which ones vary at all `(d,)`.
    """

    first: Array
    group: Array
    atom: Array
    varies: Array

    def tables(
        self, residual: Array, limit: Array, empty: Array, weights: Array, count: int, progress: Callable[[float], None]
    ) -> tuple[Array, Array]:
        """Tables `(count, groups, BINS, KNOTS)` in `count` bins of the first feature, and the rising centres of these `(count,)`.

        Bins without events come last, as copies of the last one that has any.

        Args:
            residual: $r$, `(n, d)`.
            limit: $b$, `(n, d)`.
            empty: which cells are, `(n, d)`.
            weights: `(n,)`.
            count: bins.
            progress: told the part that is done, 0 to 1.
        """
        inner = np.quantile(self.first, np.linspace(0, 1, count + 1)[1:-1])
        which = np.searchsorted(inner, self.first)
        known = np.unique(which)
        groups = int(self.group.max()) + 1
        bins = nearest(torch.from_numpy(limit)).numpy()
        found, centres = np.empty((count, groups, BINS, KNOTS)), np.empty(count)
        for group in range(groups):
            columns = np.flatnonzero((self.group == group) & self.varies)
            limits, common = bool(self.atom[columns].any()), None
            for e, rows in [(None, np.arange(len(which))), *((e, np.flatnonzero(which == here)) for e, here in enumerate(known))]:
                part, w = np.ix_(rows, columns), np.repeat(weights[rows], len(columns))
                cells = Residuals(residual[part].ravel(), limit[part].ravel(), empty[part].ravel(), w)
                mine = tables(cells, bins[part].ravel(), limits, common)
                if e is None:
                    common = mine
                else:
                    found[e, group] = mine
                    centres[e] = self.first[rows].mean()
            progress((group + 1) / groups)
        last = len(known) - 1
        found[last + 1 :] = found[last]
        centres[last + 1 :] = centres[last] + 1 + np.arange(count - last - 1)
        return found, centres
