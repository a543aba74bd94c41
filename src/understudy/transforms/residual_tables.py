r"""How standardised residuals follow from normal scores, as tables that many cells share.

A residual $r = (y - \mu)/\sigma$ is standard normal if a cell is as the network says, and empty below $r = -b$. From there on,

$$u = r + \bar b, \qquad t = z + \bar b + \delta, \qquad \bar b = \min(b, 4),$$

cells are empty where $t \le 0$, and then $r = t - b$. What they really do is read from the training sample, in bins of $b$ and
of the first feature:
$\delta$ such that as many cells have $t > 0$ as are not empty, and then the function $U(t)$ which gives $u$ the distribution
that it has, $P(u > U(t')) = P(t > t')$ for all $t'$. Cells of a bin differ in $b$; their distributions of $t$ are added up. So a
cell is empty as often as it should, and the faintest cells, just above their threshold, have the spectrum that they should.

$U$ is linear between knots, which are dense near the threshold, and straight beyond them; $\delta$ and $U$ are linear between
bins: for every cell a map that rises, and that is inverted exactly.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import ndtr
from torch import Tensor

from understudy.schema import Array

KNOTS = 61
"""Of $U$, at $t$ that rise as squares up to `FARTHEST`."""
FARTHEST = 9.0
FIRST = FARTHEST / (KNOTS - 1) ** 2
"""The first knot above zero."""
ROW = KNOTS + 1
"""Numbers of a table: $U$ at the knots, and $\\delta$."""
CAP = 4.0
"""$b$ from which on a cell counts as never empty."""
DEEPEST = -8.0
"""$b$ below which a cell counts as no less often hit."""
MOST_SHIFTED = 3.0
"""Largest $|\\delta|$."""
BINS = 32
"""Of $b$, evenly in its area hyperbolic sine."""
LOWEST_LIMIT = -6.0
LOW, HIGH = float(np.arcsinh(LOWEST_LIMIT)), float(np.arcsinh(40.0))
WIDTH = (HIGH - LOW) / (BINS - 1)
FEWEST = 60
"""Residuals that a table needs to be known."""
ENOUGH = 200
"""Residuals that one of a single bin of the first feature needs."""
EDGE = 20
"""Residuals beyond the last quantile that counts as known."""
SPAN = 0.7
"""Of $t$, over which the slope beyond it is found."""
LEAST_SLOPE = 0.2
RISE = 1e-3
"""Of $U$ from knot to knot at least, over the distance of the knots: well above rounding, for the way back."""
TINY = 1e-6
"""The least $t$ of a cell that is not empty."""
AT = FIRST * np.arange(KNOTS) ** 2.0
"""Where the knots are."""
BELIEVED = np.concatenate([AT, [0.0]])
"""The table of cells that are as the network says."""


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


def interpolated(table: Tensor, row: Tensor, towards: Tensor, limit: Tensor, z: Tensor) -> Tensor:
    """The residuals $r$ `(n, d)` of normal scores.

    Args:
        table: of each event `(n, rows * ROW)`, or of all `(rows * ROW,)`.
        row: of each cell `(n, d)`, a whole number of floating type; the next row is that of the next bin.
        towards: the next bin `(n, d)`, 0 to 1.
        limit: $b$, `(n, d)`.
        z: normal scores `(n, d)`; gradients reach them, also where one lies exactly at a knot.
    """
    start = row * float(ROW)
    shift = limit.clamp(max=CAP)
    t = z + limit.clamp(DEEPEST, CAP) + _between(table, (start + float(KNOTS)).long(), ROW, towards)
    above = t.clamp(min=0.0)
    knot = (above.detach() * (1 / FIRST)).sqrt().clamp(max=KNOTS - 2.0).floor()
    along = (above - FIRST * knot * knot) / (FIRST * (2 * knot + 1))
    first = (start + knot).long()
    lower, upper = _between(table, first, ROW, towards), _between(table[..., 1:], first, ROW, towards)
    return lower + (upper - lower) * along + (t - above) - torch.where(t < 0, limit, shift)


def _between(table: Tensor, index: Tensor, next_row: int, towards: Tensor) -> Tensor:
    """What a table holds at `index`, and in the next row, linear between them."""
    a, b = _taken(table, index), _taken(table[..., next_row:], index)
    return a + (b - a) * towards


def _taken(table: Tensor, index: Tensor) -> Tensor:
    return table.gather(0, index.flatten()).view_as(index) if table.ndim == 1 else table.gather(1, index)


def solved(table: Tensor, row: Tensor, towards: Tensor, limit: Tensor, residual: Tensor) -> Tensor:
    """The normal scores `(n, d)` of residuals; arguments as of `interpolated`."""
    rows = table.reshape(-1, table.shape[-1] // ROW, ROW)
    events = torch.arange(len(rows), device=table.device)[:, None]
    number = row.long()
    known = torch.lerp(rows[events, number], rows[events, number + 1], towards[:, :, None])
    heights, offset = known[:, :, :KNOTS].contiguous(), known[:, :, KNOTS]
    under = residual + limit - heights[:, :, 0]
    above = torch.maximum(residual + limit.clamp(max=CAP), heights[:, :, 0])
    knot = (torch.searchsorted(heights, above[:, :, None].contiguous()) - 1).clamp(0, KNOTS - 2)
    at, after = heights.gather(2, knot).squeeze(2), heights.gather(2, knot + 1).squeeze(2)
    whole = knot.squeeze(2).to(residual.dtype)
    t = FIRST * whole * whole + (above - at) / (after - at) * (FIRST * (2 * whole + 1))
    return torch.where(under < 0, under, t.clamp(min=TINY)) - limit.clamp(DEEPEST, CAP) - offset


@dataclass(frozen=True)
class Residuals:
    """Residuals of cells that share a table, all flat `(m,)`.

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

    def table(self) -> Array | None:
        """$U$ at the knots and $\\delta$, `(ROW,)`, or None where too few are known."""
        hit = ~self.empty
        shift = np.minimum(self.limit, CAP)
        whole, held = float(self.weights.sum()), float(self.weights[hit].sum())
        if hit.sum() < FEWEST or not 0 < held <= whole:
            return None
        chance = _exceeding(np.maximum(shift, DEEPEST), self.weights, whole)
        limited = held < whole * (1 - 1e-9)
        offset = _offset(chance, held / whole) if limited else 0.0
        u = self.residual[hit] + shift[hit]
        order = np.argsort(-u, kind="stable")
        w = self.weights[hit][order]
        passed = np.maximum.accumulate(w.cumsum() - 0.5 * w)  # signed weights may make it fall
        heights = _heights(chance(AT - offset) * whole, passed, u[order], held, limited)
        return np.concatenate([heights, [offset]])


