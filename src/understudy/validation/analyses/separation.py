"""Does the stand-in separate the particles as the detector does? The questions of the LHCb RICH's fast simulation.

Distributions of DLLk of kaons and pions in a grid of momentum and pseudorapidity, over the whole range and in the populated
region; the separation of kaons, muons and protons from pions there, and its difference from the reference's, absolute and over
its bootstrap error; efficiency and misidentification against momentum; the separation against the number of tracks in the event;
the correlations of the DLLs (D. Derkach et al., arXiv:1903.11788). Every number has its floor, the same between two samples of
the reference. Numbers are in `tracks.py`, figures in `figures_separation.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveInt

from understudy.registry import register
from understudy.schema import Array
from understudy.validation import figures_separation as drawn
from understudy.validation import tracks as numbers
from understudy.validation.analyses.base import Analysis, Finding, Samples, agreement
from understudy.validation.curve import Curve
from understudy.validation.figures import Picture, svg
from understudy.validation.figures_curves import curve_figure
from understudy.validation.tracks import MOMENTUM, N_TRACKS, PAIRS, SPECIES, Pair, Tracks

CUTS = {"DLLk": (0.0, 5.0), "DLLmu": (0.0,), "DLLp": (0.0,)}
Maps = dict[str, dict[str, tuple[Array, Array]]]
"""AUCs and their replicas by grid and pair."""


@register("analyses", "separation")
class Separation(Analysis):
    """Separation of particles by their DLLs.

    Args:
        events: tracks of each species that reference and candidates are asked for anew, at conditions drawn from the test
            events; the test events themselves are looked at where the reference cannot be asked, or if None.
        momentum: edges of the grid [MeV]; if absent, three equal bins of the logarithm.
        pseudorapidity: edges of the grid; if absent, three equal bins.
        momentum_bins: bins of the efficiency curves.
        tracks_bins: bins of the number of tracks.
        cuts: DLLs above which efficiencies are taken, by column.
        difference: largest difference of an AUC beyond the floor's with which a candidate passes, if any is asked for.
    """

    def __init__(
        self,
        events: PositiveInt | None = 100_000,
        momentum: Annotated[tuple[float, ...], Field(min_length=2)] | None = None,
        pseudorapidity: Annotated[tuple[float, ...], Field(min_length=2)] | None = None,
        momentum_bins: Annotated[int, Field(ge=1, le=100)] = 12,
        tracks_bins: Annotated[int, Field(ge=1, le=50)] = 6,
        cuts: dict[str, tuple[float, ...]] = CUTS,
        difference: NonNegativeFloat | None = None,
    ) -> None:
        for name, edges in (("momentum", momentum), ("pseudorapidity", pseudorapidity)):
            if edges is not None and any(b <= a for a, b in itertools.pairwise(edges)):
                raise ValueError(f"the edges of {name!r} must increase, but they are {', '.join(f'{e:g}' for e in edges)}")
        self.events, self.momentum, self.pseudorapidity = events, momentum, pseudorapidity
        self.momentum_bins, self.tracks_bins, self.cuts, self.difference = momentum_bins, tracks_bins, dict(cuts), difference

    def __call__(self, samples: Samples) -> Sequence[Finding]:
        """The findings, the separation first."""
        reference, floor, candidates = self._tracks(samples)
        self._check(reference)
        pairs = [p for p in PAIRS if p.column in reference.dll and all(reference.species(s).any() for s in (p.first, p.second))]
        if not pairs:
            raise ValueError("the analysis 'separation' needs pions and another species with its DLL; these tracks have neither")
        grids = self._grids(reference)
        return [
            self._separation(samples, reference, floor, candidates, pairs, grids),
            *self._distributions(samples, reference, candidates, pairs[0], grids),
            self._efficiencies(samples, reference, floor, candidates, pairs),
            self._occupancy(samples, reference, floor, candidates, pairs),
            self._correlations(reference, floor, candidates, pairs),
        ]

    def _tracks(self, samples: Samples) -> tuple[Tracks, Tracks, dict[str, Tracks]]:
        names = list(samples.candidates)
        if self.events is None or samples.simulator is None or any(n not in samples.standins for n in names):
            made = {name: Tracks.of(events) for name, events in samples.candidates.items()}
            return Tracks.of(samples.reference), Tracks.of(samples.floor), made
        Tracks.of(samples.reference)  # has all that is asked for
        given = self._conditions(samples)
        sizes = samples.generator("separation", "reference"), samples.generator("separation", "floor")
        first, second = (Tracks.of(samples.simulator.simulate(given, rng)) for rng in sizes)
        others = {n: samples.standins[n].simulate(given, samples.generator("separation", n)) for n in names}
        return first, second, {name: Tracks.of(events) for name, events in others.items()}

    def _conditions(self, samples: Samples) -> dict[str, Any]:
        """Conditions of test events, drawn again and again, once for each species that the reference has."""
        known, rng = samples.reference, samples.generator("separation", "conditions")
        chance = None
        if known.weights is not None:
            chance = np.clip(known.weights, 0.0, None) / np.clip(known.weights, 0.0, None).sum()
        kinds = np.unique(known.conditions[SPECIES])
        rows = np.concatenate([rng.choice(len(known), self.events, p=chance) for _ in kinds])
        given = {b.name: np.asarray(known.conditions[b.name])[rows] for b in known.schema.given}
        return {**given, SPECIES: np.repeat(kinds, self.events or 0)}

    def _check(self, reference: Tracks) -> None:
        if odd := [c for c in self.cuts if c not in reference.dll]:
            raise ValueError(f"'cuts' names {odd[0]!r}; the response has {', '.join(reference.dll)}")

    def _grids(self, reference: Tracks) -> dict[str, tuple[Array, Array]]:
        momentum, eta = numbers.full_grid(reference)
        if self.momentum is not None:
            momentum = np.asarray(self.momentum)
        if self.pseudorapidity is not None:
            eta = np.asarray(self.pseudorapidity)
        return {"grid": (momentum, eta), "populated": numbers.populated_grid(reference)}

    def _separation(
        self,
        samples: Samples,
        reference: Tracks,
        floor: Tracks,
        candidates: Mapping[str, Tracks],
        pairs: Sequence[Pair],
        grids: Mapping[str, tuple[Array, Array]],
    ) -> Finding:
        def maps(name: str, tracks: Tracks) -> Maps:
            own = "paired" if tracks.same_conditions(reference) else name

            def one(grid: str, pair: Pair) -> tuple[Array, Array]:
                rng = samples.generator("separation", "bootstrap", own, grid, pair.name)
                return numbers.auc_map(tracks, pair, grids[grid], samples.replicas, rng)

            return {g: {p.name: one(g, p) for p in pairs} for g in grids}

        first, second = maps("reference", reference), maps("floor", floor)
        found: dict[str, dict[str, Any]] = {}
        rows, reasons = [], {}
        floors = _summaries(first, second, grids, pairs)
        for name, tracks in candidates.items():
            other = maps(name, tracks)
            values = _summaries(first, other, grids, pairs)
            both = {g: {k: {"value": values[g][k], "floor": floors[g][k]} for k in values[g]} for g in grids}
            cells = {g: {p.name: numbers.compared(first[g][p.name], other[g][p.name]) for p in pairs} for g in grids}
            edges = {g: {"momentum": list(e[0]), "pseudorapidity": list(e[1])} for g, e in grids.items()}
            found[name] = {"separation": both, "separation_maps": cells, "separation_edges": edges}
            rows.append({"sample": name, **_row(values["grid"]), "populated: largest": f"{values['populated']['largest']:.4f}"})
            if self.difference is not None and values["grid"]["largest"] > self.difference + floors["grid"]["largest"]:
                reasons[name] = [
                    f"the AUC of a DLL differs from the reference's by {values['grid']['largest']:.4f} in a bin, where"
                    f" {self.difference:g} more than the floor's {floors['grid']['largest']:.4f} is allowed"
                ]
        rows.append({"sample": "floor", **_row(floors["grid"]), "populated: largest": f"{floors['populated']['largest']:.4f}"})
        main = next(iter(candidates))
        pictures = [
            svg(drawn.maps(found[main]["separation_maps"][g], grids[g], pairs), f"{main}: AUC minus the reference's, {words}")
            for g, words in (("grid", "whole range"), ("populated", "populated region"))
        ]
        text = (
            "The area under the ROC curve with which a DLL tells two species apart, in bins of momentum and pseudorapidity, less"
            " the reference's: absolute, and over its bootstrap error. Bins with fewer than ten tracks of a species are empty."
        )
        return Finding("Separation of particles", text, found, rows=rows, pictures=pictures, reasons=reasons)

    def _distributions(
        self,
        samples: Samples,
        reference: Tracks,
        candidates: Mapping[str, Tracks],
        pair: Pair,
        grids: Mapping[str, tuple[Array, Array]],
    ) -> list[Finding]:
        main, made = next(iter(candidates.items()))
        pictures: list[Picture] = []
        for grid, words in (("grid", "whole range"), ("populated", "populated region")):
            figure = drawn.distributions(reference, made, pair, grids[grid], (samples.reference_name, main))
            pictures.append(svg(figure, f"{pair.column} of {pair.first}s and {pair.second}s, {words}"))
        text = f"{pair.column} of {pair.first}s and {pair.second}s, reference (filled) and {main} (lines)."
        return [Finding(f"Distributions of {pair.column}", text, pictures=pictures)]

    def _efficiencies(
        self, samples: Samples, reference: Tracks, floor: Tracks, candidates: Mapping[str, Tracks], pairs: Sequence[Pair]
    ) -> Finding:
        edges = numbers._upward(np.quantile(reference.conditions[MOMENTUM], np.linspace(0, 1, self.momentum_bins + 1)))
        asked = [(s, p.column, cut) for p in pairs for cut in self.cuts.get(p.column, ()) for s in (p.first, p.second)]

        def curves(tracks: Tracks) -> list[Curve]:
            return [numbers.efficiency(tracks, *a, edges) for a in asked]

        text = (
            "Fractions of tracks above a cut against momentum: efficiency of the species that the DLL is for, and misidentified"
            " pions."
        )
        return _curves(
            samples, "Efficiency and misidentification", text, curves(reference), curves(floor), _each(candidates, curves)
        )

    def _occupancy(
        self, samples: Samples, reference: Tracks, floor: Tracks, candidates: Mapping[str, Tracks], pairs: Sequence[Pair]
    ) -> Finding:
        edges = numbers._upward(np.quantile(reference.conditions[N_TRACKS], np.linspace(0, 1, self.tracks_bins + 1)))
        edges = np.unique(edges)

        def curves(tracks: Tracks) -> list[Curve]:
            rng = samples.generator("separation", "occupancy")
            return [numbers.auc_curve(tracks, p, N_TRACKS, edges, samples.replicas, rng) for p in pairs]

        text = "The separation against the number of tracks in the event, whose light is the background of the rings."
        return _curves(samples, "Dependence on occupancy", text, curves(reference), curves(floor), _each(candidates, curves))

    def _correlations(self, reference: Tracks, floor: Tracks, candidates: Mapping[str, Tracks], pairs: Sequence[Pair]) -> Finding:
        kinds = list(dict.fromkeys(s for p in pairs for s in (p.second, p.first)))
        first, second = ({s: numbers.correlations(t, s) for s in kinds} for t in (reference, floor))
        found, rows = {}, []
        for name, tracks in candidates.items():
            other = {s: numbers.correlations(tracks, s) for s in kinds}
            apart = {s: {"value": _largest(other[s], first[s]), "floor": _largest(second[s], first[s])} for s in kinds}
            found[name] = {"correlations": apart}
            rows.append({"sample": name, **{s: f"{v['value']:.4f} (floor {v['floor']:.4f})" for s, v in apart.items()}})
        main, made = next(iter(candidates.items()))
        shown = {s: (first[s], numbers.correlations(made, s)) for s in kinds[:2]}
        picture = svg(drawn.correlations(shown, list(reference.dll), main), f"correlations of the DLLs, reference and {main}")
        text = "Correlation coefficients of the DLLs, and the largest difference from the reference's by species."
        return Finding("Correlations of the DLLs", text, found, rows=rows, pictures=[picture])


def _each(candidates: Mapping[str, Tracks], curves: Any) -> dict[str, list[Curve]]:
    return {name: curves(tracks) for name, tracks in candidates.items()}


def _curves(
    samples: Samples, title: str, text: str, first: list[Curve], second: list[Curve], others: Mapping[str, list[Curve]]
) -> Finding:
    found = {
        name: {a.name: agreement(a, b, c) for a, b, c in zip(first, second, curves, strict=True)}
        for name, curves in others.items()
    }
    pictures = [
        svg(
            curve_figure((samples.reference_name, curve), {n: c[k] for n, c in others.items()}),
            f"{curve.label} against {curve.x_label}",
        )
        for k, curve in enumerate(first)
    ]
    return Finding(title, text, curves=found, pictures=pictures)


def _summaries(first: Maps, other: Maps, grids: Mapping[str, Any], pairs: Sequence[Pair]) -> dict[str, dict[str, float]]:
    return {g: numbers.summary([numbers.compared(first[g][p.name], other[g][p.name]) for p in pairs]) for g in grids}


def _row(values: Mapping[str, float]) -> dict[str, str]:
    return {
        "largest |ΔAUC|": f"{values['largest']:.4f}",
        "mean |ΔAUC|": f"{values['mean']:.4f}",
        "χ²/bins": f"{values['chi2_per_bin']:.2f} ({values['bins']:g} bins)",
    }


def _largest(a: Array, b: Array) -> float:
    difference = np.abs(a - b)
    return float(np.nanmax(difference)) if np.isfinite(difference).any() else float("nan")
