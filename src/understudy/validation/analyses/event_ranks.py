r"""Variety where a reference cannot be asked twice: the rank of each reference event among many answers at its conditions.

A file of events has one response to each condition. If a stand-in draws from the same conditional distribution, the reference's
number is one more draw among $k$ answers: its rank is uniform on $0 \ldots k$, whatever the conditions are (rank histograms of
ensemble forecasts, T. M. Hamill 2001, doi:10.1175/1520-0493(2001)129<0550:IORHFV>2.0.CO;2). Ranks that pile up at both ends
tell of too little variety, ranks in the middle of too much, a slope of a bias. Distances between whole samples see none of it
as long as the *sum* over conditions comes out right. Equal numbers (empty images) are ordered at random.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from pydantic import PositiveInt
from scipy import stats

from understudy.events import Events
from understudy.registry import register
from understudy.schema import Array
from understudy.validation import figures, hcal_images
from understudy.validation.analyses.base import Analysis, Finding, Samples, answered
from understudy.validation.observables import Observable, evaluate, observables_for

UNIFORM = 1 / np.sqrt(12)
"""Standard deviation of a rank between 0 and 1 that is uniform."""
SHOWN = 8
"""Observables that have a histogram."""


@register("analyses", "event-ranks")
class EventRanks(Analysis):
    """Ranks of reference events among a stand-in's answers at the same conditions.

    Args:
        events: test events, the first ones.
        answers: of each, $k$.
        bins: of the histograms.
    """

    def __init__(self, events: PositiveInt = 300, answers: PositiveInt = 49, bins: PositiveInt = 10) -> None:
        if (answers + 1) % bins:
            raise ValueError(
                f"{answers} answers give ranks 0 to {answers}, which {bins} bins do not divide; give one less than a"
                f" multiple of {bins}"
            )
        self.events, self.answers, self.bins = events, answers, bins

    def __call__(self, samples: Samples) -> Sequence[Finding]:
        """One finding; none where no stand-in can be asked."""
        asked = samples.reference[: self.events]
        known = _observables(samples)
        truth = evaluate(asked, samples.geometry, known)
        floor = self._ranks(samples.simulator, asked, known, truth, samples, "floor") if samples.simulator is not None else None
        found = {name: self._ranks(standin, asked, known, truth, samples, name) for name, standin in samples.standins.items()}
        if not found:
            return []
        numbers = {
            name: {key: self._entry(u, None if floor is None else floor[key]) for key, u in ranks.items()}
            for name, ranks in found.items()
        }
        rows = [
            {
                "candidate": name,
                "quantity": key,
                "mean rank": f"{n['mean']:.3f} ± {n['mean_error']:.3f} (0.5)",
                "width over uniform": f"{n['width']:.3f} ± {n['width_error']:.3f} (1)",
                "chi2": f"{n['chi2']:.1f} of {n['ndf']}" + ("" if floor is None else f" (floor {n['floor_chi2']:.1f})"),
                "p-value": f"{n['p_value']:.2g}",
            }
            for name, entries in numbers.items()
            for key, n in entries.items()
        ]
        text = (
            f"Each of {len(asked)} reference events among {self.answers} answers of the stand-in at the same conditions. Ranks"
            " of the right distribution are uniform: a mean above one half says that the stand-in is too low, a width above 1"
            " that it varies too little. Ranks of an exact stand-in have a chi2 of about the number of bins less one."
        )
        titles = {o.name: o.label for o in known}
        picture = figures.svg(
            _figure({name: {titles[k]: u for k, u in ranks.items()} for name, ranks in found.items()}, self.bins),
            "Ranks of reference events among answers at their conditions; the band holds 68 % of uniform ranks",
        )
        return [Finding("Variety at the conditions of each event", text, numbers, rows=rows, pictures=[picture])]

    def _ranks(
        self, standin: Any, asked: Events, known: Sequence[Observable], truth: Mapping[str, Array], samples: Samples, name: str
    ) -> dict[str, Array]:
        """Ranks between 0 and 1 of each observable, NaN where it is not defined, `(n,)`."""
        rng = samples.generator("event-ranks", name)
        answers = {o.name: np.empty((self.answers, len(asked))) for o in known}
        for k in range(self.answers):
            values = evaluate(answered(standin, asked, rng), samples.geometry, known)
            for key, v in values.items():
                answers[key][k] = v
        return {key: self._rank(truth[key], v, rng) for key, v in answers.items()}

    def _rank(self, truth: Array, answers: Array, rng: np.random.Generator) -> Array:
        below, equal = (answers < truth).sum(0), (answers == truth).sum(0)
        rank = below + rng.integers(0, equal + 1) + rng.random(len(truth))
        defined = np.isfinite(truth) & np.isfinite(answers).all(0)
        return np.where(defined, rank / (self.answers + 1), np.nan)

    def _entry(self, u: Array, floor: Array | None) -> dict[str, float]:
        u = u[np.isfinite(u)]
        n = max(len(u), 1)
        entry: dict[str, float] = {
            "events": len(u),
            "mean": float(np.mean(u)) if len(u) else float("nan"),
            "mean_error": UNIFORM / np.sqrt(n),
            "width": float(np.sqrt(np.mean((u - 0.5) ** 2)) / UNIFORM) if len(u) else float("nan"),
            "width_error": float(np.sqrt(0.2 / n)),  # kurtosis 1.8 of a uniform number
            **self._chi2(u),
        }
        if floor is not None:
            entry["floor_chi2"] = self._chi2(floor[np.isfinite(floor)])["chi2"]
        return entry

    def _chi2(self, u: Array) -> dict[str, float]:
        counts = np.histogram(u, self.bins, (0, 1))[0]
        expected = max(len(u), 1) / self.bins
        chi2 = float(((counts - expected) ** 2 / expected).sum())
        return {"chi2": chi2, "ndf": self.bins - 1, "p_value": float(stats.chi2.sf(chi2, self.bins - 1))}


def _observables(samples: Samples) -> tuple[Observable, ...]:
    if samples.geometry is not None and samples.geometry.name == "lhcb-hcal":
        return hcal_images.observables(samples.reference)
    return observables_for(samples.reference.schema, samples.geometry)


def _figure(ranks: Mapping[str, Mapping[str, Array]], bins: int) -> Figure:
    """Histograms of ranks, one panel for each observable."""
    titles = list(next(iter(ranks.values())))[:SHOWN]
    columns = min(4, len(titles))
    with figures.styled():
        figure = Figure((2.6 * columns + 0.4, 2.2 * -(-len(titles) // columns) + 0.3), layout="constrained")
        grid = figure.subplots(-(-len(titles) // columns), columns, squeeze=False)
        for axes in grid.flat[len(titles) :]:
            axes.set_axis_off()
        for title, axes in zip(titles, grid.flat, strict=False):
            n = max(int(np.isfinite(r[title]).sum()) for r in ranks.values())
            low, high = stats.binom.interval(0.68, n, 1 / bins)
            axes.axhspan(low / max(n, 1) * bins, high / max(n, 1) * bins, color="0.88", lw=0)
            for name, r in ranks.items():
                counts, edges = np.histogram(r[title][np.isfinite(r[title])], bins, (0, 1))
                axes.stairs(counts * bins / max(counts.sum(), 1), edges, label=figures.shortened(name, 22))
            axes.set(xlim=(0, 1), title=title, xlabel="rank of the reference")
            axes.set_ylim(bottom=0)
        grid.flat[0].legend(fontsize=6)
    return figure
