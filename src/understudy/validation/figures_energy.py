"""True minus reconstructed energy against the true energy, in two dimensions.

P. Klein, "WGANs for simulation of e.m. showers in ATLAS calorimeter", names this plot as the one to have once showers are
conditioned on the true energy. Here it is relative to the true energy, which shows all energies equally well, and each column
holds the distribution at that energy, whatever the spectrum.
"""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from scipy import stats

from understudy.schema import Array
from understudy.validation import figures
from understudy.validation.curve import FEWEST
from understudy.validation.figures_showers import colour_map
from understudy.validation.quantiles import monotone

COLUMNS, ROWS = 24, 48
IN_A_COLUMN = 40
"""Events that a column should hold; of fewer events there are fewer columns."""
MOST_IN_A_ROW = 4
LEVELS = (stats.norm.sf(1.0), 0.5, stats.norm.cdf(1.0))
"""Quantiles that are drawn as lines: the median and the central 68 %."""
FAINTEST = 1e-3
Sample = tuple[Array, Array, Array | None]
"""True energy `(n,)` [MeV], reconstructed over true energy `(n,)`, and weights."""


def difference_figure(samples: Mapping[str, Sample]) -> Figure | None:
    """A panel for each sample, the reference first, all with the same bins, axes and colours.

    Solid lines are the sample's median and central 68 %, dashed ones the reference's.

    Returns:
        The figure, or None where the reference has no spread of energies or of responses.
    """
    names = list(samples)
    edges = _edges(*samples[names[0]])
    if edges is None:
        return None
    colour = figures.colours(names[1:])
    contents = {name: columns(*sample, *edges) for name, sample in samples.items()}
    lines = {name: quantiles(*sample, edges[0]) for name, sample in samples.items()}
    across = min(len(names), MOST_IN_A_ROW)
    down = -(-len(names) // across)
    left, right, bottom, top, panel, tall, gap = 0.75, 0.85, 0.5, 0.3, 2.1, 2.1, 0.12
    width = left + across * panel + (across - 1) * gap + right
    height = bottom + down * tall + (down - 1) * (gap + top) + top
    highest = max(float(np.nan_to_num(c).max()) for c in contents.values())
    norm = LogNorm(FAINTEST, max(highest, 10 * FAINTEST))
    with figures.styled():
        figure = Figure((width, height))
        for i, name in enumerate(names):
            row, column = divmod(i, across)
            x, y = left + column * (panel + gap), bottom + (down - 1 - row) * (tall + gap + top)
            axes = figure.add_axes((x / width, y / height, panel / width, tall / height))
            _draw(axes, edges, contents[name], norm)
            _lines(axes, edges[0], lines[name], lines[names[0]] if i else None)
            axes.set_title(figures.shortened(name, 28), color=colour.get(name, "black"))
            axes.tick_params(labelleft=column == 0, labelbottom=i + across >= len(names))
            if column == 0:
                axes.set_ylabel(r"$(E_\mathrm{inc} - E_\mathrm{tot}) / E_\mathrm{inc}$")
            if i + across >= len(names):
                axes.set_xlabel(r"$E_\mathrm{inc}$ [GeV]")
        bar_axes = figure.add_axes(
            ((width - right + 0.1) / width, bottom / height, 0.11 / width, (height - bottom - top) / height)
        )
        bar = figure.colorbar(mpl.cm.ScalarMappable(norm, colour_map("viridis")), cax=bar_axes)
        bar.set_label("fraction of events at this energy", fontsize=8)
        bar.ax.tick_params(labelsize=7, left=False)
    return figure


def columns(energy: Array, response: Array, weights: Array | None, across: Array, up: Array) -> Array:
    """Fractions of the events of each energy bin by `1 - response`, `(energy bins, bins)`.

    Energy bins with fewer than ten events are NaN. Events beyond the bins of `up` count in the outermost ones.
    """
    known = np.isfinite(response)
    w = (np.ones(len(energy)) if weights is None else weights)[known]
    y = np.clip(1 - response[known], up[0], np.nextafter(up[-1], up[0]))
    counted, _, _ = np.histogram2d(energy[known], y, (across, up), weights=w)
    events, _ = np.histogram(energy[known], across)
    total = counted.sum(1)
    safe = np.where((events >= FEWEST) & (total > 0), total, np.nan)
    return np.asarray(counted / safe[:, None])


def quantiles(energy: Array, response: Array, weights: Array | None, across: Array) -> Array:
    """`LEVELS` of `1 - response` in energy bins, `(energy bins, levels)`; NaN in bins with fewer than ten events."""
    w = np.ones(len(energy)) if weights is None else weights
    found = np.full((len(across) - 1, len(LEVELS)), np.nan)
    index = np.searchsorted(across, energy, side="right") - 1
    for k in range(len(found)):
        rows = np.flatnonzero((index == k) & np.isfinite(response))
        rows = rows[np.argsort(1 - response[rows])]
        if len(rows) < FEWEST:
            continue
        part = monotone(np.cumsum(w[rows]))
        if part[-1] > 0:
            found[k] = 1 - response[rows[np.minimum(np.searchsorted(part, np.multiply(LEVELS, part[-1])), len(rows) - 1)]]
    return found


def _edges(energy: Array, response: Array, weights: Array | None) -> tuple[Array, Array] | None:
    """Bins of the energy, logarithmic over more than a factor of ten, and of the relative difference."""
    known = np.isfinite(response) & (energy > 0)
    if known.sum() < FEWEST:
        return None
    low, high = float(energy[known].min()), float(energy[known].max())
    bottom, top = np.quantile(1 - response[known], [0.002, 0.998])
    if high < 1.05 * low or not top > bottom:
        return None
    spaced = np.geomspace if high > 10 * low else np.linspace
    margin, number = 0.08 * (top - bottom), int(np.clip(known.sum() // IN_A_COLUMN, 1, COLUMNS))
    return spaced(low * (1 - 1e-6), high * (1 + 1e-6), number + 1), np.linspace(bottom - margin, top + margin, ROWS + 1)


def _draw(axes: Axes, edges: tuple[Array, Array], content: Array, norm: LogNorm) -> None:
    across, up = edges
    axes.set_facecolor("#f0f0f0")
    shown = np.ma.masked_where(~(content > 0), np.maximum(content, FAINTEST))
    axes.pcolormesh(across / 1000, up, shown.T, norm=norm, cmap=colour_map("viridis"), rasterized=True)
    if across[-1] > 10 * across[0]:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
        axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    axes.set_xlim(across[0] / 1000, across[-1] / 1000)
    axes.set_ylim(up[0], up[-1])


def _lines(axes: Axes, across: Array, own: Array, reference: Array | None) -> None:
    edges = across / 1000
    for level, weight in enumerate((0.9, 1.4, 0.9)):
        if reference is not None:
            axes.stairs(reference[:, level], edges, baseline=None, color="white", lw=weight, ls="--")
        axes.stairs(own[:, level], edges, baseline=None, color="#D55E00", lw=weight)
