"""The numbers of HCAL images that the published studies compare (see `hcal_images.py`), with floors and histograms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from understudy.registry import register
from understudy.schema import Array
from understudy.validation import figures
from understudy.validation.analyses.base import Analysis, Finding, Samples
from understudy.validation.figures_histograms import bin_edges, draw_contents, draw_key, histogram
from understudy.validation.hcal_images import observables
from understudy.validation.measure import distances
from understudy.validation.observable import Observable
from understudy.validation.settings import ValidationSettings


@register("analyses", "hcal-images")
class HcalImages(Analysis):
    """Total and largest transverse energy, active cells, resolution and, of single tracks, the centre of energy."""

    def __call__(self, samples: Samples) -> Sequence[Finding]:
        """One finding."""
        settings = ValidationSettings(replicas=samples.replicas)
        known = observables(samples.reference)
        first = {o.name: o(samples.reference) for o in known}
        second = {o.name: o(samples.floor) for o in known}
        own = {name: {o.name: o(events) for o in known} for name, events in samples.candidates.items()}
        numbers = {}
        for name, events in samples.candidates.items():
            paired = (samples.paired.get(name, False), False)
            weights = (samples.reference.weights, samples.floor.weights, events.weights)
            numbers[name] = {
                o.name: distances(
                    o,
                    (first[o.name], second[o.name], own[name][o.name]),
                    weights,
                    paired,
                    settings,
                    samples.generator("hcal-images", name, o.name),
                ).model_dump(mode="json")
                for o in known
            }
        rows = [
            {
                "candidate": name,
                "quantity": key,
                "Wasserstein-1": _said(entry["wasserstein1"], entry["unit"]),
                "Kolmogorov-Smirnov": _said(entry["ks"], ""),
            }
            for name, entries in numbers.items()
            for key, entry in entries.items()
        ]
        text = (
            "Total and largest transverse energy, number of cells above 6 MeV, the tracks' transverse energy minus the image's"
            " and, of single tracks, the mean row and column of the energy. Distances are followed by those of two reference"
            " samples to each other."
        )
        picture = figures.svg(
            _figure(samples.reference_name, known, first, own), "Histograms of these numbers for the reference and all candidates"
        )
        return [Finding("Images of the HCAL", text, numbers, rows=rows, pictures=[picture])]


def _said(entry: dict[str, float], unit: str) -> str:
    return f"{entry['value']:.3g} ± {entry['error']:.1g}{' ' + unit if unit else ''} (floor {entry['floor']:.2g})"


def _figure(
    name: str, known: Sequence[Observable], reference: dict[str, Array], candidates: dict[str, dict[str, Array]]
) -> Figure:
    """All observables side by side."""
    columns = 3
    rows = -(-len(known) // columns)
    with figures.styled():
        figure = Figure((3.1 * columns, 2.5 * rows + 0.4))
        for i, o in enumerate(known):
            axes = figure.add_subplot(rows, columns, i + 1)
            values = reference[o.name]
            edges = bin_edges(values[np.isfinite(values)])
            filled = {n: histogram(v, edges) for n, v in {name: values, **{k: c[o.name] for k, c in candidates.items()}}.items()}
            scale, unit = figures.in_display_unit(o.unit, float(edges[-1]))
            draw_contents(axes, filled, scale)
            axes.set_xlabel(figures.with_unit(o.label, unit))
        figure.tight_layout(rect=(0, 0, 1, 1 - 0.4 / (2.5 * rows + 0.4)))
        draw_key(figure, name, list(candidates), loc="upper center")
    return figure
