"""One self-contained page that shows what a comparison found: `report.html`, with every figure inside.

The page needs no network and no script; the figures are the paper's list (P. Klein, "WGANs for simulation of e.m. showers in
ATLAS calorimeter", figs. 6-21) with errors, floors, and the classifier tests. `overview.png` beside it is the whole
comparison in one picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from understudy.files import atomic_path, write_text
from understudy.validation import figures, figures_numbers, figures_report, html_judges, html_sections, html_tables
from understudy.validation.figures_overview import overview_figure
from understudy.validation.outcome import Outcome


def write_report(report: Outcome, directory: str | Path, history: Sequence[Mapping[str, Any]] | None = None) -> Path:
    """Write `report.html` and `overview.png` into `directory`.

    Args:
        report: what `compare` found.
        directory: made if it is missing.
        history: rows of the training's `history.json`, to be drawn as well.

    Returns:
        Path of `report.html`.

    Raises:
        OSError: a file cannot be written.
    """
    folder = Path(directory)
    overview = figures.png(
        overview_figure(report), f"{report.reference.name} and {', '.join(report.candidates)} at a glance", dpi=150
    )
    with atomic_path(folder / "overview.png") as partial:
        partial.write_bytes(overview.data)
    return write_text(folder / "report.html", page(report, history))


def page(report: Outcome, history: Sequence[Mapping[str, Any]] | None = None) -> str:
    """The page as text; arguments as for `write_report`."""
    environment = Environment(
        loader=PackageLoader("understudy.validation", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    observables, curves = figures_report.observable_panels(report), figures_report.curve_panels(report)
    course = None if not history else figures_numbers.history_figure(history)
    return environment.get_template("report.html.j2").render(
        title=f"{', '.join(report.candidates)} against {report.reference.name}",
        metrics=report.metrics,
        reference=report.reference.name,
        geometry=None if report.geometry is None else report.geometry.name,
        names=list(report.candidates),
        main=next(iter(report.candidates)),
        colours=figures.colours(report.candidates),
        comparisons={name: report.metrics["candidates"][name] for name in report.candidates},
        quantity=html_tables.quantity,
        main_rows=html_tables.main_rows(report),
        small_table=lambda key: html_tables.small_table(report, key),
        distance_rows=lambda distance: html_tables.distance_rows(report, distance),
        curve_rows=html_tables.curve_rows(report),
        curve_table=lambda key: html_tables.curve_table(report, key),
        correlation_cells=html_tables.correlation_cells(report),
        classifier=figures_report.classifier_panel(report),
        floors=figures_report.floors_panel(report),
        showers=figures_report.shower_panels(report),
        observables=observables,
        drawn=sum(len(panels) for panels in observables.values()),
        count=len(report.observables),
        curves=curves,
        difference=figures_report.difference_panel(report),
        curves_drawn=sum(len(panels) for panels in curves.values()),
        correlations=figures_report.correlation_panel(report),
        wrong=html_sections.still_wrong(report, {p.key for panels in observables.values() for p in panels}),
        tails=html_judges.tails_table(report),
        largest_tails=html_judges.largest_tails(report),
        regions=html_judges.regions_table(report),
        moments=html_sections.moments_table(report),
        closure=html_sections.closure_table(report),
        reading=html_sections.reading_table(report),
        fits=html_sections.fits_table(report),
        gallery=figures_report.gallery_panel(report),
        variety=list(zip(figures_report.variety_panels(report), html_sections.variety_tables(report), strict=True)),
        findings=[(kind, finding) for kind, several in report.findings.items() for finding in several],
        neighbours=figures_report.neighbour_panels(report),
        distances_to_neighbours=figures_report.distance_panels(report),
        timing=_timing(report),
        training=report.metrics.get("training"),
        history=None if course is None else figures.svg(course, "Losses and physics score against the epoch"),
    )


def _timing(report: Outcome) -> dict[str, Any] | None:
    """Times per event by engine, in the order of the batch sizes."""
    timing, panel = report.metrics.get("timing"), figures_report.timing_panel(report)
    if not timing or panel is None:
        return None
    known = {engine: {int(b): ms for b, ms in timing[engine].items()} for engine in ("torch", "onnx") if timing.get(engine)}
    batches = sorted({b for times in known.values() for b in times})
    engines = {engine: [times.get(b) for b in batches] for engine, times in known.items()}
    others = {
        name: {engine: [times.get(str(b)) for b in batches] for engine in engines if (times := found["timing"].get(engine))}
        for name, found in report.metrics["candidates"].items()
        if found.get("timing")
    }
    return {**timing, "batches": batches, "engines": engines, "others": others, "picture": panel.picture}
