"""Tables of a report on strong judges' regions and far quantiles: interpolation, tails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from understudy.validation import figures
from understudy.validation.html_sections import Line, Table
from understudy.validation.html_tables import JUDGES, SIGNIFICANT, Cell, exceeds, quantity
from understudy.validation.outcome import Outcome

SIDES = ("inside", "outside")


def tails_table(report: Outcome) -> Table | None:
    """Quantiles of reference, floor and candidates with pulls, a group for each observable; None where there are none."""
    entries = {n: (report.metrics["candidates"][n].get("tails") or {}).get("observables") or {} for n in report.candidates}
    keys = list(dict.fromkeys(key for found in entries.values() for key in found))
    groups = []
    heads: tuple[str, ...] = tuple(dict.fromkeys(q for f in entries.values() for o in f.values() for q in o["quantiles"]))
    for key in keys:
        known = {n: found[key] for n, found in entries.items() if key in found}
        first = next(iter(known.values()))
        label = figures.with_unit(key.replace("_", " "), first["unit"])
        lines = [
            Line(label, "", _cells(first["quantiles"], heads, "reference", None)),
            Line("", "floor", _cells(first["quantiles"], heads, "floor", "floor_pull")),
        ]
        lines += [Line("", n, _cells(entry["quantiles"], heads, "candidate", "pull")) for n, entry in known.items()]
        groups.append(tuple(lines))
    return Table(heads, tuple(groups)) if groups else None


def largest_tails(report: Outcome) -> dict[str, Mapping[str, Any]]:
    """The largest pull of a far quantile, by candidate."""
    found = {n: (report.metrics["candidates"][n].get("tails") or {}).get("largest") for n in report.candidates}
    return {n: entry for n, entry in found.items() if entry}


def regions_table(report: Outcome) -> Table | None:
    """AUCs, scale and distances inside and outside the held-out region, with floors; None where nothing was held out."""
    regions = report.metrics.get("hold_out") or {}
    if not regions:
        return None
    names = list(report.candidates)
    groups = []
    for judge, label in JUDGES.items():
        rows = {n: [regions[s]["candidates"][n]["classifier"][judge] for s in SIDES] for n in names}
        groups.append(_group(label, rows, "auc", 1.0))
    for judge, label in JUDGES.items():
        strong = {n: [(regions[s]["candidates"][n].get("classifier_strong") or {}).get(judge) for s in SIDES] for n in names}
        if any(e for pair in strong.values() for e in pair):
            rows = {n: [e or {} for e in pair] for n, pair in strong.items()}
            groups.append(_group(f"{label}, trained on training events", rows, "auc", 1.0))
    scales = {n: [regions[s]["candidates"][n].get("scale") or {} for s in SIDES] for n in names}
    if any(e for pair in scales.values() for e in pair):
        name = next(e for pair in scales.values() for e in pair if e)["observable"].replace("_", " ")
        groups.append(_group(f"mean {name} off by [%]", scales, "value", 100.0, two_sided=True))
    for o in report.observables:
        rows = {
            n: [regions[s]["candidates"][n]["observables"].get(o.name, {}).get("wasserstein1", {}) for s in SIDES] for n in names
        }
        groups.append(_group(figures.with_unit(f"W₁ of {o.name.replace('_', ' ')}", o.unit), rows, "value", 1.0))
    return Table(("inside", "floor inside", "outside", "floor outside"), tuple(groups))


def _group(
    label: str, rows: Mapping[str, list[Mapping[str, Any]]], key: str, factor: float, two_sided: bool = False
) -> tuple[Line, ...]:
    lines = []
    for i, (name, pair) in enumerate(rows.items()):
        cells = []
        for entry in pair:
            value, error, floor, floor_error = (_times(entry.get(k), factor) for k in (key, "error", "floor", "floor_error"))
            far = exceeds(entry, key)
            if two_sided:
                far = value is not None and error is not None and abs(value) > SIGNIFICANT * error
            cells += [
                Cell(quantity(value, error, most=5), far),
                Cell(quantity(floor, floor_error, most=5) if "floor" in entry else ""),
            ]
        lines.append(Line(label if i == 0 else "", name, tuple(cells)))
    return tuple(lines)


def _cells(quantiles: Mapping[str, Any], heads: tuple[str, ...], who: str, pull: str | None) -> tuple[Cell, ...]:
    found = []
    for q in heads:
        entry = quantiles.get(q, {})
        value = entry.get(who)
        if value is None:
            found.append(Cell(""))
            continue
        text, pulled = quantity(value["value"], value["error"]), entry.get(pull) if pull else None
        far = pulled is not None and abs(pulled) > SIGNIFICANT
        found.append(Cell(text if pulled is None else f"{text} ({pulled:+.1f})".replace("(-", "(\u2212"), far))
    return tuple(found)


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else factor * value
