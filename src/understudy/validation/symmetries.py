r"""Does a simulator keep the symmetries of its calorimeter?

For a symmetry $g$ and conditions $c$, showers $x \sim p(x \mid c)$ and $x' \sim p(x \mid g\,c)$ are generated, and $g^{-1} x'$ is
compared with $x$ event by event. With $d = g^{-1} x' - x$, the energy of a cell over the incident energy or an observable,

$$\mathrm{pull} = \frac{\langle d \rangle}{\sigma(d) / \sqrt{n}}$$

is standard normal where the symmetry holds (the means are compared, not whole distributions). Cells are few of many: the
largest pull of $k$ of them is judged by its probability under $k$ independent ones, $1 - (1 - p)^k$, which is too kind where they
are correlated and never too harsh.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from understudy.domain import OutOfDomainWarning
from understudy.events import Events
from understudy.geometry import Calorimeter
from understudy.schema import Array
from understudy.simulator import Simulator
from understudy.symmetry import Symmetry
from understudy.validation.observables import evaluate, incident_energy, shower_cells

FEWEST = 30
"""Events in which a cell must differ for its mean to be compared; fewer are not normal."""


def symmetry_pulls(
    simulator: Simulator,
    conditions: Events,
    geometry: Calorimeter,
    generator: np.random.Generator,
    symmetries: Sequence[Symmetry] | None = None,
) -> dict[str, dict[str, Any]]:
    """Pulls of a simulator's mean response at mirrored conditions, mapped back, by symmetry.

    Args:
        simulator: a stand-in, or anything that answers conditions.
        conditions: events whose given conditions are answered; their response is not looked at.
        geometry: where the cells sit.
        generator: source of all noise.
        symmetries: what to test; those that the geometry declares if None.

    Returns:
        By name of the symmetry: `events`; `cells` with the largest absolute pull, the number of cells and the probability of so
        large a pull; and `observables` with the same and the `name` of the worst.

    Raises:
        ValueError: a symmetry is none of the geometry or does not know a condition.
    """
    given = conditions.without_response()
    first = _simulated(simulator, given, generator)
    found = {}
    for symmetry in geometry.symmetries if symmetries is None else symmetries:
        blocks = given.schema.conditions
        image = _simulated(simulator, _at(given, symmetry.conditions(given.conditions, blocks)), generator)
        back = _at(first, first.conditions).with_response(image.packed()[:, symmetry.inverse.permutation(geometry)])
        found[symmetry.name] = {"events": len(given), **compared(first, back, geometry)}
    return found


def compared(first: Events, second: Events, geometry: Calorimeter) -> dict[str, Any]:
    """Pulls of the means of cells and of observables between two samples at the same conditions, row by row."""
    energy = incident_energy(first)
    scale = 1.0 if energy is None else np.where(energy > 0, energy, np.nan)[:, None]
    cells = pulls((shower_cells(second, geometry) - shower_cells(first, geometry)) / scale)
    mine, theirs = (evaluate(e, geometry) for e in (first, second))
    named = {name: float(pulls((theirs[name] - mine[name])[:, None])[0]) for name in mine}
    known = {name: pull for name, pull in named.items() if np.isfinite(pull)}
    worst = max(known, key=lambda name: abs(known[name]), default="")
    return {"cells": _largest(cells), "observables": {**_largest(np.array(list(known.values()))), "name": worst}}


def pulls(differences: Array) -> Array:
    """Mean over its error, `(k,)`, of the defined rows of `(n, k)`; NaN where fewer than `FEWEST` rows differ."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # columns that no row defines
        n = np.isfinite(differences).sum(0)
        mean, spread = np.nanmean(differences, axis=0), np.nanstd(differences, axis=0, ddof=1)
        found = mean / (spread / np.sqrt(n))
    enough = (np.nan_to_num(differences) != 0).sum(0) >= FEWEST
    return np.where(enough & (spread > 0), found, np.where(enough, np.copysign(np.inf, mean), np.nan))


def _largest(found: Array) -> dict[str, Any]:
    """The largest absolute pull, how many were looked at, and its probability among so many."""
    seen = np.abs(found[~np.isnan(found)])
    if not len(seen):
        return {"max_pull": None, "number": 0, "p_value": None}
    largest = float(seen.max())
    chance = -np.expm1(len(seen) * np.log1p(-2 * stats.norm.sf(largest))) if largest > 0 else 1.0
    return {"max_pull": min(largest, 1e6), "number": len(seen), "p_value": float(chance)}


def _simulated(simulator: Simulator, given: Events, generator: np.random.Generator) -> Events:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutOfDomainWarning)  # images of conditions at the edge of an uneven training sample
        return simulator.simulate(given.conditions, generator)


def _at(events: Events, conditions: Mapping[str, Any]) -> Events:
    """These events at other conditions, without auxiliary truth."""
    schema = type(events.schema)(events.schema.conditions, events.schema.response)
    return Events(schema, conditions, events.response, events.weights, events.mask, where=events.where)
