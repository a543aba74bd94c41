"""One picture of a whole comparison: mean showers, the leading distributions and the classifiers' answers."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from understudy.geometry import Calorimeter
from understudy.schema import Array
from understudy.validation import figures, figures_histograms, figures_numbers, figures_showers
from understudy.validation.observables import Observable
from understudy.validation.outcome import Outcome

WIDTH, HEIGHT = 12.0, 4.9
MOST_LAYERS = 5


def overview_figure(report: Outcome) -> Figure:
    """Mean energies of the reference and the main candidate, two observables with their ratios, and the AUCs.

    Without a geometry the first columns of the response take the place of the images.
    """
    with figures.styled():
        figure = Figure((WIDTH, HEIGHT))
        chosen = _leading(report)
        moments = [report.reference.moments, next(iter(report.candidates.values())).moments]
        if report.geometry is not None and moments[0] is not None and moments[1] is not None:
            names = (report.reference.name, next(iter(report.candidates)))
            _images(figure, report.geometry, names, (moments[0].mean, moments[1].mean), (0.025, 0.32))
            boxes = [(0.41, 0.16), (0.615, 0.16)]
        else:
            boxes = [(0.04, 0.2), (0.295, 0.2), (0.55, 0.2)]
        for (left, width), observable in zip(boxes, chosen, strict=False):
            _histogram(figure, report, observable, left, width)
        axes = figure.add_axes((0.825, 0.13, 0.17, 0.72))
        figures_numbers.draw_aucs(axes, {n: report.metrics["candidates"][n]["classifier"] for n in report.candidates})
        axes.tick_params(axis="x", labelsize=7, rotation=35)
        axes.set_title("classifier tests (0.5: not told apart)", fontsize=8.5)
        _key(figure, report)
    return figure


def _images(
    figure: Figure, geometry: Calorimeter, names: tuple[str, str], means: tuple[Array, Array], span: tuple[float, float]
) -> None:
    """A column of layers for each of the two samples, and their colour bar."""
    layers = figures_showers.shown_layers(geometry, means[0])[:MOST_LAYERS]
    norm = LogNorm(*figures_showers.ENERGY_RANGE)
    low, high, gap = 0.13, 0.85, 0.03
    height = (high - low - gap * (len(layers) - 1)) / len(layers)
    width = 0.47 * (span[1] - span[0])
    for c, (name, cells) in enumerate(zip(names, means, strict=True)):
        for r, layer in enumerate(layers):
            box = (span[0] + c * (width + 0.06 * (span[1] - span[0])), high - height - r * (height + gap), width, height)
            axes = figure.add_axes(box)
            image = np.asarray(cells)[geometry.slices[layer.name]].reshape(layer.shape)
            figures_showers.draw_layer(axes, layer, image, norm, mpl.colormaps["viridis"].with_extremes(bad="#f0f0f0"))
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_aspect("equal" if layer.shape_of_grid == "polar" or len(layers) == 1 else "auto")
            if c == 0:
                axes.set_ylabel(figures.shortened(layer.name, 12), fontsize=8)
            if r == 0:
                colour = "black" if c == 0 else figures.PALETTE[0]
                axes.set_title(figures.shortened(name, 22), fontsize=8.5, color=colour)
    bar = figure.colorbar(mpl.cm.ScalarMappable(norm, "viridis"), cax=figure.add_axes((span[1] + 0.006, low, 0.008, high - low)))
    bar.set_label("mean energy per cell [MeV]", fontsize=8, labelpad=1)
    bar.ax.tick_params(labelsize=7, left=False)


def _histogram(figure: Figure, report: Outcome, observable: Observable, left: float, width: float) -> None:
    key, reference = observable.name, report.reference
    samples = {s.name: (s.values[key], s.events.weights) for s in report.candidates.values()}
    top = figure.add_axes((left, 0.385, width, 0.465))
    below = figure.add_axes((left, 0.13, width, 0.235), sharex=top)
    filled, scale, unit, logarithmic = figures_histograms.fill(
        observable.unit, (reference.name, reference.values[key], reference.events.weights), samples
    )
    figures_histograms.draw_contents(top, filled, scale, logarithmic)
    figures_histograms.draw_ratio(below, filled, scale)
    edges = filled[reference.name].edges * scale
    below.set_xlim(edges[0], edges[-1])
    below.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
    below.set_xlabel(figures.with_unit(observable.label, unit))
    top.tick_params(labelbottom=False)
    top.set_ylabel("")
    below.set_ylabel("")
    top.set_title("fraction of events, ratio", fontsize=8.5)
    figures.minor_ticks(top)


def _key(figure: Figure, report: Outcome) -> None:
    figures_histograms.draw_key(figure, report.reference.name, list(report.candidates), loc="upper center", fontsize=9)


def _leading(report: Outcome) -> list[Observable]:
    """The observables that say most: response (or total energy) and shower core or width; else the first ones."""
    usable = [o for o in report.observables if not np.isnan(report.reference.values[o.name]).all()]
    wanted = ("response", "core_fraction_", "width_", "total_energy")
    found = [next((o for o in usable if o.name.startswith(start)), None) for start in wanted]
    chosen = [o for o in found if o is not None]
    return chosen + [o for o in usable if o not in chosen]
