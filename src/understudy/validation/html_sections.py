"""Tables of a report beside the distances: means and widths, the regressor's closure, fits, single conditions, what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from understudy.validation import figures
from understudy.validation.html_tables import MISSING, SIGNIFICANT, Cell, probability, quantity
from understudy.validation.outcome import Outcome

CHANCE = 0.0027
"""Probability beyond three standard deviations."""
RESIDUAL = "residual_"
"""How the names of predicted minus true parameters begin."""


@dataclass(frozen=True)
class Line:
    """A row of a table: what it is about, whose numbers (an empty sample is the reference), and the numbers."""

    label: str
    sample: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """Headings, and rows in the groups that belong together."""

    heads: tuple[str, ...]
    groups: tuple[tuple[Line, ...], ...]


@dataclass(frozen=True)
class Wrong:
    """An observable that is still wrong: its name, whether its figure is on the page, and how wrong it is."""

    key: str
    drawn: bool
    text: str


def still_wrong(report: Outcome, drawn: set[str]) -> dict[str, list[Wrong]]:
    """Observables above twice their floor by candidate, worst first; `drawn` are those that have a figure."""
    found = {}
    for name in report.candidates:
        entries = report.metrics["candidates"][name].get("above_twice_floor") or []
        found[name] = [Wrong(e["observable"], e["observable"] in drawn, f"{quantity(e['over_floor'])} ×") for e in entries]
    return found


def moments_table(report: Outcome) -> Table | None:
    """Means and widths of all observables but residuals, for the reference and every candidate."""
    keys = [o.name for o in report.observables if not o.name.startswith(RESIDUAL)]
    return _moments(report, keys, ("mean", "difference of means", "width", "ratio of widths")) if keys else None


def closure_table(report: Outcome) -> Table | None:
    """Bias and width of predicted minus true parameters, for the reference and every candidate; None without residuals."""
    keys = [o.name for o in report.observables if o.name.startswith(RESIDUAL)]
    return _moments(report, keys, ("bias", "difference of biases", "width", "ratio of widths")) if keys else None


def reading_table(report: Outcome) -> Table | None:
    """Bias and widths of what a regressor's own run predicts; None of any other run."""
    found = report.metrics.get("closure") or {}
    name = next(iter(report.candidates))
    groups = []
    for key, entry in found.items():
        bias, error = entry["bias"], entry["bias_error"]
        cells = (
            Cell(quantity(bias, error), bias is not None and error is not None and abs(bias) > SIGNIFICANT * error),
            Cell(quantity(entry["width"], entry["width_error"])),
            Cell(quantity(entry["central"])),
        )
        groups.append((Line(figures.with_unit(_words(key), entry["unit"]), name, cells),))
    return Table(("bias", "width", "half of the central 68 %"), tuple(groups)) if groups else None


def variety_tables(report: Outcome) -> list[Table]:
    """Means and widths at each condition of the variety study."""
    found = []
    for i in range(len(report.variety)):
        studies = {n: report.metrics["candidates"][n]["variety"] for n in report.candidates}
        known = {n: s for n, entries in studies.items() for s in entries if s["name"] == report.variety[i].name}
        if known:
            found.append(_one_condition(known, [o.name for o in report.observables]))
    return found


def fits_table(report: Outcome) -> Table | None:
    """Parameters of the fits to curves, with chi-squared, for reference, floor and candidates; None where none were made."""
    entries = {n: report.metrics["candidates"][n].get("fits") or {} for n in report.candidates}
    keys = list(dict.fromkeys(k for fits in entries.values() for k in fits))
    rows = []
    for key in keys:
        found = {n: fits[key] for n, fits in entries.items() if key in fits}
        first = next(iter(found.values()))
        known = {"": first.get("reference"), "floor": first.get("floor"), **{n: f.get("candidate") for n, f in found.items()}}
        rows.append((key, {who: fit for who, fit in known.items() if fit}))
    units = {n: v.get("unit", "") for _, known in rows for fit in known.values() for n, v in fit.items() if _is_number(v)}
    parameters = dict(sorted(units.items()))
    groups = [
        tuple(Line(_words(key) if i == 0 else "", who, _fit(fit, parameters)) for i, (who, fit) in enumerate(known.items()))
        for key, known in rows
    ]
    heads = (*(figures.with_unit(n, unit.replace("sqrt(GeV)", "√GeV")) for n, unit in parameters.items()), "χ²/ndf", "p-value")
    return Table(heads, tuple(g for g in groups if g)) if any(groups) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, Mapping) and "value" in value


