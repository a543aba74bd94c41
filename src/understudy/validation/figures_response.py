"""Figures of a tracker's answer to single particles: maps, one particle again and again, reliability, what passes through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from understudy.schema import Array
from understudy.validation import figures
from understudy.validation.figures_histograms import draw_contents, draw_key, draw_ratio, histogram

Maps = Mapping[str, tuple[Array, Array]]
WORDS = {"efficiency": "efficiency", "median": r"median of $p_T'/p_T$", "width": r"width of $p_T'/p_T$"}
MOST_PULL = 4.0


def map_figure(name: str, reference: str, maps: Mapping[str, Maps], pt_edges: Array, eta_edges: Array) -> Figure:
    """One quantity over $p_T$ and $\\eta$: the reference, each candidate, and the candidates' pulls below.

    Args:
        name: `efficiency`, `median` or `width`.
        reference: name of the reference among `maps`.
        maps: of each sample, as `response_regions.binned` makes them.
        pt_edges: edges [MeV].
        eta_edges: edges.
    """
    base, base_error = maps[reference][name]
    candidates = [n for n in maps if n != reference]
    columns = 1 + len(candidates)
    finite = base[np.isfinite(base)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    with figures.styled():
        figure = Figure((2.9 * columns, 4.6), layout="constrained")
        axes = figure.subplots(2, columns, squeeze=False, sharex=True, sharey=True)
        for i, sample in enumerate([reference, *candidates]):
            value, error = maps[sample][name]
            shown = axes[0, i].pcolormesh(pt_edges / 1000, eta_edges, value, vmin=low, vmax=high, cmap="viridis")
            axes[0, i].set_title(figures.shortened(sample))
            if i == 0:
                continue
            with np.errstate(invalid="ignore", divide="ignore"):
                pull = (value - base) / np.hypot(error, base_error)
            pulls = axes[1, i].pcolormesh(pt_edges / 1000, eta_edges, pull, vmin=-MOST_PULL, vmax=MOST_PULL, cmap="RdBu_r")
            axes[1, i].set_xlabel(r"$p_T$ [GeV]")
            figure.colorbar(pulls, ax=axes[1, i], label="pull")
        figure.colorbar(shown, ax=axes[0, -1], label=WORDS[name])
        axes[1, 0].set_axis_off()
        for a in axes.flat:
            a.set_xscale("log")
        axes[0, 0].set_ylabel(r"$\eta$")
    return figure


def overlays(
    titles: Sequence[str], samples: Sequence[Mapping[str, Array]], label: str, logarithmic: bool = False, bins: int = 50
) -> Figure:
    """Distributions side by side, each with the ratio to the first sample of its own below.

    Args:
        titles: over each.
        samples: values `(n,)` by name, the reference first; the same names everywhere.
        label: what the horizontal axes say.
        logarithmic: the vertical axis; the horizontal one then shows the tails as well.
        bins: of each histogram.
    """
    names = list(samples[0])
    with figures.styled():
        figure = Figure((3.1 * len(samples), 3.7))
        width = 0.86 / len(samples)
        for i, (title, values) in enumerate(zip(titles, samples, strict=True)):
            left = 0.075 + i * (width + 0.012)
            top = figure.add_axes((left, 0.37, width - 0.055, 0.45))
            below = figure.add_axes((left, 0.14, width - 0.055, 0.21), sharex=top)
            first = values[names[0]]
            first = first[np.isfinite(first)]
            if len(first) < 2:
                continue
            tail = 0.0005 if logarithmic else 0.005
            low, high = np.quantile(first, [tail, 1 - tail])
            edges = np.linspace(low, max(high, low + 1e-6 * max(1.0, abs(low))), bins + 1)
            filled = {name: histogram(v, edges) for name, v in values.items()}
            draw_contents(top, filled, logarithmic=logarithmic)
            draw_ratio(below, filled)
            top.tick_params(labelbottom=False)
            top.set_title(title, fontsize=8)
            below.set_xlabel(label)
            below.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
            if i:
                top.set_ylabel("")
                below.set_ylabel("")
        draw_key(figure, names[0], names[1:], loc="upper center", fontsize=7.5)
    return figure


def reliability_figure(curves: Mapping[str, Mapping[str, Any]]) -> Figure:
    """What part is detected against the probability that was predicted, and the difference below; by candidate."""
    with figures.styled():
        figure = Figure((3.6, 4.0), layout="constrained")
        top, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        top.plot([0, 1], [0, 1], color=figures.REFERENCE_LINE, lw=0.7)
        below.axhline(0, color=figures.REFERENCE_LINE, lw=0.7)
        for (name, curve), colour in zip(curves.items(), figures.colours(curves).values(), strict=True):
            x, y, e = (np.asarray(curve[k], float) for k in ("predicted", "found", "error"))
            top.plot(x, y, "o", ms=3.5, color=colour, label=figures.shortened(name))
            below.errorbar(x, y - x, e, fmt="o", ms=3.5, lw=0.9, color=colour)
        top.set_ylabel("part that is detected")
        below.set_ylabel("difference")
        below.set_xlabel("predicted probability")
        top.legend()
    return figure
