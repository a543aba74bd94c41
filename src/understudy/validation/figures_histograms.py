"""Histograms of observables: reference and candidates over each other, with the ratio below.

Contents are fractions of the events for which the observable is defined. The axis spans all but 0.1 % of the reference on
either side; how much of each sample lies outside it, and for how many events there is no value, is returned beside the
figure so that nothing is clipped in silence. The grey band in the ratio is the reference's own statistical error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from understudy.schema import Array
from understudy.validation import figures
from understudy.validation.distances import reference_edges

BINS = 40
MANY_INTEGERS = 60
"""Integers that span more than this share bins."""


@dataclass(frozen=True, eq=False)
class Histogram:
    """A weighted histogram.

    Args:
        edges: bin edges `(k + 1,)`.
        contents: sums of weights `(k,)`.
        error: square roots of the sums of squared weights `(k,)`.
        under: sum of weights below the first edge.
        over: sum of weights above the last edge.
        undefined: sum of weights of events without a value.
    """

    edges: Array
    contents: Array
    error: Array
    under: float
    over: float
    undefined: float

    @property
    def defined(self) -> float:
        """Sum of weights of all events with a value, inside the edges or not."""
        return float(self.contents.sum() + self.under + self.over)

    @property
    def fractions(self) -> tuple[Array, Array]:
        """Contents and errors over the sum of all defined events."""
        total = self.defined if self.defined > 0 else np.nan
        return self.contents / total, self.error / total

    @property
    def outside(self) -> float:
        """Fraction of the defined events outside the edges."""
        return (self.under + self.over) / self.defined if self.defined > 0 else float("nan")


def histogram(values: Array, edges: Array, weights: Array | None = None) -> Histogram:
    """Fill a histogram; the last bin includes its upper edge, as numpy's.

    Args:
        values: `(n,)`; NaN where the observable is not defined.
        edges: increasing bin edges `(k + 1,)`.
        weights: `(n,)`, may be negative.
    """
    w = np.ones(len(values)) if weights is None else np.asarray(weights, np.float64)
    defined = ~np.isnan(values)
    v, wv = values[defined], w[defined]
    contents, _ = np.histogram(v, edges, weights=wv)
    squares, _ = np.histogram(v, edges, weights=wv**2)
    under, over = float(wv[v < edges[0]].sum()), float(wv[v > edges[-1]].sum())
    return Histogram(edges, contents, np.sqrt(squares), under, over, float(w[~defined].sum()))


def bin_edges(reference: Array, bins: int = BINS, weights: Array | None = None) -> Array:
    """Edges for drawing, from the reference alone: integers get bins of their own.

    Raises:
        ValueError: the reference has no defined value.
    """
    edges = reference_edges(reference, bins, tails=False, weights=weights)
    values = reference[~np.isnan(reference)]
    low, high = np.floor(edges[0]), np.ceil(edges[-1])
    if np.any(values != np.round(values)) or high - low > 1e6:
        return edges
    step = max(1, int(np.ceil((high - low + 1) / MANY_INTEGERS)))
    return np.arange(low, high + step + 0.5, step) - 0.5


@dataclass(frozen=True, eq=False)
class Overlay:
    """A drawn observable: the figure, and the histograms behind it by name, the reference's first."""

    figure: Figure
    histograms: dict[str, Histogram]
    logarithmic: bool


def overlay(
    label: str,
    unit: str,
    reference: tuple[str, Array, Array | None],
    candidates: Mapping[str, tuple[Array, Array | None]],
    size: tuple[float, float] = (3.5, 3.5),
) -> Overlay:
    """Draw an observable.

    Args:
        label: what the axis says, without the unit; may hold LaTeX.
        unit: unit of the values.
        reference: name, values `(n,)` and weights.
        candidates: values `(m,)` and weights by name.
        size: width and height in inches.

    Raises:
        ValueError: the reference has no defined value.
    """
    filled, scale, shown_unit, logarithmic = fill(unit, reference, candidates)
    edges = filled[reference[0]].edges
    with figures.styled():
        figure = Figure(size)
        top = figure.add_axes((0.165, 0.395, 0.79, 0.475))
        below = figure.add_axes((0.165, 0.14, 0.79, 0.24), sharex=top)
        draw_contents(top, filled, scale, logarithmic)
        draw_ratio(below, filled, scale)
        top.tick_params(labelbottom=False)
        below.set_xlabel(figures.with_unit(label, shown_unit))
        below.set_xlim(edges[0] * scale, edges[-1] * scale)
        below.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5))
        figures.minor_ticks(top)
        figures.minor_ticks(below)
        figure.align_ylabels([top, below])
        names = list(candidates)
        draw_key(figure, reference[0], names, loc="upper center", fontsize=7.5, length=21, columns=2 if names else 1)
    return Overlay(figure, filled, logarithmic)


def fill(
    unit: str, reference: tuple[str, Array, Array | None], candidates: Mapping[str, tuple[Array, Array | None]]
) -> tuple[dict[str, Histogram], float, str, bool]:
    """Histograms by name, factor and unit to draw them in, and whether the vertical axis is to be logarithmic."""
    name, values, weights = reference
    edges = bin_edges(values, weights=weights)
    filled = {name: histogram(values, edges, weights)}
    filled.update({key: histogram(v, edges, w) for key, (v, w) in candidates.items()})
    scale, shown_unit = figures.in_display_unit(unit, float(np.abs(edges).max()))
    return filled, scale, shown_unit, _wants_log(filled[name])


