"""The tables of a report: numbers with their errors, floors and units, in as many digits as the error allows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from understudy.validation import figures
from understudy.validation.outcome import Outcome

MISSING = "–"
SIGNIFICANT = 3.0
"""Standard deviations above the floor from which a number is marked."""
ROUNDING = 1e-6
"""Errors smaller than this part of their value are those of rounding."""
JUDGES = {
    "low_level": "AUC, network on cells",
    "high_level": "AUC, trees on observables",
    "combined": "AUC, trees on both",
    "neighbour": "AUC, nearest neighbours",
}
FRACTIONS = {
    "duplicates": "repeated showers",
    "too_close": "showers close to a training shower",
    "copied": "reference showers copied",
    "too_far": "reference showers without a near one",
}
RATIOS = {
    "memorising_ratio": "distance to training over expected",
    "collapse_ratio": "distance from reference over expected",
    "training_distance_ks": "KS of distances to training showers",
}
STRUCTURE = {
    "correlation_mse": "mean squared difference of correlations",
    "mean_difference": "summed difference of mean images over energy",
    "variance_ratio": "median ratio of variances per cell",
}
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Cell:
    """One number as text; `far` where it is significantly above its floor; `note` is told below it."""

    text: str
    far: bool = False
    note: str = ""


@dataclass(frozen=True)
class Row:
    """A quantity, its unit in brackets, with one cell for each candidate, and the floor."""

    label: str
    cells: tuple[Cell, ...]
    floor: str = ""
    key: str = ""


@dataclass(frozen=True)
class Small:
    """The table below a figure: headings and their units, a row for each candidate, the floors."""

    heads: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    floors: tuple[str, ...]


def quantity(value: float | None, error: float | None = None, power: int | None = None, most: int = 12) -> str:
    """A number with its error, in the digits that the Particle Data Group's rule gives it; three without an error.

    `0.5123, 0.0061` gives `0.512 ± 0.006`. Powers of ten are taken out of very small and very large numbers, unless
    `power` says which one the heading has. No more than `most` decimals are shown.
    """
    if value is None or not math.isfinite(value):
        return MISSING
    known = error is not None and math.isfinite(error) and error > ROUNDING * abs(value)
    scaled = power if power is not None else _power(max(abs(value), error if known and error is not None else 0.0))
    value /= 10.0**scaled
    text = ""
    if known and error is not None:
        error /= 10.0**scaled
        digits = min(max(0, _decimals(error)), most)
        text = f"{value:.{digits}f}"
        if round(error, digits) > 0:
            text += f" ± {error:.{digits}f}"
    else:
        digits = min(max(0, 2 - math.floor(math.log10(abs(value)))), most) if value else 0
        text = f"{value:.{digits}f}"
    if value > 0 and float(text.partition(" ")[0]) == 0 and "±" not in text:
        text = f"< {10.0**-digits:.{digits}f}"
    text = text.replace("-", "−")
    if scaled == 0 or power is not None:
        return text
    return f"({text}) × {_ten(scaled)}" if "±" in text else f"{text} × {_ten(scaled)}"


def _power(size: float) -> int:
    """The power of ten to take out of a number of this size."""
    found = math.floor(math.log10(size)) if size > 0 else 0
    return 0 if -3 <= found < 5 else found


def _ten(power: int) -> str:
    return f"10{str(power).translate(_SUPERSCRIPT)}"


def _decimals(error: float) -> int:
    """Decimals by the rule of the Particle Data Group: two digits of an error whose first three are below 355, else one."""
    first = math.floor(math.log10(error))
    leading = round(error / 10.0 ** (first - 2))
    return 1 - first if leading <= 354 else -first


def exceeds(entry: Mapping[str, Any], value: str = "value") -> bool:
    """Whether a number is above its floor by more than `SIGNIFICANT` of its and the floor's errors."""
    found, floor = entry.get(value), entry.get("floor")
    if found is None or floor is None:
        return False
    error = math.hypot(entry.get("error") or 0.0, entry.get("floor_error") or 0.0)
    return bool(found - floor > SIGNIFICANT * error) and found > floor


