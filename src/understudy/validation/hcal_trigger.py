r"""The hadron trigger of LHCb's first level, by what fires it: the signal (HTOS), the rest of the event (HTIS), or both.

The trigger fires where the transverse energies of 2 x 2 neighbouring cells of one region add up to more than a threshold. Every
track of the signal has a square of 7 x 7 pixels of the merged image around it. An event is

- *HTOS* if a window that fires overlaps one of these squares,
- *HTIS* if a window that fires overlaps none of them;

it can be both, by different windows. Windows run over real cells: those of the outer region are 4 x 4 pixels large. (Section
5.1.1 of the HCAL thesis, which calls events with windows of one sort alone by these names, and counts those with both as
both.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from understudy import hcal_geometry as hcal
from understudy.schema import Array

THRESHOLD = 3200.0
"""Sum of a window above which the trigger fires [MeV]."""
SQUARE = 7
"""Side of the square around a signal track in pixels."""


@dataclass(frozen=True)
class Decisions:
    """What fired the trigger in each event, booleans `(n,)`."""

    tos: Array
    tis: Array

    @property
    def both(self) -> Array:
        """HTOS and HTIS."""
        return np.asarray(self.tos & self.tis)

    @property
    def any(self) -> Array:
        """The trigger fired."""
        return np.asarray(self.tos | self.tis)


def window_sums(cells: Array) -> Array:
    """Sums of 2 x 2 neighbours of cells `(n, rows, columns)`, `(n, rows - 1, columns - 1)`."""
    pairs = cells[:, 1:].astype(np.float64) + cells[:, :-1]
    return np.asarray(pairs[:, :, 1:] + pairs[:, :, :-1])


def signal_squares(signal: Any, side: int = SQUARE) -> Array:
    """Pixels within the squares around signal tracks, boolean `(n, 52, 64)`.

    Args:
        signal: `n` lists of tracks (x, y, et).
        side: of a square, odd [pixels].
    """
    counts, items = hcal.flat_tracks(signal)
    mask = np.zeros((len(counts), *hcal.SHAPE), bool)
    at = hcal.pixel(items[:, 0], items[:, 1])
    event = np.repeat(np.arange(len(counts)), counts)[at >= 0]
    mask.reshape(len(counts), -1)[event, at[at >= 0]] = True
    return _dilated(_dilated(mask, side // 2, 1), side // 2, 2)


def decisions(images: Array, signal: Any, threshold: float = THRESHOLD, side: int = SQUARE) -> Decisions:
    """Trigger decisions of images `(n, 52, 64)` [MeV] with signal tracks `signal`, `n` lists of (x, y, et)."""
    inner, outer = hcal.real_cells(images)
    near = signal_squares(signal, side)
    inside = near[:, hcal.INNER_ROWS, hcal.INNER_COLUMNS]
    coarse = _any_pair(_any_pair(near, 1, 2), 2, 2)
    tos, tis = np.zeros(len(images), bool), np.zeros(len(images), bool)
    for cells, touched in ((inner, inside), (outer, coarse)):
        fired = window_sums(cells) > threshold
        overlaps = _any_pair(_any_pair(touched, 1, 1), 2, 1)
        tos |= (fired & overlaps).any((1, 2))
        tis |= (fired & ~overlaps).any((1, 2))
    return Decisions(tos, tis)


def drawn_tracks(counts: Array, items: Array, number: int, rng: np.random.Generator) -> tuple[list[Array], Array]:
    """`number` tracks of each event at random, whatever they are; all of an event that has fewer.

    Args:
        counts: tracks of each event `(n,)`.
        items: tracks (x, y, et) of all events, one after the other, `(total, 3)`.
        number: of tracks to draw.
        rng: draws them.

    Returns:
        Lists of tracks as `decisions` takes them, and their summed transverse energies `(n,)` [MeV].
    """
    first = np.concatenate([[0], np.cumsum(counts)])
    drawn = [items[start + rng.permutation(n)[:number]] for start, n in zip(first, counts, strict=False)]
    return drawn, np.array([tracks[:, 2].sum() for tracks in drawn])


def _dilated(mask: Array, reach: int, axis: int) -> Array:
    """The mask and its copies moved by up to `reach` along `axis`."""
    wide = mask.copy()
    n = mask.shape[axis]
    for step in range(1, reach + 1):
        low, high = [slice(None)] * 3, [slice(None)] * 3
        low[axis], high[axis] = slice(0, n - step), slice(step, n)
        wide[tuple(high)] |= mask[tuple(low)]
        wide[tuple(low)] |= mask[tuple(high)]
    return wide


def _any_pair(mask: Array, axis: int, stride: int) -> Array:
    """Whether either of two neighbours along `axis` is set; with a stride of 2 pairs do not overlap."""
    n = mask.shape[axis]
    first, second = [slice(None)] * 3, [slice(None)] * 3
    first[axis], second[axis] = slice(0, n - 1, stride), slice(1, n, stride)
    return np.asarray(mask[tuple(first)] | mask[tuple(second)])
