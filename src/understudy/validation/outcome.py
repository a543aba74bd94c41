"""The outcome of a comparison: the numbers, and everything computed on the way that figures are drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from understudy.events import Events
from understudy.geometry import Calorimeter
from understudy.schema import Array
from understudy.validation.analyses.base import Finding
from understudy.validation.curves import Curve
from understudy.validation.neighbours import NeighbourStudy
from understudy.validation.observables import Observable
from understudy.validation.resolution_fit import ResolutionFit
from understudy.validation.structure import CellMoments
from understudy.validation.variety import Variety

AUCS = {
    "low_level": "AUC, cells",
    "high_level": "AUC, observables",
    "combined": "AUC, both",
    "neighbour": "AUC, nearest neighbours",
}


@dataclass(frozen=True, eq=False)
class Sample:
    """A sample as it was compared.

    Args:
        name: what the report calls it.
        events: the events that took part.
        values: observables `(n,)` by name.
        curves: curves by name; empty without a geometry.
        moments: moments of the cells; None without a geometry.
        paired: its events are at the reference's conditions, row by row.
        neighbours: distances to training and reference; None where no training sample was given, and of the reference.
        resolution: fits of the energy resolution by name (see `resolution_fit.fit_sample`); empty where the incident energy
            is unknown or there are too few bins.
    """

    name: str
    events: Events
    values: Mapping[str, Array]
    curves: Mapping[str, Curve]
    moments: CellMoments | None
    paired: bool = False
    neighbours: NeighbourStudy | None = None
    resolution: Mapping[str, ResolutionFit] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Outcome:
    """Everything that a comparison found.

    Args:
        metrics: the contents of `metrics.json` (see `metrics.Metrics`).
        reference: the reference as it was compared.
        floor: the second, disjoint reference sample.
        candidates: the candidates by name, the main one first.
        observables: what `values` of the samples hold, with units and labels.
        geometry: where the response's cells sit, if it is a calorimeter's.
        train: what the candidates were trained on, if it was given.
        history: rows of the main candidate's training history, if they were given.
        variety: many samples of single conditions, if they were given.
        findings: what the recipe's analyses found, by their kind.
    """

    metrics: Mapping[str, Any]
    reference: Sample
    floor: Sample
    candidates: Mapping[str, Sample]
    observables: tuple[Observable, ...]
    geometry: Calorimeter | None = None
    train: Events | None = None
    history: Sequence[Mapping[str, Any]] = ()
    variety: Sequence[Variety] = ()
    findings: Mapping[str, Sequence[Finding]] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """`pass` or `fail`, of the main candidate."""
        return str(self.metrics["verdict"])

    def summary_rows(self) -> list[dict[str, str]]:
        """The leading numbers as rows of a table: a column for each candidate and one for the floor."""
        found: dict[str, Any] = {name: self.metrics["candidates"][name] for name in self.candidates}
        first = next(iter(found.values()))
        rows = []
        for judge, label in AUCS.items():
            row = {"quantity": label}
            row |= {
                name: _with_error(c["classifier"][judge]["auc"], c["classifier"][judge]["error"]) for name, c in found.items()
            }
            row["floor"] = _with_error(first["classifier"][judge]["floor"], first["classifier"][judge]["floor_error"])
            rows.append(row)
        if "classifier_strong" in first:
            rows += [_strong_row(judge, found, first) for judge in ("low_level", "high_level", "combined")]
        if "scale" in first:
            row = {"quantity": f"mean {first['scale']['observable'].replace('_', ' ')} off by, %"}
            row |= {name: _with_error(c["scale"]["value"], c["scale"]["error"], 100) for name, c in found.items()}
            rows.append({**row, "floor": _with_error(first["scale"]["floor"], None, 100)})
        for distance, label in (("separation_power", "largest separation power"), ("ks", "largest KS distance")):
            row = {"quantity": label} | {name: _with_error(*_largest(c, distance, "value")) for name, c in found.items()}
            rows.append({**row, "floor": _with_error(_largest(first, distance, "floor")[0], None)})
        if "duplicates" in first["neighbours"]:
            row = {"quantity": "repeated events, %"}
            row |= {name: _with_error(c["neighbours"]["duplicates"]["value"], None, 100) for name, c in found.items()}
            rows.append({**row, "floor": _with_error(first["neighbours"]["duplicates"]["floor"], None, 100)})
        rows.append({"quantity": "verdict", **{name: c["verdict"] for name, c in found.items()}, "floor": ""})
        return rows


def _strong_row(judge: str, found: Mapping[str, Any], first: Mapping[str, Any]) -> dict[str, str]:
    row = {"quantity": f"{AUCS[judge]}, trained on training"}
    row |= {
        name: _with_error(c["classifier_strong"][judge]["auc"], c["classifier_strong"][judge]["error"])
        for name, c in found.items()
    }
    return {
        **row,
        "floor": _with_error(first["classifier_strong"][judge]["floor"], first["classifier_strong"][judge]["floor_error"]),
    }


def _largest(comparison: Mapping[str, Any], distance: str, key: str) -> tuple[float | None, float | None]:
    """Largest value of a distance over the observables, with its error."""
    entries = [o[distance] for o in comparison["observables"].values() if o[distance][key] is not None]
    if not entries:
        return None, None
    worst = max(entries, key=lambda e: e[key])
    return worst[key], worst["error"]


def _with_error(value: float | None, error: float | None, factor: float = 1.0) -> str:
    if value is None:
        return "-"
    return f"{factor * value:.3f}" if error is None else f"{factor * value:.3f}±{factor * error:.3f}"