def _exceeding(shift: Array, weights: Array, whole: float) -> Callable[[Array], Array]:
    r"""$P(z + \bar b > t)$ as a function of $t$ `(k,)`: of cells whose $\bar b$ differ."""
    shares, edges = np.histogram(shift, 64, weights=weights)
    centres = 0.5 * (edges[1:] + edges[:-1])
    return lambda t: np.asarray((shares * ndtr(centres - np.asarray(t, float)[..., None])).sum(-1) / whole)


def _offset(chance: Callable[[Array], Array], wanted: float) -> float:
    r"""$\delta$, with which a part `wanted` of the cells has $t > 0$."""

    def missing(offset: float) -> float:
        return float(chance(np.array(-offset))) - wanted

    low, high = -MOST_SHIFTED, MOST_SHIFTED
    if missing(low) >= 0:
        return low
    return high if missing(high) <= 0 else float(brentq(missing, low, high, xtol=1e-9))


def _heights(above: Array, passed: Array, u: Array, held: float, limited: bool) -> Array:
    """$U$ at the knots: what as much weight of `u` (falling, `passed` lies above each) exceeds as knots are exceeded by.

    Straight from the `EDGE` highest on, and where nothing limits it from the `EDGE` lowest on.
    """
    edge = min(EDGE, len(u) // 4) / len(u) * held

    def at(weight: float) -> float:
        return float(np.interp(weight, passed, u))

    def where(weight: float) -> float:
        return float(np.interp(weight, above[::-1], AT[::-1]))

    found = np.interp(above, passed, u)
    high = where(edge)
    inner = max(high - SPAN, 0.5 * high)
    slope = max((at(edge) - at(float(np.interp(inner, AT, above)))) / max(high - inner, FIRST), LEAST_SLOPE)
    found = np.where(high < AT, at(edge) + slope * (AT - high), found)
    if limited:
        found[0] = min(0.0, u[-1])
    elif above[0] > held - edge:
        low = where(held - edge)
        slope = max((float(np.interp(low + SPAN, AT, found)) - at(held - edge)) / SPAN, LEAST_SLOPE)
        found = np.where(low > AT, at(held - edge) + slope * (AT - low), found)
    return np.asarray(np.maximum.accumulate(found - RISE * AT) + RISE * AT)


def tables(cells: Residuals, bins: Array, limits: bool, common: Array | None = None) -> Array:
    """The tables of all bins, `(BINS, ROW)`.

    Args:
        cells: the residuals.
        bins: the bin that each belongs to, `(m,)`.
        limits: False where no cell is ever empty: there is one distribution, whatever the bin.
        common: those of more cells `(BINS, ROW)`, for bins with fewer than `ENOUGH` residuals. Without it neighbouring bins, from
            the lowest on, are taken together until they have `FEWEST`; with fewer in all, the network is believed.
    """
    known = BELIEVED if common is None else common
    if not limits:
        whole = cells.table()
        return np.broadcast_to(known, (BINS, ROW)).copy() if whole is None else np.tile(whole, (BINS, 1))
    order = np.argsort(bins, kind="stable")
    starts = np.searchsorted(bins[order], np.arange(BINS + 1))
    counts = np.diff(np.concatenate([[0], np.cumsum(~cells.empty[order])])[starts])
    found = np.broadcast_to(known, (BINS, ROW)).copy()
    edges = _runs(counts) if common is None else list(range(BINS + 1))
    for first, after in itertools.pairwise(edges):
        if common is not None and counts[first] < ENOUGH:
            continue
        mine = cells.where(order[starts[first] : starts[after]]).table()
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
        """Tables `(count, groups, BINS, ROW)` in `count` bins of the first feature, and the rising centres of these `(count,)`.

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
        found, centres = np.empty((count, groups, BINS, ROW)), np.empty(count)
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
