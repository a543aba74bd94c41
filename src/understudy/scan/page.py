"""`report.html` of a scan: one self-contained page, as the report of a run, with a section for each group of variants."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from scipy.stats import ttest_ind_from_stats

from understudy.files import write_text
from understudy.scan.figures import summary_figure, union_figure
from understudy.scan.judge import Judge
from understudy.scan.plan import BASE, Plan
from understudy.scan.results import Mean, RunResult, mean
from understudy.schema import Array
from understudy.validation import figures
from understudy.validation.figures_histograms import empty_figure, overlay
from understudy.validation.figures_report import Panel
from understudy.validation.figures_structure import correlation_figure
from understudy.validation.html_tables import quantity

Progress = Callable[[float, float], None]
CHANCE = 0.0027
"""Probability of a difference between seeds below which a number is marked, that of three standard deviations."""
VARIABLE = 6
"""Observables that are drawn seed by seed, those whose distance varies most with the seed."""


@dataclass(frozen=True)
class Cell:
    """A number of a table as text; `mark` is `better` or `worse` where it differs from the base significantly."""

    text: str
    mark: str = ""


@dataclass(frozen=True)
class Row:
    """A quantity with a cell for each variant, and its floor."""

    label: str
    cells: tuple[Cell, ...]
    floor: str = ""


@dataclass(frozen=True)
class Section:
    """A group as the page shows it."""

    name: str
    title: str
    labels: tuple[str, ...]
    base: str
    colours: Mapping[str, str]
    leading: tuple[Row, ...]
    rows: tuple[Row, ...]
    summaries: tuple[Panel, ...]
    correlations: Panel | None
    panels: tuple[Panel, ...]


class Page:
    """What the page is made of.

    Args:
        plan: what was asked for.
        runs: finished runs by variant.
        judge: holds the reference.
        floors: from `Judge.floors`.
        name: of the reference.
    """

    def __init__(
        self, plan: Plan, runs: Mapping[str, Sequence[RunResult]], judge: Judge, floors: Mapping[str, Any], name: str
    ) -> None:
        self.plan, self.runs, self.judge, self.floors, self.name = plan, runs, judge, floors, name
        self._values: dict[str, list[dict[str, Array]]] = {}

    def values(self, variant: str) -> list[dict[str, Array]]:
        """Observables of the samples of a variant, one entry per seed."""
        if variant not in self._values:
            self._values[variant] = [run.values() for run in self.runs[variant]]
        return self._values[variant]

    def section(self, group: str) -> Section:
        """A group, with the variants that have any finished run."""
        words = self.plan.scan.groups[group]
        known = {label: name for label, name in self.plan.groups[group].items() if self.runs.get(name)}
        base = next((label for label, name in known.items() if name == BASE), "")
        observables = self.judge.observables
        return Section(
            group,
            words.title,
            tuple(known),
            base,
            figures.colours(known),
            tuple(self._leading(known)),
            tuple(self._row(o.name, ("observables", o.name, "wasserstein1"), self._floor(o.name), known) for o in observables),
            tuple(self._summaries(known, words.parameter)),
            self._correlations(known),
            tuple(self._panel(o.name, o.label, o.unit, known) for o in observables),
        )

    def variability(self) -> list[Panel]:
        """The observables of the base, seed by seed, whose distance varies most between seeds in units of its floor."""
        runs = self.runs.get(BASE, ())
        if len(runs) < 2:
            return []

        def spread(name: str) -> float:
            floor = self._floor(name)
            found = mean(runs, "observables", name, "wasserstein1", over=floor or math.nan).spread
            return -1.0 if math.isnan(found) else found

        chosen = sorted(self.judge.observables, key=lambda o: spread(o.name), reverse=True)[:VARIABLE]
        samples = self.values(BASE)
        panels = []
        for o in chosen:
            if np.isnan(self.judge.values[o.name]).all():
                continue
            seeds = {f"seed {run.task.seed}": (v[o.name], None) for run, v in zip(runs, samples, strict=True)}
            figure = overlay(o.label, o.unit, (self.name, self.judge.values[o.name], self.judge.reference.weights), seeds).figure
            found = mean(runs, "observables", o.name, "wasserstein1", over=self._floor(o.name) or math.nan)
            note = f"W₁ over floor {quantity(found.value)}, spread between seeds {quantity(found.spread)}"
            panels.append(Panel(o.name, figures.svg(figure, f"{o.name}: reference and every seed of the base"), note))
        return panels

    def _leading(self, known: Mapping[str, str]) -> list[Row]:
        floors = self.floors
        rows = [self._row("physics score", ("score", "score"), floors["score"]["score"], known, over=False)]
        if floors["correlation_mse"]:
            mse = floors["correlation_mse"]
            rows.append(self._row("correlation matrix, mean squared difference", ("correlation_mse",), mse, known, over=False))
        for label, key in (("training time [min]", "minutes"), ("parameters", "parameters")):
            rows.append(Row(label, tuple(Cell(_number(mean(self.runs[n], "training", key), key)) for n in known.values())))
        for turn in dict.fromkeys(t for n in known.values() for run in self.runs[n] for t in _losses(run)):
            found = [mean(self.runs[n], "training", "losses", turn) for n in known.values()]
            rows.append(Row(f"final loss of the {turn}", tuple(Cell(quantity(m.value, m.error)) for m in found)))
        rows.append(Row("seeds", tuple(Cell(f"{len(self.runs[n])} of {len(self.plan.scan.run_seeds)}") for n in known.values())))
        return rows

    def _row(self, label: str, path: tuple[str, ...], floor: float | None, known: Mapping[str, str], *, over: bool = True) -> Row:
        """A number of all variants; in units of its floor if `over`."""
        unit = (floor or math.nan) if over else 1.0
        found = {name: mean(self.runs[name], *path, over=unit) for name in known.values()}
        single = {name: [run.number(*path) for run in self.runs[name]] for name in {*known.values(), BASE} & set(self.runs)}
        marks = {n: "" if n == BASE else _mark(single[n], single.get(BASE, ())) for n in found}
        return Row(label, tuple(Cell(quantity(m.value, m.error), marks[n]) for n, m in found.items()), quantity(floor))

    def _summaries(self, known: Mapping[str, str], parameter: str) -> list[Panel]:
        found = []
        for key, path, floor in (
            ("physics score", ("score", "score"), self.floors["score"]["score"]),
            ("correlation matrix, MSE", ("correlation_mse",), self.floors["correlation_mse"]),
        ):
            if floor is None:
                continue
            means = {label: mean(self.runs[name], *path) for label, name in known.items()}
            seeds = {label: [run.number(*path) for run in self.runs[name]] for label, name in known.items()}
            figure = summary_figure(parameter, key, means, seeds, floor)
            found.append(Panel(key, figures.svg(figure, f"{key} against {parameter}")))
        return found

    def _correlations(self, known: Mapping[str, str]) -> Panel | None:
        reference = self.judge.moments
        moments = {label: [run.moments() for run in self.runs[name]] for label, name in known.items()}
        if reference is None or not moments or any(m is None for each in moments.values() for m in each):
            return None
        unions = {label: reduce(add, each).correlation for label, each in moments.items()}  # type: ignore[union-attr]
        figure = correlation_figure(self.judge.geometry, {self.name: reference.correlation, **unions})
        return Panel("correlations", figures.png(figure, "Correlation matrices of the cells, union of the seeds", dpi=110))

    def _panel(self, name: str, label: str, unit: str, known: Mapping[str, str]) -> Panel:
        reference = self.judge.values[name]
        if np.isnan(reference).all():
            return Panel(name, figures.svg(empty_figure(), f"{name}: no value in the reference"))
        samples = {shown: [v[name] for v in self.values(n)] for shown, n in known.items()}
        figure = union_figure(label, unit, (self.name, reference, self.judge.reference.weights), samples)
        return Panel(name, figures.svg(figure, f"{name}: reference and the union of the seeds of {', '.join(known)}"))

    def _floor(self, name: str) -> float | None:
        value: float | None = self.floors["observables"][name]["wasserstein1"]
        return value


def write_page(page: Page, groups: Sequence[str], failed: Sequence[RunResult], out: Path, progress: Progress) -> Path:
    """Write `report.html` into `out`; returns its path."""
    loaders = [PackageLoader("understudy.scan", "templates"), PackageLoader("understudy.validation", "templates")]
    environment = Environment(
        loader=ChoiceLoader(loaders), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    sections = []
    for number, group in enumerate(groups):
        progress(number, len(groups))
        sections.append(page.section(group))
    scan = page.plan.scan
    text = environment.get_template("scan.html.j2").render(
        scan=scan,
        title=scan.title or scan.name,
        sections=sections,
        variability=page.variability(),
        failed=failed,
        reference=page.name,
        events=len(page.judge.reference),
        recipe=page.plan.base.name,
        common={path: scan.common[path] for path in scan.common},
        chance=CHANCE,
        geometry=None if page.judge.geometry is None else page.judge.geometry.name,
    )
    return write_text(out / "report.html", text)


def _mark(found: Sequence[float], base: Sequence[float]) -> str:
    """Whether the runs of a variant are significantly worse or better than the base's, by Welch's t test."""
    a, b = (np.array([x for x in runs if math.isfinite(x)]) for runs in (found, base))
    if min(len(a), len(b)) < 2 or a.std() + b.std() == 0:
        return ""
    (m, s, n), (k, t, j) = ((x.mean(), x.std(ddof=1), len(x)) for x in (a, b))
    if ttest_ind_from_stats(m, s, n, k, t, j, equal_var=False).pvalue >= CHANCE:
        return ""
    return "worse" if a.mean() > b.mean() else "better"


def _number(found: Mean, key: str) -> str:
    return f"{found.value:,.0f}" if key == "parameters" else quantity(found.value, found.error)


def _losses(run: RunResult) -> list[str]:
    return [] if run.numbers is None else list(run.numbers["training"]["losses"])
