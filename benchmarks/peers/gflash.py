r"""The GFLASH parametrisation (Grindhammer and Peters, hep-ex/0001020), tuned to the training events and nothing else.

    python gflash.py SPLIT.npz ANSWERS.npz --reference parametric-atlas --geometry atlas-em-89 [--minutes 10]

The numbers of `understudy.references.shower`'s parametrisation of the same calorimeter are fitted, once from those that the
package ships on and once from the published ones, half of the budget each; the better fit is taken. They are the response, the
sampling term, depth and shape of the longitudinal profile, the width of its fluctuations, core and tail of the radial one,
the core's weight, and the energy at the front. What a cell measures below the lowest energy that it has in the training events is
taken for zero there as here. Residuals are, in bins of energy,

$$r = \frac{m_\text{G4} - m_\text{GFLASH}}{\sqrt{\sigma^2_\text{G4} + \sigma^2_\text{GFLASH} + (0.02\, m_\text{G4})^2}}$$

of the mean and the width of the energy sum over the incident energy, of each layer's mean fraction, and of the mean energy in
each row and column of each layer. `scipy.optimize.least_squares` minimises their squares, with one seed for all
simulations, so that steps in the numbers and not in the random numbers are seen.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
from peer import CELLS, ENERGY, Budget, Known, LogCells, first_rows, measure, parser, write
from scipy.optimize import least_squares

import understudy.references.shower  # noqa: F401  registers the parametrisations
from understudy.geometry import Calorimeter
from understudy.references.gflash_engine import Tuning
from understudy.registry import lookup
from understudy.versions import versions

STEPS: Mapping[str, float] = {
    "response": 0.02,
    "sampling_term": 0.01,
    "depth_scale": 0.03,
    "depth_shift": 0.2,
    "shape_shift": 0.1,
    "width_scale": 0.15,
    "core_scale": 0.1,
    "tail_scale": 0.1,
    "core_shift": 0.05,
    "front": 5.0,
}
"""What is fitted, and how far each is moved to see what it does."""

LOWEST: Mapping[str, float] = {"response": 0.01, "sampling_term": 0.005, "depth_scale": 0.3, "width_scale": 0.0}
LOWEST = {**LOWEST, "core_scale": 0.1, "tail_scale": 0.1, "front": 0.0}
BINS = 4
OFFSET = 10.0
"""Scipy takes steps relative to the numbers; about this they are nearly absolute."""
FLOOR = 0.02
"""Relative difference below which two means count as equal."""


class Spent(Exception):  # noqa: N818  not an error: the budget is used up
    """The budget is used up."""


@dataclass
class Fit:
    """The fit of a parametrisation to events.

    Args:
        kind: of the reference.
        arguments: its arguments besides the tuning.
        conditions: by name, `(n, ...)`.
        cells: [MeV], `(n, d)`.
        lowest: energies [MeV] below which a cell counts as empty, `(d,)`.
        budget: of processor time.
        seed: of every simulation.
    """

    kind: str
    arguments: Mapping[str, Any]
    conditions: Mapping[str, np.ndarray]
    cells: np.ndarray
    lowest: np.ndarray
    budget: Budget
    seed: int
    start: Tuning = Tuning()  # noqa: RUF009  immutable
    until: float = 1.0
    calls: int = 0
    best: float = np.inf
    found: Tuning = Tuning()  # noqa: RUF009  immutable

    def __post_init__(self) -> None:
        cuts = np.quantile(self.conditions[ENERGY].ravel(), np.linspace(0, 1, BINS + 1)[1:-1])
        self.bin = np.searchsorted(cuts, self.conditions[ENERGY].ravel())
        self.geometry: Calorimeter = self.source(Tuning()).geometry
        self.mean, self.error = self.summary(self.cells)

    def source(self, tuning: Tuning) -> Any:
        """The parametrisation with these numbers."""
        return lookup("references", self.kind)(tuning=tuning, **self.arguments)

    def simulate(self, tuning: Tuning, conditions: Mapping[str, np.ndarray], seed: int) -> np.ndarray:
        """Cells [MeV] `(n, d)` of the parametrisation with these numbers."""
        made = self.source(tuning).simulator.simulate(conditions, np.random.default_rng(seed)).packed()
        return np.where(made < self.lowest, 0.0, made)

    def summary(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """All means and widths that are compared, and their errors."""
        energy = self.conditions[ENERGY].ravel()
        columns = [cells.sum(1)]
        for image in self.geometry.images(cells).values():
            columns += [image.sum((1, 2)), *image.sum(2).T, *image.sum(1).T]
        fractions = np.column_stack(columns) / energy[:, None]
        means, errors = [], []
        for k in range(BINS):
            rows = fractions[self.bin == k]
            low, high = np.quantile(rows[:, 0], (0.1587, 0.8413))
            width = 0.5 * (high - low)
            means += [*rows.mean(0), width]
            errors += [*(rows.std(0) / np.sqrt(len(rows))), 1.3 * width / np.sqrt(len(rows))]
        return np.asarray(means), np.asarray(errors)

    def residuals(self, steps: np.ndarray) -> np.ndarray:
        """Of numbers that are `steps` away from where the fit starts."""
        if self.budget.used >= self.until:
            raise Spent
        tuning = self.tuning(steps)
        made = self.simulate(tuning, self.conditions, self.seed)
        mean, error = self.summary(made)
        scale = np.sqrt(self.error**2 + error**2 + (FLOOR * self.mean) ** 2)
        residuals: np.ndarray = (mean - self.mean) / np.where(scale > 0, scale, 1.0)
        self.calls += 1
        if (chi2 := float((residuals**2).mean())) < self.best:
            self.best, self.found = chi2, tuning
            print(f"{self.budget.used:4.0%} of the budget, call {self.calls}: mean square residual {chi2:.2f}", flush=True)
        return residuals

    def tuning(self, steps: np.ndarray) -> Tuning:
        """Numbers that are so many steps from where the fit starts, none below the lowest that makes sense."""
        start = self.start.model_dump()
        moved = {n: start[n] + s * step for (n, step), s in zip(STEPS.items(), steps, strict=True)}
        return Tuning(**{n: max(v, LOWEST.get(n, v)) for n, v in moved.items()})

    def response(self) -> float:
        """Steps of the response that make the mean energy sum right, to begin with."""
        made = self.simulate(self.start, self.conditions, self.seed)
        return self.start.response * (float(self.cells.sum() / made.sum()) - 1.0) / STEPS["response"]


def fit(known: Known, arguments: Mapping[str, Any], options: argparse.Namespace) -> tuple[Fit, dict[str, Any]]:
    """The fitted parametrisation and what it took."""
    rows = np.random.default_rng(options.seed).permutation(len(known.train[CELLS]))[: options.showers]
    conditions = {n: a[rows] for n, a in known.train.items() if n != CELLS}
    budget = Budget(options.minutes)
    lowest = LogCells(known.train[CELLS]).lowest
    search = Fit(options.reference, arguments, conditions, known.train[CELLS][rows], lowest, budget, options.seed)
    shipped = signature(lookup("references", options.reference)).parameters["tuning"].default
    finished = []
    for number, search.start in enumerate((shipped, Tuning()), 1):
        search.until = number / 2
        first = OFFSET * np.ones(len(STEPS))
        first[list(STEPS).index("response")] += search.response()
        try:
            least_squares(lambda x: search.residuals(x - OFFSET), first, diff_step=0.07, xtol=1e-4)
            finished.append(True)
        except Spent:
            finished.append(False)
    return search, {**budget.spent(), "calls": search.calls, "finished": finished, "mean_square_residual": search.best}


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--reference", required=True, help="kind of the parametrisation: parametric-atlas, parametric-lhcb-ecal")
    options.add_argument("--geometry", required=True, help="its geometry by name")
    options.add_argument("--showers", type=int, default=3000, help="training events that are simulated at each step")
    chosen = options.parse_args()
    known = Known.read(chosen.split)
    arguments = {"geometry": chosen.geometry}
    search, took = fit(known, arguments, chosen)

    def showers(part: Mapping[str, np.ndarray], seed: int) -> np.ndarray:
        asked = {name: values for name, values in part.items() if name != CELLS}
        return search.simulate(search.found, asked, seed)

    hundred = {name: first_rows(values) for name, values in known.test.items()}
    facts = {
        **took,
        **measure(lambda: showers(hundred, 1)),
        "parameters": len(STEPS),
        "settings": {"reference": chosen.reference, "geometry": chosen.geometry, **search.found.model_dump()},
        "versions": versions(),
    }
    write(chosen.out, showers(known.test, chosen.seed + 1), showers(known.train, chosen.seed + 2), facts)


if __name__ == "__main__":
    main()