def cell(entry: Mapping[str, Any], value: str = "value", factor: float = 1.0, power: int | None = None, most: int = 12) -> Cell:
    """A number of `metrics.json` with its error, marked where it exceeds the floor."""
    text = quantity(_times(entry.get(value), factor), _times(entry.get("error"), factor), power, most)
    return Cell(text, exceeds(entry, value))


def main_rows(report: Outcome) -> list[Row]:
    """The leading numbers of all candidates."""
    found = _comparisons(report)
    first = found[0]
    rows = [
        Row(label, tuple(cell(c["classifier"][judge], "auc", most=4) for c in found), _floor(first["classifier"][judge], 4))
        for judge, label in JUDGES.items()
        if judge in first["classifier"]
    ]
    rows += strong_rows(found)
    if first.get("scale"):
        cells = tuple(_scale(c["scale"]) for c in found)
        floor = quantity(_times(first["scale"].get("floor"), 100))
        rows.append(Row(f"mean {first['scale']['observable'].replace('_', ' ')} off by [%]", cells, floor))
    rows += [
        _worst(found, distance, label) for distance, label in (("separation_power", "separation power S"), ("ks", "KS distance"))
    ]
    rows += _studies(found, "structure", STRUCTURE, 1.0, "")
    rows += _studies(found, "neighbours", FRACTIONS, 100.0, "%")
    return rows + _studies(found, "neighbours", RATIOS, 1.0, "")


def strong_rows(found: list[Mapping[str, Any]]) -> list[Row]:
    """The judges that were trained on the training events, where there are such."""
    first = found[0].get("classifier_strong")
    if not first:
        return []
    return [
        Row(
            f"{JUDGES[judge]}, trained on training events",
            tuple(cell(c["classifier_strong"][judge], "auc", most=4) for c in found),
            _floor(first[judge], 4),
        )
        for judge in ("low_level", "high_level", "combined")
    ]


def small_table(report: Outcome, key: str) -> Small:
    """The distances of one observable: the Wasserstein-1 distance in its unit, the others in per cent."""
    entries = {name: report.metrics["candidates"][name]["observables"][key] for name in report.candidates}
    first = next(iter(entries.values()))
    values = [e["wasserstein1"][q] for e in entries.values() for q in ("value", "floor")]
    largest = max((abs(v) for v in values if v is not None), default=1.0)
    power = math.floor(math.log10(largest)) if 0 < largest < 0.1 else 0
    unit = " ".join(part for part in (_ten(power) if power else "", first["unit"]) if part)
    scales = {"wasserstein1": (1.0, power, 3), "separation_power": (100.0, 0, 2), "ks": (100.0, 0, 2)}
    rows = []
    for name, entry in entries.items():
        rows.append((name, tuple(cell(entry[d], factor=f, power=p, most=m) for d, (f, p, m) in scales.items())))
    floors = tuple(quantity(_times(first[d]["floor"], f), None, p, m) for d, (f, p, m) in scales.items())
    return Small((("W₁", unit), ("S", "%"), ("KS", "%")), tuple(rows), floors)


def distance_rows(report: Outcome, distance: str) -> list[Row]:
    """One distance of all observables, with floors."""
    found = _comparisons(report)
    rows = []
    for o in report.observables:
        cells = tuple(cell(c["observables"][o.name][distance]) for c in found)
        entry = found[0]["observables"][o.name]
        unit = entry["unit"] if distance == "wasserstein1" else ""
        rows.append(Row(figures.with_unit(o.name.replace("_", " "), unit), cells, _floor(entry[distance]), o.name))
    return rows


def curve_rows(report: Outcome) -> list[Row]:
    """Chi-squared over degrees of freedom and the largest pull of all curves, floor last."""
    found = _comparisons(report)
    rows = []
    for key in report.reference.curves:
        entries = [c["curves"].get(key, {}) for c in found]
        floor = _chi2(entries[0].get("floor_chi2"), entries[0].get("ndf"))
        rows.append(Row(key.replace("_", " "), tuple(_curve_cell(e) for e in entries), floor, key))
    return rows


