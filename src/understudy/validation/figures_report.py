"""The figures of a report, drawn from what a comparison found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from understudy.events import Events
from understudy.geometry import Calorimeter
from understudy.validation import figures
from understudy.validation import figures_curves as of_curves
from understudy.validation import figures_energy as of_energy
from understudy.validation import figures_gallery as of_gallery
from understudy.validation import figures_histograms as of_histograms
from understudy.validation import figures_numbers as of_numbers
from understudy.validation import figures_showers as of_showers
from understudy.validation import figures_structure as of_structure
from understudy.validation import figures_variety as of_variety
from understudy.validation.curves import scale_energy
from understudy.validation.figures import Picture
from understudy.validation.gallery import gallery
from understudy.validation.grouping import CURVE_GROUPS, OTHER_CURVES, curve_group, observable_group
from understudy.validation.neighbours import nearest_to
from understudy.validation.observables import Observable, shower_cells
from understudy.validation.outcome import Outcome
from understudy.validation.resolution_fit import CURVE as RESOLUTION
from understudy.validation.resolution_fit import told

NEIGHBOURS = 5
CHOSEN = {"high": 0.95, "median": 0.5, "low": 0.05}
"""Showers whose neighbours are shown, by their place in the order of energies."""
SEARCHED = 5000
"""Showers of a candidate among which their neighbours are looked for."""


@dataclass(frozen=True)
class Panel:
    """A figure of one quantity: its key in `metrics.json`, the picture, and what the picture leaves out."""

    key: str
    picture: Picture
    note: str = ""


def observable_panels(report: Outcome) -> dict[str, list[Panel]]:
    """Histograms of the observables in groups as the paper's figs. 14-21: one quantity, all layers."""
    drawn = _drawn(report)
    groups: dict[str, list[Panel]] = {}
    for observable in report.observables:
        if observable.name in drawn:
            groups.setdefault(observable_group(observable.name, report.geometry), []).append(_histogram(report, observable))
    return groups


def curve_panels(report: Outcome) -> dict[str, list[Panel]]:
    """Curves of the reference in groups; of more than the settings ask for, those with the largest chi-squared."""
    found: dict[str, list[Panel]] = {}
    for key in _drawn_curves(report):
        curve = report.reference.curves[key]
        others = {name: sample.curves[key] for name, sample in report.candidates.items()}
        best = told(report.reference.resolution)[-1]
        fits = {s.name: s.resolution[best] for s in (report.reference, *report.candidates.values()) if best in s.resolution}
        figure = of_curves.curve_figure((report.reference.name, curve), others, fits=fits if key == RESOLUTION else None)
        panel = Panel(key, figures.svg(figure, f"{_words(key)}: {_names(report)}, with pulls"))
        found.setdefault(curve_group(key), []).append(panel)
    return {group: found[group] for group in (*CURVE_GROUPS, OTHER_CURVES) if group in found}


def difference_panel(report: Outcome) -> Panel | None:
    """True minus reconstructed against the true energy; None where the true energy is unknown or always the same."""
    if report.geometry is None or "response" not in report.reference.values:
        return None
    samples = {
        s.name: (scale_energy(s.events, report.geometry), s.values["response"], s.events.weights)
        for s in (report.reference, *report.candidates.values())
    }
    figure = of_energy.difference_figure(samples)
    alt = f"True minus reconstructed energy against the true energy: {_names(report)}"
    return None if figure is None else Panel("difference", figures.png(figure, alt))


def shower_panels(report: Outcome) -> list[Panel]:
    """Mean energy and standard deviation per cell, and their ratios to the reference."""
    geometry = report.geometry
    moments = {s.name: s.moments for s in (report.reference, *report.candidates.values()) if s.moments is not None}
    if geometry is None or not moments:
        return []
    means = {name: m.mean for name, m in moments.items()}
    variances = {name: m.variance for name, m in moments.items()}
    sigmas = {name: np.sqrt(v) for name, v in variances.items()}
    drawn = {
        "Mean energy per cell": of_showers.mean_figure(geometry, means),
        "Mean energy per cell over the reference": of_showers.ratio_figure(geometry, means, "ratio of means"),
        "Standard deviation per cell": of_showers.variance_figure(geometry, variances),
        "Standard deviation per cell over the reference": of_showers.ratio_figure(geometry, sigmas, "ratio of deviations"),
    }
    note = ""
    if len(geometry.layers) > of_showers.MOST_LAYERS:
        note = f"Shown are the {of_showers.MOST_LAYERS} of {len(geometry.layers)} layers with the highest values."
    return [Panel(key, figures.png(figure, f"{key}: {_names(report)}"), note) for key, figure in drawn.items()]


