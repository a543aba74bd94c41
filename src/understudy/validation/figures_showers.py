"""Images of showers: every cell in its place and size, all samples on one colour scale.

Mean energy and variance per cell, ratios to the reference, and single showers beside their nearest neighbours
(figs. 6-11 of P. Klein, "WGANs for simulation of e.m. showers in ATLAS calorimeter").
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from understudy.geometry import Calorimeter, Layer
from understudy.schema import Array
from understudy.validation import figures

ENERGY_RANGE = (1e-2, 1e4)
"""Colour scale of mean energies [MeV], as in fig. 6 of the paper."""
MOST_LAYERS = 8
"""Layers that an image shows; of more, those with the highest contents."""
RATIO_MAP = "RdBu_r"
PANEL = 1.55
"""Width of a panel [inches]."""
NOTHING = "#f0f0f0"
"""Cells without a value, or not above zero on a logarithmic scale."""


def draw_layer(axes: Axes, layer: Layer, image: Array, norm: Normalize, cmap: Any) -> Any:
    """Draw one layer with its cells' true sizes.

    Args:
        axes: where.
        layer: its cells; of a cartesian one the longer axis lies horizontally, a polar one is drawn in x and y.
        image: values `(n_first, n_second)`; NaN, and values not above zero on a logarithmic scale, are light grey.
        norm: colour scale.
        cmap: colour map.

    Returns:
        The drawn mesh.
    """
    values: Array = np.ma.masked_invalid(np.where(image > 0, image, np.nan) if isinstance(norm, LogNorm) else image)
    if layer.shape_of_grid == "polar":
        x, y, values = _polar_mesh(layer, values)
    else:
        first, second = (np.asarray(e) for e in layer.edges)
        x, y = np.meshgrid(first, second, indexing="ij")
        if _turned(layer):
            x, y = y, x
    axes.set_facecolor(NOTHING)
    mesh = axes.pcolormesh(x, y, values, norm=norm, cmap=cmap, shading="flat", rasterized=True)
    axes.set_aspect("equal" if _comparable(layer) else "auto")
    axes.set_xlim(float(x.min()), float(x.max()))
    axes.set_ylim(float(y.min()), float(y.max()))
    axes.tick_params(length=2, labelsize=7, top=False, right=False, direction="out")
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(3))
    axes.yaxis.set_major_locator(mpl.ticker.MaxNLocator(3))
    return mesh


def shower_grid(
    geometry: Calorimeter,
    columns: Sequence[tuple[str, Array]],
    norm: Normalize,
    cmap: str,
    colour_label: str,
    title_colours: Mapping[str, str] | None = None,
) -> Figure:
    """Cells of several samples beside each other, a row per layer.

    Args:
        geometry: where the cells sit.
        columns: title and cells `(n_cells,)` of each column.
        norm: colour scale of all of them.
        cmap: colour map.
        colour_label: what the colours mean, with the unit.
        title_colours: colours of titles that are names of candidates.
    """
    layers = shown_layers(geometry, columns[0][1])
    rows = [PANEL * min(max(height_over_width(layer), 0.25), 2.5) for layer in layers]
    left, right, top, bottom, gap_x, gap_y = 0.78, 0.85, 0.34, 0.46, 0.22, 0.28
    width = left + len(columns) * (PANEL + gap_x) + right
    height = top + sum(rows) + gap_y * (len(rows) - 1) + bottom
    with figures.styled():
        figure = Figure((width, height))
        y = height - top
        for r, (layer, row) in enumerate(zip(layers, rows, strict=True)):
            y -= row
            for c, (title, cells) in enumerate(columns):
                box = ((left + c * (PANEL + gap_x)) / width, y / height, PANEL / width, row / height)
                axes = figure.add_axes(box)
                image = np.asarray(cells)[geometry.slices[layer.name]].reshape(layer.shape)
                draw_layer(axes, layer, image, norm, colour_map(cmap))
                label_layer(axes, layer, first=c == 0, last=r == len(layers) - 1)
                if r == 0:
                    colour = (title_colours or {}).get(title, "black")
                    axes.set_title(figures.shortened(title, 24), fontsize=8.5, color=colour, pad=5)
            y -= gap_y
        colour_bar(figure, norm, cmap, colour_label, (width, height), right - 0.08, bottom, top)
    return figure


def mean_figure(geometry: Calorimeter, means: Mapping[str, Array]) -> Figure:
    """Mean energy per cell [MeV] of all samples `(n_cells,)`, the reference first, on the paper's colour scale."""
    colour = figures.colours(list(means)[1:])
    return shower_grid(geometry, list(means.items()), LogNorm(*ENERGY_RANGE), "viridis", "mean energy [MeV]", colour)


def variance_figure(geometry: Calorimeter, variances: Mapping[str, Array]) -> Figure:
    """Standard deviation per cell [MeV], from the variances `(n_cells,)` [MeV^2] of all samples, the reference first."""
    colour = figures.colours(list(variances)[1:])
    columns = [(name, np.sqrt(v)) for name, v in variances.items()]
    return shower_grid(geometry, columns, LogNorm(*ENERGY_RANGE), "viridis", "std. deviation [MeV]", colour)


