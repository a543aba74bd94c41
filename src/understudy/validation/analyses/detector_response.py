r"""How a tracker answers to single particles: what part is found, and with what momentum and direction.

The questions of the report on conditional WGAN-GP of Delphes (Cambridge Part III, 2018, figs. 12-16), with numbers: efficiency
and relative response in regions and as maps over $(p_T, \eta)$; whether the probability to be detected is calibrated; one
electron fed again and again; what passes through unchanged; the dependence on $\eta$ and not on $\phi$ at one momentum.
Where reference and candidates can be asked, each is asked for `events` particles, at the test conditions and, where these are
fewer, at the training ones: only where those lie is used, the answers are new for all.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from pydantic import Field, PositiveInt

from understudy.domain import OutOfDomainWarning
from understudy.events import Events
from understudy.registry import register
from understudy.schema import Array
from understudy.simulator import Simulator
from understudy.validation import figures
from understudy.validation import figures_response as drawn
from understudy.validation import response_regions as regions
from understudy.validation.analyses.base import Analysis, Finding, Samples
from understudy.validation.figures import Picture
from understudy.validation.response_regions import Tracks

RELIABILITY_BINS = 12
CHUNK = 8192
Electron = tuple[float, float, float]


@register("analyses", "detector-response")
class DetectorResponse(Analysis):
    """Efficiency and response of a tracker.

    Args:
        pt_edges: edges of the regions in transverse momentum [MeV].
        eta_edges: edges of the regions in $|\\eta|$.
        events: particles that each simulator is asked for; the samples themselves serve where one cannot be asked.
        repeated: $(p_T, \\eta, \\phi)$ [MeV, rad] of particles that are fed again and again.
        times: how often.
        at: transverse momentum [MeV] at which the dependence on $\\eta$ and $\\phi$ is shown.
        etas: pseudorapidities there.
        phis: azimuths there [rad].
        efficiency: largest absolute difference of the efficiency in any region.
        median: largest relative difference of the median there.
        width: largest relative difference of the width there.
    """

    def __init__(
        self,
        pt_edges: tuple[float, ...] = (100.0, 1000.0, 100_000.0),
        eta_edges: tuple[float, ...] = (0.5, 1.5, 2.5),
        events: PositiveInt = 1_000_000,
        repeated: tuple[Electron, ...] = ((4250.0, 2.5, 1.5), (500.0, 0.2, 3.0), (200_000.0, -1.0, 5.0)),
        times: Annotated[int, Field(ge=1000)] = 50_000,
        at: float = 8000.0,
        etas: tuple[float, ...] = (0.2, 1.0, 2.0),
        phis: tuple[float, ...] = (0.5, 3.0, 5.5),
        efficiency: float = 0.005,
        median: float = 0.01,
        width: float = 0.01,
    ) -> None:
        self.pt_edges, self.eta_edges, self.events = pt_edges, eta_edges, events
        self.repeated, self.times = repeated, times
        self.at, self.etas, self.phis = at, etas, phis
        self.allowed = {"efficiency": efficiency, "median": median, "width": width}

    def __call__(self, samples: Samples) -> Sequence[Finding]:
        """Regions, maps, reliability, single particles, directions."""
        if samples.reference_name in samples.candidates:
            samples = replace(samples, reference_name=f"{samples.reference_name} (reference)")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OutOfDomainWarning)
            reference, floor, others = self._asked(samples)
            found = [self._regions(reference, floor, others), self._maps(samples, reference, others)]
            found += self._reliability(samples)
            found.append(self._directions(samples, reference, others))
            if samples.simulator is not None and samples.standins:
                found += [self._repeated(samples), self._dependence(samples)]
        return found

    def _asked(self, samples: Samples) -> tuple[Tracks, Tracks, dict[str, Tracks]]:
        """Reference, floor and candidates as tracks, as many as the simulators can be asked for."""
        if samples.simulator is None or set(samples.standins) != set(samples.candidates):
            return (
                Tracks.of(samples.reference),
                Tracks.of(samples.floor),
                {name: Tracks.of(events) for name, events in samples.candidates.items()},
            )
        pool = [e.conditions for e in (samples.reference, samples.train) if e is not None]
        given = {}
        for block in samples.reference.schema.given:
            known = np.concatenate([c[block.name] for c in pool])
            given[block.name] = known[np.arange(self.events) % len(known)]
        made = {name: answers(s, given, samples, name) for name, s in samples.standins.items()}
        return (
            answers(samples.simulator, given, samples, "reference"),
            answers(samples.simulator, given, samples, "floor"),
            made,
        )

    def _regions(self, reference: Tracks, floor: Tracks, others: Mapping[str, Tracks]) -> Finding:
        """The table, the largest differences, and whether they are allowed."""
        rows: list[dict[str, str]] = []
        found: dict[str, list[dict[str, tuple[float, float]]]] = {name: [] for name in ("floor", *others)}
        for region in regions.all_regions(self.pt_edges, self.eta_edges):
            inside = {"": reference, "floor": floor, **others}
            parts = {name: tracks[region.inside(tracks)] for name, tracks in inside.items()}
            if min(len(p) for p in parts.values()) < regions.FEWEST:
                continue
            sums = {name: regions.summary(p) for name, p in parts.items()}
            row = {"region": region.name, "particles": f"{len(parts['']):,}"}
            row |= {k: _told(*sums[""][k], percent=k == "efficiency") for k in ("efficiency", "median", "width")}
            for name in found:
                found[name].append(regions.differences(sums[""], sums[name]))
                row |= {f"{name}: {k}": _told(*found[name][-1][k], percent=True, sign=True) for k in self.allowed}
            rows.append(row)
        floors = regions.worst(found.pop("floor"))
        numbers = {
            name: {
                "regions": {k: {"value": v, "floor": floors[k]} for k, v in regions.worst(d).items()},
                "events": len(reference),
            }
            for name, d in found.items()
        }
        reasons = {name: self._failures(d) for name, d in found.items()}
        return Finding(
            "Efficiency and momentum response in regions",
            "Differences from the reference in per cent: of the efficiency absolute, of median and 16-84 % width of pT'/pT"
            " relative; the floor is the reference asked again.",
            numbers=numbers,
            rows=rows,
            reasons={name: r for name, r in reasons.items() if r},
        )

    def _failures(self, found: Sequence[Mapping[str, tuple[float, float]]]) -> list[str]:
        """Sentences about what is beyond what is allowed, by more than three standard deviations of counting."""
        failures = []
        for name, most in self.allowed.items():
            beyond = [abs(d[name][0]) for d in found if abs(d[name][0]) > max(most, 3 * d[name][1])]
            if beyond:
                failures.append(
                    f"the {name} of {len(beyond)} regions differs by up to {100 * max(beyond):.2g} %, more than {100 * most:g} %"
                )
        return failures

    def _maps(self, samples: Samples, reference: Tracks, others: Mapping[str, Tracks]) -> Finding:
        size = max(int(np.sqrt(len(reference) / 400)), 4)
        positive = reference.pt[reference.pt > 0]
        low, high = np.quantile(positive, [0.001, 1.0]) * (1.0, 1.000001)
        pts = np.geomspace(low, max(high, low * 1.01), min(size, 40) + 1)
        etas = np.linspace(reference.eta.min(), reference.eta.max() + 1e-6, min(size, 30) + 1)
        maps = {n: regions.binned(t, pts, etas) for n, t in {samples.reference_name: reference, **others}.items()}
        numbers: dict[str, dict[str, Any]] = {}
        for name in others:
            pulls = {}
            for quantity in ("efficiency", "median", "width"):
                (a, ea), (b, eb) = maps[samples.reference_name][quantity], maps[name][quantity]
                with np.errstate(invalid="ignore", divide="ignore"):
                    square = np.square((b - a) / np.hypot(ea, eb))
                known = np.isfinite(square)
                pulls[quantity] = {"chi2": float(square[known].sum()), "ndf": int(known.sum())}
            numbers[name] = {"maps": pulls}
        pictures = [
            figures.png(
                drawn.map_figure(q, samples.reference_name, maps, pts, etas),
                f"{q} over transverse momentum and pseudorapidity: reference, candidates, and their pulls below",
                dpi=110,
            )
            for q in ("efficiency", "median", "width")
        ]
        return Finding("Maps of efficiency and response", numbers=numbers, pictures=pictures)

    def _reliability(self, samples: Samples) -> list[Finding]:
        """The reliability curve of every stand-in that says a probability."""
        seen = samples.reference.mask
        curves: dict[str, dict[str, Any]] = {}
        for name, standin in samples.standins.items():
            ask = getattr(standin, "detection_probability", None)
            given = {b.name: samples.reference.conditions[b.name] for b in samples.reference.schema.given}
            chance = None if ask is None else ask(given)
            if chance is not None and seen is not None:
                curves[name] = reliability(chance, seen)
        if not curves:
            return []
        picture = figures.svg(
            drawn.reliability_figure(curves), "Reliability: what part is detected at each predicted probability"
        )
        return [
            Finding(
                "Calibration of the detection probability",
                "Reference particles in bins of the probability that the stand-in predicts; the floor of the Brier score is that"
                " of a perfectly calibrated forecast of the same probabilities.",
                numbers={name: {"reliability": curve} for name, curve in curves.items()},
                pictures=[picture],
            )
        ]

    def _directions(self, samples: Samples, reference: Tracks, others: Mapping[str, Tracks]) -> Finding:
        """How far reconstructed directions lie from the true ones."""
        rows, numbers = [], {}
        for name, tracks in {samples.reference_name: reference, **others}.items():
            shifts = {"eta": tracks.eta_shift[tracks.found], "phi": tracks.phi_shift[tracks.found]}
            told = {
                axis: {
                    "rms": _or_zero(np.sqrt(np.mean(np.square(s))) if len(s) else 0),
                    "largest": _or_zero(np.abs(s).max(initial=0)),
                }
                for axis, s in shifts.items()
            }
            rows.append({"sample": name} | {f"{a} {k}": f"{v:.3g}" for a, d in told.items() for k, v in d.items()})
            if name in others:
                numbers[name] = {"directions": told}
        wide = {n: t for n, t in others.items() if np.nanmax(np.abs(t.eta_shift), initial=0) > 0}
        pictures = []
        if wide:
            samples_of = [{n: getattr(t, part)[t.found] for n, t in wide.items()} for part in ("eta_shift", "phi_shift")]
            figure = drawn.overlays(["pseudorapidity", "azimuth [rad]"], samples_of, "reconstructed less true")
            pictures.append(figures.svg(figure, "Reconstructed less true direction of the candidates that generate it"))
        return Finding("Directions", "Reconstructed less true pseudorapidity and azimuth.", numbers, rows=rows, pictures=pictures)

    def _repeated(self, samples: Samples) -> Finding:
        """One particle again and again, in linear and logarithmic scale."""
        titles, found = self._fed(samples, self.repeated, "repeated")
        pictures = [
            figures.svg(
                drawn.overlays(titles, found, r"$p_T'/p_T$", logarithmic),
                f"One particle {self.times:,} times, {'logarithmic, with its tails' if logarithmic else 'linear'}, and the ratio",
            )
            for logarithmic in (False, True)
        ]
        return Finding("The same particle again and again", pictures=pictures)

    def _dependence(self, samples: Samples) -> Finding:
        """At one momentum: other pseudorapidities, other azimuths."""
        pictures = []
        for axis, points in (
            ("pseudorapidity", [(self.at, eta, self.phis[0]) for eta in self.etas]),
            ("azimuth", [(self.at, self.etas[0], phi) for phi in self.phis]),
        ):
            titles, found = self._fed(samples, points, axis)
            figure = drawn.overlays(titles, found, r"$p_T'/p_T$")
            pictures.append(figures.svg(figure, f"Response at {self.at / 1000:g} GeV for different values of the {axis}"))
        text = "The response depends on the pseudorapidity and not on the azimuth."
        return Finding("Dependence on the direction", text, pictures=pictures)

    def _fed(self, samples: Samples, points: Sequence[Electron], purpose: str) -> tuple[list[str], list[dict[str, Array]]]:
        if samples.simulator is None:
            return [], []
        simulators: dict[str, Simulator] = {samples.reference_name: samples.simulator, **samples.standins}
        titles, found = [], []
        for number, (pt, eta, phi) in enumerate(points):
            given = {k: np.full(self.times, v) for k, v in (("pt", pt), ("eta", eta), ("phi", phi))}
            made = {n: answers(s, given, samples, f"{purpose} {number} {n}") for n, s in simulators.items()}
            titles.append(rf"$p_T$ = {pt / 1000:g} GeV, $\eta$ = {eta:g}, $\phi$ = {phi:g}")
            found.append({n: t.ratio[t.found] for n, t in made.items()})
        return titles, found


def answers(simulator: Simulator, given: Mapping[str, Array], samples: Samples, purpose: str) -> Tracks:
    """What a simulator makes of conditions."""
    events: Events = simulator.simulate(given, samples.generator("detector-response", purpose))
    return Tracks.of(replace(events, aux={}, schema=replace(events.schema, aux=())))


def reliability(chance: Array, seen: Array, bins: int = RELIABILITY_BINS) -> dict[str, Any]:
    """What part is seen in bins of the predicted probability with equally many events, and the Brier score with its floor."""
    edges = np.unique(np.quantile(chance, np.linspace(0, 1, bins + 1)))
    place = np.clip(np.searchsorted(edges, chance, side="right") - 1, 0, max(len(edges) - 2, 0))
    number = np.bincount(place)
    kept = number > 0
    predicted, found = (np.bincount(place, w)[kept] / number[kept] for w in (chance, seen.astype(float)))
    error = np.sqrt(np.maximum(predicted * (1 - predicted), 1 / number[kept]) / number[kept])
    return {
        "predicted": predicted.tolist(),
        "found": found.tolist(),
        "error": error.tolist(),
        "largest_difference": float(np.abs(found - predicted).max()),
        "chi2": float(np.square((found - predicted) / error).sum()),
        "ndf": int(kept.sum()),
        "brier": {"value": float(np.mean(np.square(chance - seen))), "floor": float(np.mean(chance * (1 - chance)))},
    }


def _told(value: float, error: float, percent: bool = False, sign: bool = False) -> str:
    scale, unit = (100.0, " %") if percent else (1.0, "")
    if not np.isfinite(value):
        return "-"
    return f"{scale * value:{'+' if sign else ''}.{2 if percent else 4}f} ± {scale * error:.{2 if percent else 4}f}{unit}"


def _or_zero(value: Any) -> float:
    return float(value) if np.isfinite(value) else 0.0


__all__ = ["DetectorResponse", "Picture", "reliability"]