def correlation_cells(report: Outcome) -> list[tuple[str, Cell]]:
    """Mean squared difference of the correlations by candidate."""
    structure = {name: report.metrics["candidates"][name].get("structure") or {} for name in report.candidates}
    known = {name: s["correlation_mse"] for name, s in structure.items() if "correlation_mse" in s}
    return [(n, Cell(quantity(e["value"]), note=quantity(e["floor"]))) for n, e in known.items()]


def curve_table(report: Outcome, key: str) -> Small:
    """The agreement of one curve."""
    entries = {name: report.metrics["candidates"][name]["curves"].get(key, {}) for name in report.candidates}
    rows = []
    for name, entry in entries.items():
        far = _disagrees(entry)
        texts = (_chi2(entry.get("chi2"), entry.get("ndf")), probability(entry.get("p_value")), quantity(entry.get("max_pull")))
        rows.append((name, tuple(Cell(text, far) for text in texts)))
    first = next(iter(entries.values()))
    return Small(
        (("χ²/ndf", ""), ("p-value", ""), ("max. pull", "")),
        tuple(rows),
        (_chi2(first.get("floor_chi2"), first.get("ndf")), "", ""),
    )


def probability(value: float | None) -> str:
    """A p-value in two digits; below 0.0001 only that it is so."""
    if value is None or not math.isfinite(value):
        return MISSING
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def _chi2(value: float | None, ndf: int | None) -> str:
    return MISSING if value is None or not math.isfinite(value) else f"{value:.1f}/{ndf or 0}"


def _disagrees(entry: Mapping[str, Any]) -> bool:
    """A p-value beyond three standard deviations."""
    p = entry.get("p_value")
    return p is not None and bool(p < 0.0027)


def _comparisons(report: Outcome) -> list[Mapping[str, Any]]:
    return [report.metrics["candidates"][name] for name in report.candidates]


def _curve_cell(entry: Mapping[str, Any]) -> Cell:
    return Cell(f"{_chi2(entry.get('chi2'), entry.get('ndf'))} ({quantity(entry.get('max_pull'))})", _disagrees(entry))


def _scale(entry: Mapping[str, Any]) -> Cell:
    value, error = entry.get("value"), entry.get("error")
    far = value is not None and error is not None and abs(value) > SIGNIFICANT * error
    return Cell(quantity(_times(value, 100), _times(error, 100)), far)


def _worst(found: list[Mapping[str, Any]], distance: str, label: str) -> Row:
    """The largest value of a distance over the observables, with the observable's name."""

    def largest(comparison: Mapping[str, Any], key: str) -> tuple[str, Mapping[str, Any]] | None:
        known = {n: o[distance] for n, o in comparison["observables"].items() if o[distance].get(key) is not None}
        return max(known.items(), key=lambda item: float(item[1][key])) if known else None

    cells = []
    for comparison in found:
        worst = largest(comparison, "value")
        if worst is None:
            cells.append(Cell(MISSING))
        else:
            shown = cell(worst[1])
            cells.append(Cell(shown.text, shown.far, worst[0].replace("_", " ")))
    floor = largest(found[0], "floor")
    return Row(f"largest {label}", tuple(cells), MISSING if floor is None else _floor(floor[1]))


def _studies(found: list[Mapping[str, Any]], part: str, labels: Mapping[str, str], factor: float, unit: str) -> list[Row]:
    rows = []
    for key, label in labels.items():
        entries = [(c.get(part) or {}).get(key) for c in found]
        if any(e is not None for e in entries):
            cells = tuple(Cell(MISSING) if e is None else _unmarked(e, factor) for e in entries)
            floor = next((quantity(_times(e.get("floor"), factor)) for e in entries if e is not None), MISSING)
            rows.append(Row(figures.with_unit(label, unit), cells, floor))
    return rows


def _unmarked(entry: Mapping[str, Any], factor: float) -> Cell:
    """Marked only where there is an error to judge by."""
    shown = cell(entry, factor=factor)
    return shown if entry.get("error") else Cell(shown.text)


def _floor(entry: Mapping[str, Any], most: int = 12) -> str:
    return quantity(entry.get("floor"), entry.get("floor_error"), most=most)


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else factor * value
