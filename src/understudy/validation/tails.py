r"""Far quantiles: does the stand-in make the rare showers as often as the reference does?

Distances over whole distributions do not see what happens to one event in a thousand. For each quantile $q$ of an observable
there are the values of reference, floor and candidate, each with its bootstrap error, and the pull

$$p = \frac{x_q^\mathrm{candidate} - x_q^\mathrm{reference}}{\sigma},$$

with $\sigma$ the spread of the difference over bootstrap replicas (a pair at the same conditions is drawn as one). All test
events take part, where other numbers may use half of them. A quantile is left out where fewer than two events lie beyond
it. Quantiles of one observable and of related ones are correlated, so that the probability of the largest of many pulls,
which is given as if they were independent, is rather too small than too large.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from understudy.events import Events
from understudy.geometry import Calorimeter
from understudy.schema import Array
from understudy.validation import calorimeter as shower
from understudy.validation.bootstrap import multiplicities
from understudy.validation.moments import TAILS
from understudy.validation.observables import Observable, evaluate, observables_for, shower_cells
from understudy.validation.quantiles import monotone

FEWEST = 2
"""Events beyond a quantile that it needs."""
MOST = 24
"""Columns that are looked at of a response that is no calorimeter's."""


@dataclass(frozen=True, eq=False)
class Values:
    """Observables `(n,)` of a sample by name, and its weights."""

    values: Mapping[str, Array]
    weights: Array | None


def observables_of(events: Events, geometry: Calorimeter | None) -> list[Observable]:
    """Whose tails are looked at: of a calorimeter the response, widths and the hottest cell over the sum of all, else columns."""
    found = observables_for(events.schema, geometry)
    if geometry is None:
        return list(found[:MOST])
    names = {o.name for o in found}
    energy = "response" if "response" in names else "total_energy"
    chosen = [o for o in found if o.name == energy or "width" in o.name]
    hottest = Observable(
        "max_cell_fraction", "", r"hottest cell over $E_\mathrm{tot}$", lambda e, g: shower.hottest_fraction(shower_cells(e, g))
    )
    return [*chosen, hottest]


def values_of(events: Events, geometry: Calorimeter | None, observables: Sequence[Observable]) -> Values:
    """The observables of a sample."""
    return Values(evaluate(events, geometry, observables), events.weights)


def compare_tails(
    observables: Sequence[Observable],
    reference: Values,
    candidate: Values,
    floor: tuple[Values, Values],
    paired: tuple[bool, bool],
    replicas: int,
    generator: np.random.Generator,
) -> dict[str, Any]:
    """Quantiles of reference, floor and candidate with errors and pulls.

    Args:
        observables: give names and units.
        reference: all test events.
        candidate: what is judged.
        floor: two disjoint samples of the reference; their pull is `floor_pull`.
        paired: candidate, and second floor sample, at the conditions of what they are compared with, row by row.
        replicas: bootstrap replicas behind the errors.
        generator: draws them.

    Returns:
        `observables` by name: `unit` and `quantiles`, by name `0.1 %` with `reference`, `floor`, `candidate` (each `value` and
        `error`), `pull` and `floor_pull`; and `largest`: of all pulls the largest (`observable`, `quantile`, `pull`), their
        `number`, and the `p_value` of so large a one. Nothing where there are too few events.
    """
    found: dict[str, Any] = {}
    pulls = []
    for o in observables:
        mine = _difference(o.name, reference, candidate, paired[0], replicas, generator)
        own = _difference(o.name, *floor, paired[1], replicas, generator)
        quantiles = {}
        for q, (first, second, pull) in mine.items():
            quantiles[q] = {"reference": first, "candidate": second, "pull": pull}
            if q in own:
                quantiles[q] |= {"floor": own[q][1], "floor_pull": own[q][2]}
            if math.isfinite(pull):
                pulls.append((abs(pull), o.name, q, pull))
        if quantiles:
            found[o.name] = {"unit": o.unit, "quantiles": quantiles}
    if not pulls:
        return {}
    size, name, q, pull = max(pulls)
    p_value = float(-np.expm1(len(pulls) * np.log1p(-min(2 * stats.norm.sf(size), 1 - 1e-16))))
    return {
        "observables": found,
        "largest": {"observable": name, "quantile": q, "pull": pull, "number": len(pulls), "p_value": p_value},
    }


Found = tuple[dict[str, float], dict[str, float], float]


def _difference(
    name: str, first: Values, second: Values, paired: bool, replicas: int, generator: np.random.Generator
) -> dict[str, Found]:
    """By quantile the values of both samples with errors, and the pull of their difference; NaN where it has no error."""
    x, y = first.values[name], second.values[name]
    mx = multiplicities(len(x), replicas, generator)
    my = mx if paired else multiplicities(len(y), replicas, generator)
    a, b = quantiles(x, first.weights, mx), quantiles(y, second.weights, my)
    found = {}
    for k, q in enumerate(TAILS):
        if k not in a or k not in b:
            continue
        shift, error = b[k][0] - a[k][0], float(np.nanstd(b[k][1:] - a[k][1:], ddof=1))
        pull = float(shift / error) if error > 0 else (0.0 if shift == 0 else math.nan)
        found[f"{100 * q:g} %"] = (_with_error(a[k]), _with_error(b[k]), pull)
    return found


def quantiles(values: Array, weights: Array | None, replicas: Array) -> dict[int, Array]:
    """Quantiles of a sample and then of its bootstrap replicas, `(1 + replicas,)`, by their place in `TAILS`.

    Args:
        values: `(n,)`, NaN where not defined.
        weights: `(n,)`, may be negative.
        replicas: how often each event is in each replica, `(replicas, n)`.
    """
    keep = ~np.isnan(values)
    v, w = values[keep], np.ones(int(keep.sum())) if weights is None else weights[keep]
    total = w.sum()
    if not total > 0:
        return {}
    effective = total**2 / (w @ w)
    order = np.argsort(v, kind="stable")
    v = v[order]
    rows = np.concatenate([np.ones((1, len(v))), replicas[:, keep][:, order]]) * w[order]
    cumulative = monotone(np.cumsum(rows, axis=1))
    found = {}
    for k, q in enumerate(TAILS):
        if effective * min(q, 1 - q) >= FEWEST * (1 - 1e-9):
            reached = cumulative >= (q - 1e-12) * cumulative[:, -1:]
            found[k] = v[reached.argmax(1)]
    return found


def _with_error(found: Array) -> dict[str, float]:
    return {"value": float(found[0]), "error": float(np.std(found[1:], ddof=1))}