def ratio_figure(geometry: Calorimeter, samples: Mapping[str, Array], what: str) -> Figure:
    """Cell by cell ratio of the candidates to the reference, which is the first of `samples`; one is white."""
    names = list(samples)
    base = samples[names[0]]
    colour = figures.colours(names[1:])
    columns = [(name, np.divide(samples[name], base, out=np.full(len(base), np.nan), where=base > 0)) for name in names[1:]]
    return shower_grid(geometry, columns, LogNorm(0.5, 2.0), RATIO_MAP, what, colour)


def neighbours_figure(geometry: Calorimeter, chosen: Array, found: Array, distances: Array, energies: Array) -> Figure:
    """A shower and its nearest neighbours.

    Args:
        geometry: where the cells sit.
        chosen: its cells `(n_cells,)` [MeV].
        found: cells `(k, n_cells)` of its neighbours, nearest first.
        distances: `(k,)`, pure numbers.
        energies: energies [MeV] of the shower and of its neighbours, `(k + 1,)`.
    """
    columns = [(f"{energies[0] / 1e3:.3g} GeV", chosen)]
    columns += [(f"{e / 1e3:.3g} GeV, d={d:.2g}", cells) for cells, d, e in zip(found, distances, energies[1:], strict=True)]
    highest = max(float(np.max(chosen)), float(np.max(found)), 1e-3)
    return shower_grid(geometry, columns, LogNorm(1e-4 * highest, highest), "viridis", "energy [MeV]")


def shown_layers(geometry: Calorimeter, cells: Array, most: int = MOST_LAYERS) -> list[Layer]:
    """All layers, or of more than `most` those with the highest contents, in their order."""
    contents = [float(np.nansum(cells[geometry.slices[name]])) for name in geometry.layer_names]
    best = sorted(np.argsort(contents)[::-1][:most])
    return [geometry.layers[i] for i in best]


def _turned(layer: Layer) -> bool:
    first, second = (e[-1] - e[0] for e in layer.edges)
    return second > first


def _comparable(layer: Layer) -> bool:
    """Whether lengths along both axes can be compared: equal units, or pseudorapidity and an angle."""
    return layer.shape_of_grid == "polar" or layer.units[0] == layer.units[1] or set(layer.axes) == {"eta", "phi"}


def height_over_width(layer: Layer) -> float:
    """Height of a layer's image over its width, with its longer axis horizontal; 1 where lengths cannot be compared."""
    if layer.shape_of_grid == "polar" or not _comparable(layer):
        return 1.0
    spans = sorted(e[-1] - e[0] for e in layer.edges)
    return spans[0] / spans[1]


def _polar_mesh(layer: Layer, image: Array) -> tuple[Array, Array, Array]:
    """Corners in x and y, and the image, with each bin of alpha cut finely enough to look round."""
    alpha, r = (np.asarray(e) for e in layer.edges)
    pieces = max(1, math.ceil(96 / layer.shape[0]))
    fine = np.interp(np.arange(layer.shape[0] * pieces + 1) / pieces, np.arange(len(alpha)), alpha)
    return r[None, :] * np.cos(fine)[:, None], r[None, :] * np.sin(fine)[:, None], np.repeat(image, pieces, axis=0)


def label_layer(axes: Axes, layer: Layer, first: bool, last: bool) -> None:
    """Axis names outside the grid only; the layer's name at its left."""
    names, units = (("x", "y"), (layer.units[1],) * 2) if layer.shape_of_grid == "polar" else (layer.axes, layer.units)
    if layer.shape_of_grid != "polar" and _turned(layer):
        names, units = names[::-1], units[::-1]
    symbols = [rf"$\{n}$" if n in ("eta", "phi", "alpha") else n for n in names]
    horizontal, vertical = (figures.with_unit(s, u) for s, u in zip(symbols, units, strict=True))
    if last:
        axes.set_xlabel(horizontal, fontsize=8, labelpad=2)
    else:
        axes.tick_params(labelbottom=False)
    if first:
        axes.set_ylabel(f"{figures.shortened(layer.name, 14)}\n{vertical}", fontsize=8)
    else:
        axes.tick_params(labelleft=False)


def colour_map(name: str) -> Any:
    """A colour map in which cells without a value are light grey."""
    return mpl.colormaps[name].with_extremes(bad=NOTHING)


def colour_bar(
    figure: Figure, norm: Normalize, cmap: str, label: str, size: tuple[float, float], right: float, bottom: float, top: float
) -> None:
    """A colour bar at the right of a figure of `size`, `right` from its edge, of at most 3.5 inches; all in inches."""
    width, height = size
    length = min(height - bottom - top, 3.5)
    box = ((width - right) / width, (height - top - length) / height, 0.12 / width, length / height)
    mappable = mpl.cm.ScalarMappable(norm, mpl.colormaps[cmap])
    extend = "both" if cmap == RATIO_MAP else "neither"
    bar = figure.colorbar(mappable, cax=figure.add_axes(box), extend=extend)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=7, right=True, left=False)
    if isinstance(norm, LogNorm) and norm.vmax is not None and norm.vmin is not None and norm.vmax / norm.vmin < 20:
        ticks = [t for t in (0.5, 0.7, 1.0, 1.4, 2.0) if norm.vmin <= t <= norm.vmax]
        bar.set_ticks(ticks, labels=[f"{t:g}" for t in ticks])
        bar.ax.yaxis.set_minor_locator(mpl.ticker.NullLocator())