def draw_contents(axes: Axes, filled: Mapping[str, Histogram], scale: float = 1.0, logarithmic: bool = False) -> None:
    """The upper panel: the first sample filled in grey, the others as lines."""
    colour = figures.colours(list(filled)[1:])
    for i, (name, h) in enumerate(filled.items()):
        y, error = h.fractions
        if i == 0:
            axes.stairs(y, h.edges * scale, fill=True, color=figures.REFERENCE_FILL)
            axes.stairs(y, h.edges * scale, color=figures.REFERENCE_LINE, lw=0.9, label=figures.shortened(name))
            centres = 0.5 * (h.edges[1:] + h.edges[:-1]) * scale
            figures.bars(axes, centres, y - error, y + error, color=figures.REFERENCE_LINE, lw=0.6)
        else:
            axes.stairs(y, h.edges * scale, color=colour[name], lw=1.3, label=figures.shortened(name))
    contents = np.concatenate([h.fractions[0] for h in filled.values()])
    highest = float(np.nanmax(contents, initial=0.0)) or 1.0
    if logarithmic:
        positive = contents[contents > 0]
        axes.set_yscale("log")
        axes.set_ylim(0.5 * float(positive.min()), highest * 3)
    else:
        axes.set_ylim(min(0.0, 1.1 * float(np.nanmin(contents, initial=0.0))), 1.12 * highest)
    axes.set_ylabel("fraction of events")


def draw_ratio(axes: Axes, filled: Mapping[str, Histogram], scale: float = 1.0) -> None:
    """The lower panel: candidates over reference with their errors, and the reference's own error as a band.

    Points beyond the axis are arrows at its border.
    """
    names = list(filled)
    base, base_error = filled[names[0]].fractions
    edges = filled[names[0]].edges * scale
    valid = base > 0
    safe = np.where(valid, base, np.nan)
    band = base_error / safe
    axes.stairs(1 + band, edges, baseline=1 - band, fill=True, color=figures.BAND, lw=0)
    axes.axhline(1.0, color=figures.REFERENCE_LINE, lw=0.7)
    colour, shape = figures.colours(names[1:]), figures.markers(names[1:])
    ratios = {n: (filled[n].fractions[0] / safe, filled[n].fractions[1] / safe) for n in names[1:]}
    half = _half_range([r[0] for r in ratios.values()], base)
    low, high = 1 - half, 1 + half
    for i, (name, (ratio, error)) in enumerate(ratios.items()):
        shift = (i + 1) / (len(ratios) + 1)
        x = edges[:-1] + shift * np.diff(edges)
        inside = (ratio >= low) & (ratio <= high)
        style: dict[str, Any] = {"color": colour[name]}
        figures.bars(axes, x[inside], (ratio - error)[inside], (ratio + error)[inside], lw=0.8, **style)
        axes.plot(x[inside], ratio[inside], ls="none", marker=shape[name], ms=2.2, **style)
        for beyond, at, arrow in ((ratio > high, high, "^"), (ratio < low, low, "v")):
            axes.plot(x[beyond], np.full(int(beyond.sum()), at), ls="none", marker=arrow, ms=4, color=colour[name], clip_on=False)
    axes.set_ylim(low, high)
    axes.set_yticks([1 - half / 2, 1, 1 + half / 2])
    axes.set_ylabel("ratio")


def draw_key(figure: Figure, reference: str, candidates: Sequence[str], length: int = 40, columns: int = 4, **style: Any) -> None:
    """The key to the colours of all samples, names cut to `length`."""
    colour, shape = figures.colours(candidates), figures.markers(candidates)
    grey: dict[str, Any] = {"facecolor": figures.REFERENCE_FILL, "edgecolor": figures.REFERENCE_LINE}
    handles: list[Any] = [mpl.patches.Patch(**grey, label=figures.shortened(reference, length))]
    for name in candidates:
        label = figures.shortened(name, length)
        handles.append(mpl.lines.Line2D([], [], color=colour[name], marker=shape[name], ms=3.5, label=label))
    columns = min(len(handles), columns)
    figure.legend(handles=handles, ncols=columns, borderaxespad=0.3, columnspacing=1.2, labelspacing=0.25, **style)


def empty_figure(size: tuple[float, float] = (3.5, 3.2)) -> Figure:
    """What stands for a histogram where the reference has no value at all."""
    with figures.styled():
        figure = Figure(size)
        figure.text(0.5, 0.5, "no value in the reference", ha="center", va="center")
    return figure


def _wants_log(h: Histogram) -> bool:
    """Logarithmic where the highest bin is far above the typical one: tails would be invisible."""
    filled = h.contents[h.contents > 0]
    return len(filled) > 4 and float(filled.max()) > 8 * float(np.median(filled))


def _half_range(ratios: Sequence[Array], base: Array) -> float:
    """Half of the ratio's axis: as tight as the well-filled bins allow."""
    heavy = base >= 0.1 * np.nanmax(base)
    far = max((float(np.nanmax(np.abs(r[heavy] - 1), initial=0.0)) for r in ratios), default=0.0)
    return next((half for half in (0.2, 0.5) if far < 0.6 * half), 1.0)
