"""Figures of what lies behind single observables: correlations of cells, and distances between nearest showers."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from understudy.geometry import Calorimeter
from understudy.schema import Array
from understudy.validation import figures

PANEL = 2.3
"""Width of a matrix [inches]."""


def correlation_figure(geometry: Calorimeter | None, matrices: Mapping[str, Array]) -> Figure:
    """Pearson correlations `(d, d)` of all samples, the reference first, and below each its difference from the reference.

    Lines separate the layers, in the order of the response.
    """
    names = list(matrices)
    base = matrices[names[0]]
    colour = figures.colours(names[1:])
    left, right, top, bottom, gap, below = 0.95, 0.8, 0.3, 0.95, 0.16, 0.18
    width, height = left + len(names) * (PANEL + gap) + right, top + 2 * PANEL + below + bottom
    differences = {n: matrices[n] - base for n in names[1:]}
    largest = max((float(np.abs(d).max()) for d in differences.values()), default=0.0)
    spread = next((s for s in (0.05, 0.1, 0.2, 0.5) if largest <= s), 1.0)
    with figures.styled():
        figure = Figure((width, height))

        def panel(column: int, row: int) -> Axes:
            y = bottom + (1 - row) * (PANEL + below)
            return figure.add_axes(((left + column * (PANEL + gap)) / width, y / height, PANEL / width, PANEL / height))

        for c, name in enumerate(names):
            axes = panel(c, 0)
            correlation = axes.imshow(matrices[name], vmin=-1, vmax=1, cmap="RdBu_r", interpolation="nearest")
            axes.set_title(figures.shortened(name, 30), color=colour.get(name, "black"))
            _mark_layers(axes, geometry, len(base), horizontal=len(names) == 1, vertical=c == 0)
        difference = None
        for c, name in enumerate(names[1:], start=1):
            axes = panel(c, 1)
            difference = axes.imshow(differences[name], vmin=-spread, vmax=spread, cmap="PuOr_r", interpolation="nearest")
            _mark_layers(axes, geometry, len(base), horizontal=True, vertical=c == 1)
        x = left + len(names) * (PANEL + gap)
        for row, image, label in ((0, correlation, "correlation"), (1, difference, "candidate $-$ reference")):
            if image is not None:
                y = bottom + (1 - row) * (PANEL + below)
                bar = figure.colorbar(image, cax=figure.add_axes((x / width, y / height, 0.11 / width, PANEL / height)))
                bar.set_label(label, fontsize=8)
                bar.ax.tick_params(labelsize=7, right=True, left=False)
    return figure


def distances_figure(
    title: str, yardstick: tuple[str, Array], found: Mapping[str, Array], size: tuple[float, float] = (5.0, 3.0)
) -> Figure:
    """Distributions of distances to the nearest neighbour.

    Args:
        title: from what to what.
        yardstick: name and distances `(n,)` that fresh reference events have.
        found: distances of each candidate.
        size: width and height in inches.
    """
    name, expected = yardstick
    colour = figures.colours(found)
    everything = np.concatenate([expected, *found.values()])
    positive = everything[everything > 0]
    low, high = np.quantile(positive, [0.002, 0.999]) if len(positive) else (0.1, 1.0)
    edges = np.geomspace(low, max(high, 1.01 * low), 46)
    with figures.styled():
        figure = Figure(size)
        axes = figure.add_axes((0.13, 0.17, 0.84, 0.73))
        axes.stairs(_shares(expected, edges), edges, fill=True, color=figures.REFERENCE_FILL)
        axes.stairs(_shares(expected, edges), edges, color=figures.REFERENCE_LINE, lw=0.9, label=figures.shortened(name, 40))
        for key, values in found.items():
            axes.stairs(_shares(values, edges), edges, color=colour[key], lw=1.3, label=figures.shortened(key, 40))
        axes.set_xscale("log")
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(0, 1.45 * axes.get_ylim()[1])
        if edges[-1] < 100 * edges[0]:
            axes.xaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        else:  # copies are as near as rounding
            axes.xaxis.set_major_locator(mpl.ticker.LogLocator(numticks=8))
        axes.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("distance to the nearest shower")
        axes.set_ylabel("fraction of showers")
        axes.legend(loc="upper left")
    return figure


def _shares(values: Array, edges: Array) -> Array:
    """Contents over all events; distances beyond the edges count into the outermost bins."""
    contents, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    return np.asarray(contents / max(len(values), 1))


def _mark_layers(axes: Axes, geometry: Calorimeter | None, cells: int, horizontal: bool, vertical: bool) -> None:
    axes.tick_params(length=0, labelsize=7)
    if geometry is None or geometry.n_cells != cells:
        axes.tick_params(labelbottom=horizontal, labelleft=vertical)
        return
    some = slice(None, None, max(1, -(-len(geometry.layers) // 8)))
    starts = [s.start for s in geometry.slices.values()]
    centres = [0.5 * (s.start + s.stop - 1) for s in geometry.slices.values()]
    names = [figures.shortened(n, 12) for n in geometry.layer_names]
    axes.set_xticks(centres[some], names[some] if horizontal else [], rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(centres[some], names[some] if vertical else [])
    for start in starts[1:] if len(starts) <= 12 else []:
        axes.axhline(start - 0.5, color="#666666", lw=0.5)
        axes.axvline(start - 0.5, color="#666666", lw=0.5)
