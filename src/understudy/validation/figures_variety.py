"""Figures of many samples at one condition: histograms of the observables, and mean, spread and examples of the showers."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from understudy.events import Events
from understudy.geometry import Calorimeter
from understudy.schema import Array
from understudy.validation import figures
from understudy.validation.figures_gallery import gallery_figure
from understudy.validation.figures_histograms import draw_key, histogram
from understudy.validation.observables import shower_cells
from understudy.validation.structure import CellMoments
from understudy.validation.variety import Variety, chosen_observables, smallest_width, unit_of, values_of

ACROSS = 4
"""Histograms side by side."""
WIDTH, HEIGHT = 2.25, 1.85
"""Size of a histogram with its labels [inches]."""
BINS = 24
EXAMPLES = 5


def variety_histograms(variety: Variety, reference: str, candidates: list[str], geometry: Calorimeter | None) -> Figure:
    """Each observable at one condition: the reference filled, what is compared with it as lines.

    Where the reference's conditions are spread, dashed lines are the samples of the one condition.

    Args:
        variety: the samples.
        reference: what the reference is called.
        candidates: all candidates of the report, which fixes their colours; those that were not asked are left out.
        geometry: where the cells sit.
    """
    observables = chosen_observables(variety.reference, geometry)
    shown = [n for n in candidates if variety.compared(n) is not None]
    base = values_of(variety.reference, geometry, observables)
    solid = {n: values_of(e, geometry, observables) for n in shown if (e := variety.compared(n)) is not None}
    dashed = {n: values_of(variety.candidates[n], geometry, observables) for n in shown if n in variety.matched}
    across = min(ACROSS, len(observables))
    down = -(-len(observables) // across)
    colour = figures.colours(candidates)
    with figures.styled():
        width, height, top = 0.25 + across * WIDTH, 0.3 + down * HEIGHT, 0.3
        figure = Figure((width, height))
        for i, o in enumerate(observables):
            x, y = 0.3 + (i % across) * WIDTH, height - top - (i // across + 1) * HEIGHT + 0.48
            axes = figure.add_axes((x / width, y / height, (WIDTH - 0.25) / width, (HEIGHT - 0.55) / height))
            per_energy = o.unit == "MeV" and unit_of(o, variety.reference) == ""
            label = f"{o.label} over $E_\\mathrm{{inc}}$" if per_energy else figures.with_unit(o.label, o.unit)
            lines = [(colour[n], "-", v[o.name]) for n, v in solid.items()]
            lines += [(colour[n], "--", v[o.name]) for n, v in dashed.items()]
            _draw(axes, base[o.name], lines, smallest_width(geometry))
            axes.set_xlabel(label, fontsize=8, labelpad=2)
        draw_key(figure, reference, candidates, loc="upper left", fontsize=8)
    return figure


def variety_showers(variety: Variety, reference: str, candidates: list[str], geometry: Calorimeter) -> Figure:
    """Mean and standard deviation of every cell [MeV] at one condition, and a few showers, of each sample.

    The showers of a file's reference are at conditions near the one; the candidates' are at the same.
    """
    samples: Mapping[str, Events | None] = {reference: variety.reference, **{n: variety.compared(n) for n in candidates}}
    rows = {}
    for name, events in samples.items():
        if events is not None:
            cells = shower_cells(events, geometry)
            moments = CellMoments.of(cells, events.weights, False)
            rows[name] = np.concatenate([moments.mean[None], np.sqrt(moments.variance)[None], cells[:EXAMPLES]])
    titles = [("mean",), ("std. deviation",), *((f"shower {i + 1}",) for i in range(min(EXAMPLES, len(variety.reference))))]
    order = [n for n in candidates if n in rows]
    return gallery_figure(geometry, titles, rows, {n: figures.colours(candidates)[n] for n in order})


def _draw(axes: Axes, base: Array, lines: list[tuple[str, str, Array]], smallest: float) -> None:
    """Fractions of events in bins that hold all samples."""
    everything = np.concatenate([v[~np.isnan(v)] for v in (base, *(v for _, _, v in lines))])
    low, high = np.quantile(everything, [0.002, 0.998]) if len(everything) else (0.0, 1.0)
    if not high - low > smallest:  # one value, but for rounding
        low, high = low - max(0.1 * abs(low), 100 * smallest, 1e-9), high + max(0.1 * abs(high), 100 * smallest, 1e-9)
    edges = np.linspace(low, high, BINS + 1)
    filled = histogram(np.clip(base, low, high), edges).fractions[0]
    axes.stairs(filled, edges, fill=True, color=figures.REFERENCE_FILL)
    axes.stairs(filled, edges, color=figures.REFERENCE_LINE, lw=0.9)
    highest = float(np.nanmax(filled, initial=0.0))
    for shade, style, values in lines:
        contents = histogram(np.clip(values, low, high), edges).fractions[0]
        axes.stairs(contents, edges, color=shade, ls=style, lw=1.2 if style == "-" else 1.0)
    axes.set_xlim(low, high)
    axes.set_ylim(0, 2.2 * highest if highest > 0 else 1.0)  # a collapsed sample is one bin far above the rest
    axes.set_yticks([])
    axes.tick_params(labelsize=7)
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
