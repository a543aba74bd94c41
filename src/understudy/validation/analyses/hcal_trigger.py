"""Rates of LHCb's hadron trigger on signal, independent of signal, and on both, against two energies (see `hcal_trigger.py`).

A model of events sees tracks without their identity. In the reference, signal tracks are hadrons, while muons and electrons of
the same energy leave little; a model that knows the distribution of the response *given the tracks* perfectly leaves the mean of
both everywhere, and its rates on the signal differ. So the same is asked again with tracks **drawn** from each event at random in
the place of the signal's: there a perfect model agrees with the reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from understudy.events import Events
from understudy.registry import register
from understudy.schema import Array
from understudy.validation import figures
from understudy.validation.analyses.base import Analysis, Finding, Samples, agreement
from understudy.validation.curve import Curve
from understudy.validation.figures_curves import curve_figure
from understudy.validation.hcal_images import image, total_et, tracks_of
from understudy.validation.hcal_trigger import SQUARE, THRESHOLD, decisions, drawn_tracks

RATES = {"htos": "HTOS rate", "htis": "HTIS rate", "both": "HTOS and HTIS rate"}
AGAINST = {
    "signal_et": r"$E_T$ of the signal",
    "total_et": r"$\sum E_T$",
    "drawn_et": r"$E_T$ of drawn tracks",
    "drawn_total_et": r"$\sum E_T$ (drawn tracks)",
}
"""Energies; in the last two, tracks drawn at random stand for the signal."""
PAIRED = ("signal_et", "drawn_et")
"""Energies that a candidate at the reference's tracks shares with it."""
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
        drawn: tracks drawn from each event; 0 leaves these curves out, as events do that do not say their tracks.
        least_p: p-value of a curve below which the verdict is `fail`; None leaves the verdict alone.
        largest: difference of a rate in a bin, absolute, above which it is; only differences of more than two standard
            deviations count.
        judged: the energies whose curves count for the verdict; all if None.
    """

    def __init__(
        self,
        threshold: PositiveFloat = THRESHOLD,
        square: PositiveInt = SQUARE,
        bins: PositiveInt = 8,
        drawn: NonNegativeInt = 3,
        least_p: PositiveFloat | None = None,
        largest: PositiveFloat | None = None,
        judged: Sequence[Literal["signal_et", "total_et", "drawn_et", "drawn_total_et"]] | None = None,
    ) -> None:
        if square % 2 == 0:
            raise ValueError(f"the square around a signal track has a side of {square} pixels; give an odd number")
        self.threshold, self.square, self.bins, self.drawn = threshold, square, bins, drawn
        self.least_p, self.largest = least_p, largest
        self.judged = tuple(AGAINST) if judged is None else tuple(judged)

    def __call__(self, samples: Samples) -> Sequence[Finding]:
        """One finding; ValueError if the reference does not carry the signal."""
        truth = self._asked(samples.reference, samples.generator("hcal-trigger", "reference"))
        if truth is None:
            raise ValueError("hcal-trigger needs events with aux 'signal' and 'signal_et'; take a reference of whole events")
        reference = self._seen(samples.reference, truth)
        edges = {name: _edges(reference[name], self.bins) for name in AGAINST if name in reference}
        base = rate_curves(reference, edges, True)
        floor_truth = self._asked(samples.floor, samples.generator("hcal-trigger", "floor"))
        floor = base if floor_truth is None else rate_curves(self._seen(samples.floor, floor_truth), edges)
        found: dict[str, dict[str, Curve]] = {}
        numbers, entries, reasons = {}, {}, {}
        for name, events in samples.candidates.items():
            paired = samples.paired.get(name, False)
            own = truth if paired else self._asked(events, samples.generator("hcal-trigger", name))
            if own is None or own.keys() != truth.keys():
                continue
            seen = self._seen(events, own)
            found[name] = rate_curves(seen, edges, paired)
            numbers[name] = _numbers(seen, reference, base, found[name], floor)
            entries[name] = {key: agreement(curve, floor[key], found[name][key]) for key, curve in base.items()}
            reasons[name] = self._reasons(entries[name], base, found[name])
        pictures = [
            figures.svg(
                curve_figure((samples.reference_name, curve), {name: c[key] for name, c in found.items()}),
                f"{curve.label} against {told(key)}; below, pulls",
            )
            for key, curve in base.items()
        ]
        text = (
            f"The trigger fires where 2 x 2 real cells of one region hold more than {self.threshold:g} MeV of transverse energy,"
            f" on the signal where such a window overlaps a square of {self.square} pixels around one of its hadrons, and"
            " independently of it where a window overlaps none. Errors are binomial; samples at the same tracks are compared"
            " event by event in bins of the signal's energy. In bins of the image's own energy every sample has its own events."
        )
        if "drawn_et" in edges:
            text += (
                f" The same is asked with {self.drawn} tracks drawn from each event at random in the place of the signal's. A"
                " stand-in that sees no particle identity can agree there, but not on the signal, whose tracks are hadrons all."
            )
        return [Finding("Hadron trigger", text, numbers, entries, _table(numbers), pictures, reasons)]

    def _asked(self, events: Events, rng: np.random.Generator) -> dict[str, Any] | None:
        """Signal and drawn tracks with their energies; None of events without a signal."""
        signal, tracks = signal_of(events), tracks_of(events)
        if signal is None or tracks is None or not self.drawn:
            return signal
        drawn, energy = drawn_tracks(*tracks, self.drawn, rng)
        return {**signal, "drawn": drawn, "drawn_et": energy}

    def _seen(self, events: Events, truth: Mapping[str, Any]) -> dict[str, Array]:
        """Decisions and energies of every event, `(n,)` each."""
        images = image(events)
        total = total_et(images)
        found = {"weights": np.ones(len(images)) if events.weights is None else np.asarray(events.weights)}
        for chosen, prefix in (("signal", ""), ("drawn", "drawn_")):
            if chosen not in truth:
                continue
            parts = [
                decisions(images[k : k + SUBSET], truth[chosen][k : k + SUBSET], self.threshold, self.square)
                for k in range(0, len(images), SUBSET)
            ]
            tos, tis = (np.concatenate([getattr(p, which) for p in parts]) for which in ("tos", "tis"))
            found |= {f"{prefix}htos": tos, f"{prefix}htis": tis, f"{prefix}both": tos & tis}
            found |= {f"{chosen}_et": np.asarray(truth[f"{chosen}_et"], float), f"{prefix}total_et": total}
        return found

    def _reasons(
        self, entries: Mapping[str, Mapping[str, Any]], base: Mapping[str, Curve], own: Mapping[str, Curve]
    ) -> list[str]:
        told = []
        for key, entry in entries.items():
            if key.split("_", 1)[1] not in self.judged:
                continue
            if self.least_p is not None and entry["p_value"] < self.least_p:
                told.append(f"the trigger's {key} has a p-value of {entry['p_value']:.2g}, below {self.least_p:g}")
            difference = np.abs(own[key].y - base[key].y)
            sure = difference > 2 * np.hypot(own[key].error, base[key].error)
            worst = float(np.nanmax(np.where(sure, difference, 0.0)))
            if self.largest is not None and worst > self.largest:
                told.append(f"the trigger's {key} is off by {worst:.3f} in a bin, more than {self.largest:g}")
        return told


def told(key: str) -> str:
    """What a curve is drawn against, in words."""
    which = "the image's transverse energy" if key.endswith("total_et") else "the transverse energy of these tracks"
    return f"{which}, with tracks drawn at random for the signal" if "drawn" in key else which.replace("these", "the signal's")


def signal_of(events: Events) -> dict[str, Any] | None:
    """The signal's tracks and transverse energy of events that carry them."""
    return {k: events.aux[k] for k in ("signal", "signal_et")} if {"signal", "signal_et"} <= set(events.aux) else None


def rate_curves(seen: Mapping[str, Array], edges: Mapping[str, Array], paired: bool = False) -> dict[str, Curve]:
    """All rates against the energies that have edges.

    Args:
        seen: decisions and energies `(n,)` by name, and `weights`.
        edges: bin edges by energy [MeV]; the outermost bins are open.
        paired: keep each event's influence on the bins of the tracks' energy, to be compared row by row.
    """
    found = {}
    for energy in edges:
        label, prefix = AGAINST[energy], "drawn_" if energy.startswith("drawn") else ""
        for rate, title in RATES.items():
            name = f"{rate}_{energy}"
            y, error, influence = binomial(seen[energy], seen[prefix + rate], edges[energy], seen["weights"])
            kept = influence if paired and energy in PAIRED else None
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
    """Largest absolute difference of a rate in a bin of either energy, on the signal."""
    gaps = np.concatenate([np.abs(other[f"{rate}_{e}"].y - base[f"{rate}_{e}"].y) for e in ("signal_et", "total_et")])
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
