"""Figures of a scan: the union of the seeds with the spread between them, and a summary of each group.

The line of a variant is the histogram of all its seeds' samples together; the band around it is one standard deviation of a
single seed's content of that bin, over the seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from understudy.scan.results import Mean
from understudy.schema import Array
from understudy.validation import figures
from understudy.validation.figures_histograms import bin_edges, draw_contents, draw_key, histogram

BAND = 0.22
"""Opacity of the bands."""
Content = tuple[Array, Array]
"""Fraction of the events in each bin `(k,)`, and its standard deviation over the seeds."""


def contents(samples: Sequence[Array], edges: Array) -> Content:
    """Fractions of the union of samples in bins, and the standard deviation of those of single samples (0 of one sample)."""
    union = histogram(np.concatenate(samples), edges).fractions[0]
    single = np.stack([histogram(values, edges).fractions[0] for values in samples])
    return union, single.std(0, ddof=1) if len(samples) > 1 else np.zeros_like(union)


def union_figure(
    label: str,
    unit: str,
    reference: tuple[str, Array, Array | None],
    variants: Mapping[str, Sequence[Array]],
    size: tuple[float, float] = (3.7, 3.8),
) -> Figure:
    """An observable of all variants of a group over the reference, with the ratio below.

    Args:
        label: what the axis says, without the unit.
        unit: unit of the values.
        reference: name, values `(n,)` and weights.
        variants: the samples of all seeds, each `(m,)`, by variant.
        size: width and height in inches.

    Raises:
        ValueError: the reference has no defined value.
    """
    name, values, weights = reference
    edges = bin_edges(values)
    base = histogram(values, edges, weights)
    scale, shown_unit = figures.in_display_unit(unit, float(np.abs(edges).max()))
    found = {variant: contents(samples, edges) for variant, samples in variants.items()}
    logarithmic = _wants_log(base.contents)
    with figures.styled():
        figure = Figure(size)
        rows = -(-(1 + len(found)) // 3)
        top = 0.955 - 0.045 * rows
        upper = figure.add_axes((0.165, 0.37, 0.79, top - 0.37))
        lower = figure.add_axes((0.165, 0.13, 0.79, 0.225), sharex=upper)
        draw_contents(upper, {name: base}, scale, logarithmic)
        _draw(upper, found, edges * scale)
        _set_height(upper, [base.fractions[0], *(c + s for c, s in found.values())], logarithmic)
        fractions, error = base.fractions
        safe = np.where(fractions > 0, fractions, np.nan)
        lower.stairs(1 + error / safe, edges * scale, baseline=1 - error / safe, fill=True, color=figures.BAND, lw=0)
        lower.axhline(1.0, color=figures.REFERENCE_LINE, lw=0.7)
        ratios = {variant: (c / safe, s / safe) for variant, (c, s) in found.items()}
        _draw(lower, ratios, edges * scale)
        half = _half_range([r for r, _ in ratios.values()], fractions)
        lower.set_ylim(1 - half, 1 + half)
        lower.set_yticks([1 - half / 2, 1, 1 + half / 2])
        lower.set_ylabel("ratio")
        upper.tick_params(labelbottom=False)
        lower.set_xlabel(figures.with_unit(label, shown_unit))
        lower.set_xlim(edges[0] * scale, edges[-1] * scale)
        lower.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5))
        for axes in (upper, lower):
            figures.minor_ticks(axes)
        figure.align_ylabels([upper, lower])
        draw_key(figure, name, list(found), loc="upper center", fontsize=7.2, length=17, columns=3)
    return figure


def summary_figure(
    parameter: str, quantity: str, means: Mapping[str, Mean], seeds: Mapping[str, Sequence[float]], floor: float | None
) -> Figure:
    """A number of each variant: mean over the seeds with its error, the single seeds as dots, and the floor as a line."""
    labels = list(means)
    colour, shape = figures.colours(labels), figures.markers(labels)
    with figures.styled():
        figure = Figure((max(3.6, 1.3 + 0.75 * len(labels)), 3.0), layout="constrained")
        axes = figure.add_subplot()
        for x, name in enumerate(labels):
            single = np.asarray(seeds[name], float)
            axes.plot(
                x + np.linspace(0.14, 0.26, len(single)), single, ls="none", marker=".", ms=4, color=colour[name], alpha=0.6
            )
            value, error, _ = means[name]
            axes.errorbar(x, value, None if np.isnan(error) else error, marker=shape[name], ms=5, capsize=3, color=colour[name])
        if floor is not None:
            axes.axhline(floor, color=figures.REFERENCE_LINE, lw=0.9, ls="--")
            axes.annotate("floor", (1.0, floor), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=7.5)
        axes.set_xticks(range(len(labels)), [figures.shortened(name, 16) for name in labels])
        axes.tick_params(axis="x", which="both", top=False, bottom=False)
        axes.set_xlim(-0.5, len(labels) - 0.5)
        every = [v for values in seeds.values() for v in values if np.isfinite(v)]
        if every and floor and min(every) > 0 and max(every) > 12 * min(*every, floor):
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0.0)
        axes.set_xlabel(figures.plain(parameter))
        axes.set_ylabel(quantity)
    return figure


def _draw(axes: Axes, found: Mapping[str, Content], edges: Array) -> None:
    colour = figures.colours(found)
    for name, (content, spread) in found.items():
        low, high = content - spread, content + spread
        axes.stairs(high, edges, baseline=low, fill=True, color=colour[name], alpha=BAND, lw=0)
        axes.stairs(content, edges, baseline=None, color=colour[name], lw=1.1)


def _set_height(axes: Axes, heights: Sequence[Array], logarithmic: bool) -> None:
    together = np.concatenate(heights)
    highest = float(np.nanmax(together, initial=0.0)) or 1.0
    if logarithmic:
        positive = together[together > 0]
        axes.set_ylim(0.5 * float(positive.min()), 3 * highest)
    else:
        axes.set_ylim(0.0, 1.1 * highest)


def _wants_log(filled: Array) -> bool:
    """Logarithmic where the highest bin is far above the typical one."""
    positive = filled[filled > 0]
    return len(positive) > 4 and float(positive.max()) > 8 * float(np.median(positive))


def _half_range(ratios: Sequence[Array], base: Array) -> float:
    """Half of the ratio's axis, as the well-filled bins need it."""
    heavy = base >= 0.1 * np.nanmax(base)
    far = max((float(np.nanmax(np.abs(r[heavy] - 1), initial=0.0)) for r in ratios), default=0.0)
    return next((half for half in (0.2, 0.5) if far < 0.8 * half), 1.0)