def gallery_panel(report: Outcome) -> Panel | None:
    """Single showers of the reference and of the candidates at the same conditions; None where there are none."""
    found = gallery(report, report.metrics["settings"].get("gallery"))
    if found is None or report.geometry is None:
        return None
    figure = of_gallery.gallery_figure(report.geometry, found.titles, found.cells, figures.colours(report.candidates))
    return Panel("gallery", figures.png(figure, f"Single showers at the same conditions: {_names(report)}"), found.note)


def variety_panels(report: Outcome) -> list[tuple[Panel, Panel | None]]:
    """For each condition of the variety study its histograms and, of a calorimeter, its showers."""
    found = []
    names = list(report.candidates)
    for variety in report.variety:
        lead = variety.source or report.reference.name
        arguments = variety, lead, names, report.geometry
        alt = f"Many samples at {variety.name}: {_names(report)}"
        showers = None
        if report.geometry is not None:
            figure = of_variety.variety_showers(variety, lead, names, report.geometry)
            showers = Panel(variety.name, figures.png(figure, f"{alt}: mean, standard deviation and examples", dpi=130))
        found.append((Panel(variety.name, figures.svg(of_variety.variety_histograms(*arguments), alt), variety.note), showers))
    return found


def correlation_panel(report: Outcome) -> Panel | None:
    """Correlation matrices; None where the comparison made none."""
    moments = {s.name: s.moments for s in (report.reference, *report.candidates.values()) if s.moments is not None}
    if not moments or any(m.scatter.ndim != 2 for m in moments.values()):
        return None
    figure = of_structure.correlation_figure(report.geometry, {name: m.correlation for name, m in moments.items()})
    return Panel("correlations", figures.png(figure, f"Correlation matrices of the cells: {_names(report)}", dpi=140))


def neighbour_panels(report: Outcome) -> list[Panel]:
    """Chosen reference showers beside their nearest candidates; empty without a geometry."""
    if report.geometry is None:
        return []
    reference = report.reference.events
    order = np.argsort(scale_energy(reference, report.geometry), kind="stable")
    found = []
    for word, place in CHOSEN.items():
        row = order[int(place * (len(order) - 1))]
        for name, sample in report.candidates.items():
            picture = _neighbours(report.geometry, reference[row : row + 1], sample.events[:SEARCHED], name)
            found.append(Panel(f"Shower of {word} energy, nearest in {name}", picture))
    return found


def distance_panels(report: Outcome) -> list[Panel]:
    """Distributions of nearest-neighbour distances both ways; empty where no training sample was given."""
    studies = {name: s.neighbours for name, s in report.candidates.items() if s.neighbours is not None}
    if not studies:
        return []
    first = next(iter(studies.values()))
    close = of_structure.distances_figure(
        "from each shower to the nearest of the training sample",
        ("unseen reference", first.heldout_to_training),
        {name: s.generated_to_training for name, s in studies.items()},
    )
    far = of_structure.distances_figure(
        "from each unseen reference shower to the nearest of",
        ("as many training showers", first.heldout_to_reference),
        {name: s.heldout_to_generated for name, s in studies.items()},
    )
    return [
        Panel("memorising", figures.svg(close, f"Distances to the training sample: {_names(report)}")),
        Panel("collapse", figures.svg(far, f"Distances from the reference to the candidates: {_names(report)}")),
    ]


def classifier_panel(report: Outcome) -> Panel:
    """Areas under the curve of all judges and candidates."""
    figure = of_numbers.auc_figure({name: report.metrics["candidates"][name]["classifier"] for name in report.candidates})
    return Panel("classifier", figures.svg(figure, f"Area under the ROC curve of each judge: {', '.join(report.candidates)}"))