def _fit(fit: Mapping[str, Any], parameters: Mapping[str, str]) -> tuple[Cell, ...]:
    cells = [Cell(_number(fit[name]) if name in fit else "") for name in parameters]
    chi2, p_value = fit.get("chi2"), fit.get("p_value")
    far = p_value is not None and p_value < CHANCE
    text = MISSING if chi2 is None else f"{chi2:.1f}/{fit.get('ndf', 0)}"
    return (*cells, Cell(text, far), Cell(probability(p_value), far))


def _moments(report: Outcome, keys: list[str], heads: tuple[str, str, str, str]) -> Table:
    """A group of rows for each observable: the reference's mean and width, then the candidates' with their differences."""
    units = {o.name: o.unit for o in report.observables}
    groups = []
    for key in keys:
        base = _summary(report, next(iter(report.candidates)), key, "reference")
        label = figures.with_unit(_words(key), units[key])
        lines = [Line(label, "", (Cell(quantity(*base[:2])), Cell(""), Cell(quantity(*base[2:])), Cell("")))]
        for name in report.candidates:
            mean, mean_error, width, width_error = _summary(report, name, key, "candidate")
            shift = mean - base[0], float(np.hypot(mean_error, base[1]))
            ratio = _ratio((width, width_error), (base[2], base[3]))
            cells = (
                Cell(quantity(mean, mean_error)),
                Cell(quantity(*shift), abs(shift[0]) > SIGNIFICANT * shift[1]),
                Cell(quantity(width, width_error)),
                Cell(quantity(*ratio), abs(ratio[0] - 1) > SIGNIFICANT * ratio[1]),
            )
            lines.append(Line("", name, cells))
        groups.append(tuple(lines))
    return Table(heads, tuple(groups))


def _one_condition(studies: Mapping[str, Mapping[str, Any]], order: list[str]) -> Table:
    first = next(iter(studies.values()))
    alone = not first["exact"]
    groups = []
    for key, entry in sorted(first["observables"].items(), key=lambda item: order.index(item[0])):
        base = Cell(_number(entry["reference_mean"])), Cell(_number(entry["reference_width"]))
        blank = (Cell(""),) * (3 if alone else 2)
        lines = [Line(figures.with_unit(_words(key), entry["unit"]), first["source"], (*base, *blank))]
        for name, study in studies.items():
            found = study["observables"][key]
            ratio, distance = found["width_ratio"], found["ks"]
            far = ratio["value"] is not None and abs(ratio["value"] - 1) > SIGNIFICANT * (ratio["error"] or 0.0)
            cells = [Cell(_number(found["mean"])), Cell(_number(found["width"])), Cell(_number(ratio), far)]
            if alone:
                cells.append(Cell(_number(found["width_ratio_at_one_condition"])))
            above = distance["value"] is not None and distance["floor"] is not None
            over = above and distance["value"] - distance["floor"] > SIGNIFICANT * (distance["error"] or 0.0)
            cells.append(Cell(f"{_number(distance)} ({quantity(distance['floor'])})", over))
            lines.append(Line("", name, tuple(cells)))
        groups.append(tuple(lines))
    heads = ["mean", "width", "ratio of widths", *(["ratio at one condition"] if alone else []), "KS (floor)"]
    return Table(tuple(heads), tuple(groups))


def _summary(report: Outcome, candidate: str, key: str, who: str) -> tuple[float, float, float, float]:
    """Mean, its error, width, and its error of an observable, `who` being reference or candidate."""
    found = report.metrics["candidates"][candidate]["observables"][key]["moments"][who]
    mean, mean_error, width, width_error = (
        float("nan") if found[k] is None else float(found[k]) for k in ("mean", "mean_error", "width", "width_error")
    )
    return mean, mean_error, width, width_error


def _ratio(value: tuple[float, float], base: tuple[float, float]) -> tuple[float, float]:
    """A ratio of two independent numbers and its error; NaN over nothing."""
    if not base[0] > 0:
        return float("nan"), float("nan")
    ratio = value[0] / base[0]
    return ratio, float(np.hypot(value[1], ratio * base[1]) / base[0])


def _number(entry: Mapping[str, Any]) -> str:
    return quantity(entry.get("value"), entry.get("error"))


def _words(key: str) -> str:
    return key.removeprefix(RESIDUAL).replace("_", " ")
