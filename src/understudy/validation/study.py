"""The comparisons of one reference with its candidates: numbers with errors and floors, and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from understudy import seeds
from understudy.events import Events
from understudy.geometry import Calorimeter
from understudy.schema import Array
from understudy.validation import neighbours as near
from understudy.validation.bootstrap import multiplicities
from understudy.validation.classifier import JUDGES, TwoSampleTest, two_sample_test
from understudy.validation.curves import compare_curves, scale_energy
from understudy.validation.curves_all import Bins, every_curve
from understudy.validation.judges import Inputs
from understudy.validation.measure import above_twice_floor, distances
from understudy.validation.metrics import (
    ClassifierMetrics,
    Comparison,
    CurveMetrics,
    Judged,
    SampleInfo,
    ScaleMetrics,
    StrongMetrics,
)
from understudy.validation.observables import Observable, evaluate, observables_for, shower_cells
from understudy.validation.observables_closure import residuals
from understudy.validation.outcome import Sample
from understudy.validation.resolution_fit import compare_fits, fit_sample
from understudy.validation.selection import Selection, digest, judged_digest, same_conditions
from understudy.validation.settings import ValidationSettings
from understudy.validation.structure import GROUPS, CellMoments, compare_structure, structure_errors
from understudy.validation.variety import Variety, at_one_condition
from understudy.validation.verdict import conclude, judge

MOST_JACKKNIFED = 1000
"""Cells above which the errors of correlations would take too much memory."""

Progress = Callable[[float, float], None]


@dataclass
class Study:
    """The comparisons of one reference; what all candidates share is computed once."""

    chosen: Selection
    geometry: Calorimeter | None
    train: Events | None
    settings: ValidationSettings
    seed: int
    progress: Progress | None
    variety: Sequence[Variety] = ()
    tests: int | None = None
    observables: tuple[Observable, ...] = field(init=False)
    residuals: tuple[Observable, ...] = field(init=False)
    bins: Bins | None = field(init=False)
    done: int = 0

    def __post_init__(self) -> None:
        samples = (self.chosen.reference, self.chosen.floor, *self.chosen.candidates.values())
        self.residuals = residuals([events.schema for events in samples])
        self.observables = (*observables_for(self.chosen.reference.schema, self.geometry), *self.residuals)
        self.bins = None if self.geometry is None else Bins.of(self.chosen.reference, self.geometry, self.settings.energy_bins)
        self.reference = self.sample("reference", self.chosen.reference, True)
        self.floor = self.sample("floor", self.chosen.floor, self.chosen.floor_paired)
        self.inputs = Inputs.of(self.chosen.reference, self.geometry)
        self.floor_test = self._classified(self.floor)
        self.floor_near = self._neighbours(self.floor)

    def sample(self, name: str, events: Events, paired: bool) -> Sample:
        """Observables, curves, moments and neighbours of one sample; the reference's energy bins serve all."""
        values = evaluate(events, self.geometry, self.observables)
        if self.geometry is None or self.bins is None:
            return Sample(name, events, values, {}, None, paired)
        lines = every_curve(
            events, self.geometry, self.bins, generator_for(self.seed, "curves", name), values, self.residuals, paired
        )
        cells, weights = self._detected(events)
        moments = CellMoments.of(cells, weights, cells.shape[1] <= self.settings.most_correlated)
        fits = fit_sample(lines, scale_energy(events, self.geometry), events, self.settings.noise_term)
        return Sample(name, events, values, lines, moments, paired, self._studied(name, events), fits)

    def _detected(self, events: Events) -> tuple[Array, Array | None]:
        """Cells and weights of the events that have any."""
        keep = slice(None) if events.mask is None else events.mask
        return shower_cells(events, self.geometry)[keep], None if events.weights is None else events.weights[keep]

    def _studied(self, name: str, events: Events) -> near.NeighbourStudy | None:
        if self.geometry is None or self.train is None or events is self.chosen.reference:
            return None
        known = self.train[: self.settings.max_events]
        made = events[: len(known)]
        return near.study(made, known, self.chosen.reference, self.geometry, generator_for(self.seed, "neighbours", name))

    def comparison(
        self, sample: Sample, strong: StrongMetrics | None = None, tails: Mapping[str, Any] | None = None
    ) -> Comparison:
        """Everything about one candidate; strong judges and tails were looked at elsewhere (`whole.py`)."""
        classifier = self._classifier(self._classified(sample))
        weights = self.reference.events.weights, self.floor.events.weights, sample.events.weights
        observables = {
            o.name: distances(
                o,
                (self.reference.values[o.name], self.floor.values[o.name], sample.values[o.name]),
                weights,
                (sample.paired, self.floor.paired),
                self.settings,
                generator_for(self.seed, "distances", o.name),
            )
            for o in self.observables
        }
        scale, found = self._scale(sample), self._neighbours(sample)
        neighbours = {key: {**v, "floor": self.floor_near[key]["value"]} for key, v in found.items()}
        generator = generator_for(self.seed, "variety", sample.name)
        studies = [at_one_condition(v, sample.name, self.geometry, self.settings, generator) for v in self.variety]
        variety = [s for s in studies if s is not None]
        checks = judge(classifier, observables, scale, neighbours, self.settings.thresholds, variety, strong)
        verdict, reasons = conclude(checks)
        return Comparison(
            candidate=info(sample.name, sample.events),
            classifier=classifier,
            classifier_strong=strong,
            observables=observables,
            tails=dict(tails or {}),
            curves=self._curves(sample),
            fits=compare_fits(self.reference.resolution, self.floor.resolution, sample.resolution),
            scale=scale,
            structure=self._structure(sample),
            neighbours=neighbours,
            variety=variety,
            above_twice_floor=above_twice_floor(observables, self.settings.thresholds.significance),
            checks=[c.plain() for c in checks],
            paired=sample.paired,
            floor_paired=self.floor.paired,
            verdict=verdict,
            reasons=reasons,
        )

    def step(self) -> None:
        """One more test is done, elsewhere."""
        self.done += 1
        if self.progress is not None and self.tests is not None:
            self.progress(self.done, self.tests)

    def _classified(self, sample: Sample) -> TwoSampleTest:
        tests = self.tests or 1 + len(self.chosen.candidates)

        def told(part: float, whole: float) -> None:
            if self.progress is not None:
                self.progress(self.done + part / whole, tests)

        found = two_sample_test(
            self.inputs,
            Inputs.of(sample.events, self.geometry),
            weights=(self.reference.events.weights, sample.events.weights),
            paired=sample.paired,
            settings=self.settings.classifier,
            seed=self.seed,
            progress=told,
        )
        self.done += 1
        return found

    def _classifier(self, test: TwoSampleTest) -> ClassifierMetrics:
        floor = self.floor_test.auc
        judged = {
            name: Judged(
                auc=test.auc[name].value, error=test.auc[name].error, floor=floor[name].value, floor_error=floor[name].error
            )
            for name in JUDGES
        }
        return ClassifierMetrics(**judged, training_events=test.training_events)

    def _curves(self, sample: Sample) -> dict[str, CurveMetrics]:
        found = {}
        for name, curve in self.reference.curves.items():
            floor = compare_curves(curve, self.floor.curves[name])
            found[name] = CurveMetrics(**compare_curves(curve, sample.curves[name]), floor_chi2=floor["chi2"])
        return found

    def _structure(self, sample: Sample) -> dict[str, dict[str, float | None]]:
        mine, floor, theirs = self.reference.moments, self.floor.moments, sample.moments
        if mine is None or floor is None or theirs is None or mine.scatter.ndim != 2:
            return {}
        values, floors = compare_structure(mine, theirs), compare_structure(mine, floor)
        known = self._detected(self.reference.events), self._detected(sample.events)
        paired = sample.paired and len(known[0][0]) == len(known[1][0]) == len(sample.events)
        enough = min(len(cells) for cells, _ in known) >= GROUPS and len(mine.mean) <= MOST_JACKKNIFED
        errors = structure_errors(*known, paired) if enough else dict.fromkeys(values, float("nan"))
        return {name: {"value": values[name], "error": errors[name], "floor": floors[name]} for name in values}

    def _neighbours(self, sample: Sample) -> dict[str, dict[str, float | None]]:
        """Fractions and ratios of the neighbour study, with binomial errors of the fractions."""
        if self.geometry is None:
            return {}
        if sample.neighbours is not None:
            summary = dict(sample.neighbours.summary)
            size, fresh = (len(d) for d in (sample.neighbours.generated_to_training, sample.neighbours.heldout_to_training))
        else:
            size = fresh = min(len(sample.events), len(self.reference.events), near.most(self.geometry))
            own, known = (near.shapes(e[:size], self.geometry) for e in (sample.events, self.reference.events))
            summary = dict(zip(("duplicates", "reference_duplicates"), near.near_duplicates(own, known), strict=True))
        errors = near.errors_of(summary, size, fresh)
        return {k: {"value": v, "error": errors[k]} if k in errors else {"value": v} for k, v in summary.items()}

    def _scale(self, sample: Sample) -> ScaleMetrics | None:
        """Relative difference of the mean response from that of reference events, at the same conditions if there are such."""
        name = next((k for k in ("response", "total_energy") if k in self.reference.values), None)
        if name is None:
            return None
        generator = generator_for(self.seed, "scale", sample.name)
        replicas = self.settings.replicas
        at_floor = not sample.paired and same_conditions(self.floor.events, sample.events)
        partner = self.floor if at_floor else self.reference
        mx = multiplicities(len(partner.events), replicas, generator)
        my = mx if sample.paired or at_floor else multiplicities(len(sample.events), replicas, generator)
        mine, theirs = _means(partner, name, mx), _means(sample, name, my)
        floor = _means(self.floor, name, None)[0] / _means(self.reference, name, None)[0] - 1
        ratios = theirs[1:] / mine[1:] - 1
        return ScaleMetrics(observable=name, value=theirs[0] / mine[0] - 1, error=float(np.nanstd(ratios, ddof=1)), floor=floor)


def _means(sample: Sample, name: str, replicas: Array | None) -> Array:
    """Weighted mean of an observable's defined values, and then those of bootstrap replicas."""
    values = sample.values[name]
    defined = ~np.isnan(values)
    weights = np.ones(len(values)) if sample.events.weights is None else sample.events.weights
    rows = weights[None, :] if replicas is None else np.concatenate([weights[None, :], replicas * weights])
    total = rows[:, defined].sum(1)
    return np.asarray(rows[:, defined] @ values[defined] / np.where(total > 0, total, np.nan))


def info(name: str, events: Events) -> SampleInfo:
    """What `metrics.json` says of a sample."""
    return SampleInfo(name=name, events=len(events), sha256=digest(events), judged_sha256=judged_digest(events))


def generator_for(seed: int, *purpose: str) -> np.random.Generator:
    """The generator of one purpose of a validation."""
    return seeds.generator(seed, "validation", *purpose)
