"""Rates of LHCb's hadron trigger on signal, independent of signal, and on both, against two energies (see `hcal_trigger.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from understudy.events import Events
from understudy.registry import register
from understudy.schema import Array
from understudy.validation import figures
from understudy.validation.analyses.base import Analysis, Finding, Samples, agreement
from understudy.validation.curve import Curve
from understudy.validation.figures_curves import curve_figure
from understudy.validation.hcal_images import image, total_et
from understudy.validation.hcal_trigger import SQUARE, THRESHOLD, decisions

RATES = {"htos": "HTOS rate", "htis": "HTIS rate", "both": "HTOS and HTIS rate"}
AGAINST = {"signal_et": r"$E_T$ of the signal", "total_et": r"$\sum E_T$"}
SUBSET = 2000
"""Events looked at together."""
FEWEST = 10
"""Events that a bin must hold."""


@register("analyses", "hcal-trigger")
class HcalTrigger(Analysis):
    """HTOS, HTIS and both against the signal's transverse energy and against that of the whole image.

    Args:
        threshold: of a window of 2 x 2 cells [MeV].
        square: side of the square around a signal track [pixels].
        bins: bins of each energy, with equal numbers of reference events.
        least_p: p-value of a curve below which the verdict is `fail`; None leaves the verdict alone.
        largest: difference of a rate in a bin, absolute, above which it is; only differences of more than two standard
            deviations count.
    """

    def __init__(
        self,
        threshold: PositiveFloat = THRESHOLD,
        square: PositiveInt = SQUARE,
        bins: PositiveInt = 8,
        least_p: PositiveFloat | None = None,
        largest: PositiveFloat | None = None,
    ) -> None:
        if square % 2 == 0:
            raise ValueError(f"the square around a signal track has a side of {square} pixels; give an odd number")
        self.threshold, self.square, self.bins = threshold, square, bins
        self.least_p, self.largest = least_p, largest

    def __call__(self, samples: Samples) -> Sequence[Finding]:
        """One finding; ValueError if the reference does not carry the signal."""
        truth = signal_of(samples.reference)
        if truth is None:
            raise ValueError("hcal-trigger needs events with aux 'signal' and 'signal_et'; take a reference of whole events")
        reference = self._seen(samples.reference, truth)
        edges = {name: _edges(reference[name], self.bins) for name in AGAINST}
        base = rate_curves(reference, edges, True)
        floor_truth = signal_of(samples.floor)
        floor = base if floor_truth is None else rate_curves(self._seen(samples.floor, floor_truth), edges)
        found: dict[str, dict[str, Curve]] = {}
        numbers, entries, reasons = {}, {}, {}
        for name, events in samples.candidates.items():
            paired = samples.paired.get(name, False)
            own = truth if paired else signal_of(events)
            if own is None:
                continue
            seen = self._seen(events, own)
            found[name] = rate_curves(seen, edges, paired)
            numbers[name] = _numbers(seen, reference, base, found[name], floor)
            entries[name] = {key: agreement(curve, floor[key], found[name][key]) for key, curve in base.items()}
            reasons[name] = self._reasons(entries[name], base, found[name])
        pictures = [
            figures.svg(
                curve_figure((samples.reference_name, curve), {name: c[key] for name, c in found.items()}),
                f"{curve.label} against {'the signal' if 'signal' in key else 'the total'}'s transverse energy; below, pulls",
            )
            for key, curve in base.items()
        ]
        text = (
            f"The trigger fires where 2 x 2 real cells of one region hold more than {self.threshold:g} MeV of transverse energy,"
            f" on the signal where such a window overlaps a square of {self.square} pixels around one of its hadrons, and"
            " independently of it where a window overlaps none. Errors are binomial; samples at the same tracks are compared"
            " event by event in bins of the signal's energy. In bins of the image's own energy every sample has its own events."
        )
        return [Finding("Hadron trigger", text, numbers, entries, _table(numbers), pictures, reasons)]

    def _seen(self, events: Events, truth: Mapping[str, Any]) -> dict[str, Array]:
        """Decisions and energies of every event, `(n,)` each."""
        images = image(events)
        parts = [
            decisions(images[k : k + SUBSET], truth["signal"][k : k + SUBSET], self.threshold, self.square)
            for k in range(0, len(images), SUBSET)
        ]
        tos, tis = (np.concatenate([getattr(p, which) for p in parts]) for which in ("tos", "tis"))
        weights = np.ones(len(images)) if events.weights is None else np.asarray(events.weights)
        energies = {"signal_et": np.asarray(truth["signal_et"], float), "total_et": total_et(images)}
        return {"htos": tos, "htis": tis, "both": tos & tis, **energies, "weights": weights}

    def _reasons(
        self, entries: Mapping[str, Mapping[str, Any]], base: Mapping[str, Curve], own: Mapping[str, Curve]
    ) -> list[str]:
        told = []
        for key, entry in entries.items():
            if self.least_p is not None and entry["p_value"] < self.least_p:
                told.append(f"the trigger's {key} has a p-value of {entry['p_value']:.2g}, below {self.least_p:g}")
            difference = np.abs(own[key].y - base[key].y)
            sure = difference > 2 * np.hypot(own[key].error, base[key].error)
            worst = float(np.nanmax(np.where(sure, difference, 0.0)))
            if self.largest is not None and worst > self.largest:
                told.append(f"the trigger's {key} is off by {worst:.3f} in a bin, more than {self.largest:g}")
        return told


def signal_of(events: Events) -> dict[str, Any] | None:
    """The signal's tracks and transverse energy of events that carry them."""
    return {k: events.aux[k] for k in ("signal", "signal_et")} if {"signal", "signal_et"} <= set(events.aux) else None


