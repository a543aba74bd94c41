"""Compare any two sets of events, whoever made them: every number with its error and its noise floor.

`compare` is the whole of a validation: observables with their distances, curves against the energy, moments of the cells,
nearest neighbours, the classifier two-sample test, and a verdict. How sizes and conditions are made equal is told in
`selection.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from understudy.events import Events
from understudy.geometry import Calorimeter
from understudy.schema import Array
from understudy.threads import threads
from understudy.validation import neighbours as near
from understudy.validation.bootstrap import multiplicities
from understudy.validation.classifier import JUDGES, TwoSampleTest, two_sample_test
from understudy.validation.curves import compare_curves, scale_energy
from understudy.validation.curves_all import Bins, every_curve
from understudy.validation.judges import Inputs
from understudy.validation.measure import above_twice_floor, distances
from understudy.validation.metrics import ClassifierMetrics, Comparison, CurveMetrics, Judged, Metrics, SampleInfo, ScaleMetrics
from understudy.validation.observables import Observable, evaluate, observables_for, shower_cells
from understudy.validation.observables_closure import residuals
from understudy.validation.outcome import Sample
from understudy.validation.report import Report
from understudy.validation.resolution_fit import compare_fits, fit_sample
from understudy.validation.selection import Selection, digest, same_conditions, select
from understudy.validation.settings import ValidationSettings
from understudy.validation.structure import GROUPS, CellMoments, compare_structure, structure_errors
from understudy.validation.variety import Variety, at_one_condition
from understudy.validation.verdict import conclude, judge

MOST_JACKKNIFED = 1000
"""Cells above which the errors of correlations would take too much memory."""

Progress = Callable[[float, float], None]


def compare(
    reference: Events,
    candidates: Events | Mapping[str, Events],
    *,
    floor: Events | None = None,
    train: Events | None = None,
    geometry: Calorimeter | None = None,
    settings: ValidationSettings | None = None,
    seed: int = 0,
    reference_name: str = "reference",
    timing: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    costs: Mapping[str, Mapping[str, Any]] | None = None,
    history: Sequence[Mapping[str, Any]] = (),
    variety: Sequence[Variety] = (),
    symmetries: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Compare candidates with a reference, on one thread: the work is in small pieces, which more threads only delay.

    Args:
        reference: reference events that no candidate was trained on.
        candidates: events to judge by name, the main one first; or one sample, then called `candidate`.
        floor: a second, disjoint sample of the reference, at the same conditions where the reference is a simulator. If
            None, the reference is halved.
        train: what the candidates were trained on, to look for memorised events.
        geometry: where the response's cells sit; None for a response that is no calorimeter's.
        settings: sizes, errors and thresholds.
        seed: of everything random; the same seed gives the same numbers.
        reference_name: what the report calls the reference.
        timing: milliseconds per event of the main candidate, for `metrics.json`.
        training: what its training took, for `metrics.json`.
        costs: `timing` and `training` of further candidates by name, as far as they are known.
        history: rows of its `history.json`, for the report.
        variety: many samples of single conditions beside reference events there.
        symmetries: how the main candidate keeps the geometry's symmetries (`symmetries.py`), for `metrics.json`.
        progress: called with how much of how much is done.

    Raises:
        ValueError: nothing to compare, too few events, or samples with different blocks.
    """
    settings = settings or ValidationSettings()
    named = {"candidate": candidates} if isinstance(candidates, Events) else dict(candidates)
    chosen = select(reference, named, floor, settings.max_events, _generator(seed, "selection"))
    with threads(1):
        study = _Study(chosen, geometry, train, settings, seed, progress, variety)
        samples = {name: study.sample(name, events, chosen.paired[name]) for name, events in chosen.candidates.items()}
        comparisons = {name: study.comparison(sample) for name, sample in samples.items()}
    comparisons = {name: found.at_cost(**(costs or {}).get(name, {})) for name, found in comparisons.items()}
    main = next(iter(comparisons.values()))
    metrics = Metrics(
        **{**dict(main), "timing": timing, "training": training or None},
        reference=_info(reference_name, chosen.reference),
        floor_sample=_info(f"{reference_name}, second sample", chosen.floor),
        settings=settings.model_dump(mode="json"),
        seed=seed,
        symmetries=dict(symmetries or {}),
        candidates=comparisons,
    )
    first = replace(study.reference, name=reference_name)
    return Report(metrics.plain(), first, study.floor, samples, study.observables, geometry, train, history, variety)


@dataclass
class _Study:
    """The comparisons of one reference; what all candidates share is computed once."""

    chosen: Selection
    geometry: Calorimeter | None
    train: Events | None
    settings: ValidationSettings
    seed: int
    progress: Progress | None
    variety: Sequence[Variety] = ()
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
            events, self.geometry, self.bins, _generator(self.seed, "curves", name), values, self.residuals, paired
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
        return near.study(made, known, self.chosen.reference, self.geometry, _generator(self.seed, "neighbours", name))

    def comparison(self, sample: Sample) -> Comparison:
        """Everything about one candidate."""
        classifier = self._classifier(self._classified(sample))
        weights = self.reference.events.weights, self.floor.events.weights, sample.events.weights
        observables = {
            o.name: distances(
                o,
                (self.reference.values[o.name], self.floor.values[o.name], sample.values[o.name]),
                weights,
                (sample.paired, self.floor.paired),
                self.settings,
                _generator(self.seed, "distances", o.name),
            )
            for o in self.observables
        }
        scale, found = self._scale(sample), self._neighbours(sample)
        neighbours = {key: {**v, "floor": self.floor_near[key]["value"]} for key, v in found.items()}
        generator = _generator(self.seed, "variety", sample.name)
        studies = [at_one_condition(v, sample.name, self.geometry, self.settings, generator) for v in self.variety]
        variety = [s for s in studies if s is not None]
        checks = judge(classifier, observables, scale, neighbours, self.settings.thresholds, variety)
        verdict, reasons = conclude(checks)
        return Comparison(
            candidate=_info(sample.name, sample.events),
            classifier=classifier,
            observables=observables,
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

    def _classified(self, sample: Sample) -> TwoSampleTest:
        tests = 1 + len(self.chosen.candidates)

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
        else:
            size = min(len(sample.events), len(self.reference.events))
            own, known = (near.shapes(e[:size], self.geometry) for e in (sample.events, self.reference.events))
            summary = dict(zip(("duplicates", "reference_duplicates"), near.near_duplicates(own, known), strict=True))
        n = len(sample.events)
        errors = {k: float(np.sqrt(max(v * (1 - v), 0.01) / n)) for k, v in summary.items() if not k.endswith("_ratio")}
        return {k: {"value": v, "error": errors[k]} if k in errors else {"value": v} for k, v in summary.items()}

    def _scale(self, sample: Sample) -> ScaleMetrics | None:
        """Relative difference of the mean response from that of reference events, at the same conditions if there are such."""
        name = next((k for k in ("response", "total_energy") if k in self.reference.values), None)
        if name is None:
            return None
        generator = _generator(self.seed, "scale", sample.name)
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


def _info(name: str, events: Events) -> SampleInfo:
    return SampleInfo(name=name, events=len(events), sha256=digest(events))


def _generator(seed: int, *purpose: str) -> np.random.Generator:
    from understudy import seeds

    return seeds.generator(seed, "validation", *purpose)
