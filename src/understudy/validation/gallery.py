"""Single showers at the same conditions: which reference events are shown, and what each candidate answers to them.

The LHCb ECAL study shows its images at four energies (V. Chekalina et al., figs. 3 and 4). Energies that no event here has
are replaced by the nearest, and that is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from understudy.schema import Array
from understudy.validation.curves import scale_energy
from understudy.validation.observables import shower_cells
from understudy.validation.outcome import Outcome
from understudy.validation.selection import same_conditions
from understudy.validation.wording import describe, in_energy_unit

QUANTILES = (0.95, 0.65, 0.35, 0.05)
"""Places in the order of energies of the showers that are shown where no energies are asked for."""
TOLERANCE = 1.02
"""Largest ratio of an energy to the one that was asked for before it is said."""


@dataclass(frozen=True, eq=False)
class Gallery:
    """Showers to show.

    Args:
        titles: the conditions of each column, in lines.
        cells: energies `(columns, n_cells)` [MeV] by sample, the reference first.
        note: which energies were replaced, and which candidates are missing.
    """

    titles: tuple[tuple[str, ...], ...]
    cells: Mapping[str, Array]
    note: str = ""


def gallery(report: Outcome, wanted: Sequence[float] | None = None) -> Gallery | None:
    """Showers of the reference and of the candidates at the same conditions; None where no candidate has any.

    Args:
        report: what was compared.
        wanted: energies [MeV]; quantiles of the sample if None.
    """
    geometry = report.geometry
    partners = [
        s
        for s in (report.reference, report.floor)
        if any(same_conditions(s.events, c.events) for c in report.candidates.values())
    ]
    if geometry is None or not partners:
        return None
    # the candidates are at the conditions of one reference sample: of the floor's where the reference was halved
    events = partners[0].events
    rows, note = choose(scale_energy(events, geometry), wanted)
    chosen = np.array(rows)
    shown = {n: s.events for n, s in report.candidates.items() if same_conditions(events, s.events)}
    cells = {name: shower_cells(e[chosen], geometry) for name, e in ((report.reference.name, events), *shown.items())}
    if missing := [n for n in report.candidates if n not in shown]:
        note = f"{note} Not at these conditions: {', '.join(missing)}.".strip()
    titles = tuple(describe(events, row) or (f"event {row}",) for row in rows)
    return Gallery(titles, cells, note)


def choose(energies: Array, wanted: Sequence[float] | None) -> tuple[list[int], str]:
    """Rows of the events nearest in the logarithm of the energy, each used once, and what was replaced in words.

    Args:
        energies: `(n,)` [MeV].
        wanted: energies [MeV]; quantiles of `energies` if None.
    """
    positive = np.flatnonzero(energies > 0)
    if wanted is None or not len(positive):
        order = np.argsort(energies, kind="stable")
        return list(dict.fromkeys(int(order[round(q * (len(order) - 1))]) for q in QUANTILES)), ""
    logs = np.full(len(energies), np.inf)
    rows, replaced = [], []
    logs[positive] = np.log(energies[positive])
    for energy in wanted[: len(positive)]:
        row = int(np.argmin(np.abs(logs - np.log(energy))))
        logs[row] = np.inf
        rows.append(row)
        if max(energies[row] / energy, energy / energies[row]) > TOLERANCE:
            replaced.append(f"{in_energy_unit(energy)} by {in_energy_unit(float(energies[row]))}")
    if not replaced:
        return rows, ""
    low, high = in_energy_unit(float(energies[positive].min())), in_energy_unit(float(energies.max()))
    return rows, f"Replaced by the nearest energy that there is ({low} to {high}): {', '.join(replaced)}."