def rate_curves(seen: Mapping[str, Array], edges: Mapping[str, Array], paired: bool = False) -> dict[str, Curve]:
    """All rates against both energies.

    Args:
        seen: decisions and energies `(n,)` by name, and `weights`.
        edges: bin edges by energy [MeV]; the outermost bins are open.
        paired: keep each event's influence on the bins of the signal's energy, to be compared row by row.
    """
    found = {}
    for energy, label in AGAINST.items():
        for rate, title in RATES.items():
            name = f"{rate}_{energy}"
            y, error, influence = binomial(seen[energy], seen[rate], edges[energy], seen["weights"])
            kept = influence if paired and energy == "signal_et" else None
            covariance = np.diag(np.where(np.isfinite(error), error, 0.0) ** 2)
            found[name] = Curve(name, edges[energy], y, error, "", title, label, "MeV", covariance, influence=kept)
    return found


def binomial(x: Array, passed: Array, edges: Array, weights: Array) -> tuple[Array, Array, Array]:
    """Rate in each bin with its error `(k,)`, and how far each event moves it, `(n, k)`.

    The error is that of the posterior of a binomial rate with a flat prior, so that bins without a pass or without a
    failure have one as well; weighted events count as $(\\sum w)^2 / \\sum w^2$.
    """
    member = np.digitize(x, edges[1:-1])[:, None] == np.arange(len(edges) - 1)
    w = weights[:, None] * member
    total, squares = w.sum(0), (w**2).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = (w * passed[:, None]).sum(0) / total
        n = total**2 / squares
        p = (rate * n + 1) / (n + 2)
        error = np.sqrt(p * (1 - p) / (n + 3))
        influence = np.where(member, w * (passed[:, None] - rate) / total, 0.0)
    enough = (n >= FEWEST) & (total > 0)
    return np.where(enough, rate, np.nan), np.where(enough, error, np.nan), influence.astype(np.float32)


def _edges(values: Array, bins: int) -> Array:
    """Edges with equal numbers of events between them; the outermost bins take what lies beyond their outer edges."""
    inner = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]))
    inner = inner[inner > 0]
    return np.concatenate([[0.0], inner, [max(float(np.quantile(values, 0.99)), 1.5 * inner[-1] if len(inner) else 1.0)]])


def _numbers(
    seen: Mapping[str, Array],
    reference: Mapping[str, Array],
    base: Mapping[str, Curve],
    own: Mapping[str, Curve],
    floor: Mapping[str, Curve],
) -> dict[str, Any]:
    """Whole rates, and the largest difference in a bin, with that of the floor."""
    found: dict[str, Any] = {}
    for rate in RATES:
        mine, theirs = (np.average(s[rate], weights=s["weights"]) for s in (seen, reference))
        errors = [np.sqrt((r * (1 - r) + 1 / (len(s[rate]) + 2)) / len(s[rate])) for r, s in ((mine, seen), (theirs, reference))]
        found[rate] = {
            "rate": float(mine),
            "error": float(errors[0]),
            "reference": float(theirs),
            "reference_error": float(errors[1]),
            "largest_difference": _largest(base, own, rate),
            "floor": _largest(base, floor, rate),
        }
    return found


def _largest(base: Mapping[str, Curve], other: Mapping[str, Curve], rate: str) -> float:
    """Largest absolute difference of a rate in a bin of either energy."""
    gaps = np.concatenate([np.abs(other[f"{rate}_{e}"].y - base[f"{rate}_{e}"].y) for e in AGAINST])
    return float(np.nanmax(gaps)) if np.isfinite(gaps).any() else float("nan")


def _table(numbers: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    return [
        {
            "candidate": name,
            "rate": RATES[rate].removesuffix(" rate"),
            "of the candidate": f"{100 * n['rate']:.2f} ± {100 * n['error']:.2f} %",
            "of the reference": f"{100 * n['reference']:.2f} ± {100 * n['reference_error']:.2f} %",
            "largest difference in a bin": f"{100 * n['largest_difference']:.1f} %",
            "floor": f"{100 * n['floor']:.1f} %",
        }
        for name, rates in numbers.items()
        for rate, n in rates.items()
    ]