def floors_panel(report: Outcome, distance: str = "wasserstein1", what: str = "Wasserstein-1 distance") -> Panel:
    """A distance of every observable over its floor."""
    found = {
        name: {
            o.name: (_number(m[o.name][distance]["value"]), _number(m[o.name][distance]["floor"]))
            for o in report.observables
            if o.name in drawn
        }
        for drawn in (_drawn(report),)
        for name, m in ((n, report.metrics["candidates"][n]["observables"]) for n in report.candidates)
    }
    return Panel("floors", figures.svg(of_numbers.floors_figure(found, what), f"{what} of each observable over its floor"))


def timing_panel(report: Outcome) -> Panel | None:
    """Time per event against batch size, if it was measured."""
    timing = report.metrics.get("timing")
    if not timing or not any(timing.get(engine) for engine in ("torch", "onnx")):
        return None
    return Panel("timing", figures.svg(of_numbers.timing_figure(timing), "Milliseconds per event against batch size"))


def _histogram(report: Outcome, observable: Observable) -> Panel:
    key = observable.name
    samples = {s.name: (s.values[key], s.events.weights) for s in report.candidates.values()}
    values = report.reference.values[key]
    if np.isnan(values).all():
        return Panel(key, figures.svg(of_histograms.empty_figure(), f"{_words(key)}: no value"), "The reference has no value.")
    drawn = of_histograms.overlay(
        observable.label, observable.unit, (report.reference.name, values, report.reference.events.weights), samples
    )
    note = _percentages("Outside the axis", {n: h.outside for n, h in drawn.histograms.items()})
    without = {n: h.undefined / (h.undefined + h.defined) for n, h in drawn.histograms.items() if h.undefined + h.defined > 0}
    if any(without.values()):
        note += " " + _percentages("Without a value", without)
    return Panel(key, figures.svg(drawn.figure, f"{_words(key)}: {_names(report)}, with ratio to the reference"), note)


def _percentages(what: str, fractions: Mapping[str, float]) -> str:
    return f"{what}: " + ", ".join(f"{name} {100 * f:.2g}\u00a0%" for name, f in fractions.items()) + "."


def _neighbours(geometry: Calorimeter, chosen: Events, searched: Events, name: str) -> Picture:
    k = min(NEIGHBOURS, len(searched))
    distances, index = nearest_to(chosen, searched, geometry, k)
    near = searched[index[0]]
    energies = np.concatenate([scale_energy(chosen, geometry), scale_energy(near, geometry)])
    cells, found = shower_cells(chosen, geometry)[0], shower_cells(near, geometry)
    figure = of_showers.neighbours_figure(geometry, cells, found, distances[0], energies)
    return figures.png(figure, f"A reference shower and the {k} nearest showers of {name}", dpi=110)


def _drawn(report: Outcome) -> set[str]:
    """Names of the observables that get a histogram."""
    names = [o.name for o in report.observables]
    most = report.metrics["settings"]["histograms"]
    if len(names) <= most:
        return set(names)
    metrics = [report.metrics["candidates"][name]["observables"] for name in report.candidates]
    wrong = {e["observable"] for name in report.candidates for e in report.metrics["candidates"][name]["above_twice_floor"]}

    def excess(name: str) -> float:
        ratios = [_number(m[name]["ks"]["value"]) / max(_number(m[name]["ks"]["floor"]), 1e-9) for m in metrics]
        return max((r for r in ratios if np.isfinite(r)), default=np.inf)

    return set(sorted(names, key=lambda n: (n in wrong, excess(n)), reverse=True)[:most])


def _drawn_curves(report: Outcome) -> list[str]:
    """Names of the curves that get a figure, in their order."""
    names = list(report.reference.curves)
    most = report.metrics["settings"]["curves"]
    if len(names) <= most:
        return names
    metrics = [report.metrics["candidates"][name]["curves"] for name in report.candidates]
    largest = {n: max(_number(m[n]["chi2"]) if m[n]["chi2"] is not None else np.inf for m in metrics) for n in names}
    best = set(sorted(names, key=lambda n: largest[n], reverse=True)[:most])
    return [n for n in names if n in best]


def _words(key: str) -> str:
    return key.replace("_", " ")


def _names(report: Outcome) -> str:
    return ", ".join([report.reference.name, *report.candidates])


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
