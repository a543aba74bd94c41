"""Compare any two sets of events, whoever made them: every number with its error and its noise floor.

`compare` is the whole of a validation: observables with their distances, curves against the energy, moments of the cells,
nearest neighbours, the classifier two-sample test, and a verdict. How sizes and conditions are made equal is told in
`selection.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from understudy.events import Events
from understudy.geometry import Calorimeter
from understudy.schema import Array
from understudy.simulator import Simulator
from understudy.threads import threads
from understudy.validation.analyses.base import Samples
from understudy.validation.findings import analyse, entered
from understudy.validation.metrics import Metrics
from understudy.validation.regions import compare_regions
from understudy.validation.report import Report
from understudy.validation.selection import select, with_weights
from understudy.validation.settings import ValidationSettings
from understudy.validation.study import Progress, Study, generator_for, info
from understudy.validation.variety import Variety
from understudy.validation.whole import Whole


def compare(
    reference: Events,
    candidates: Events | Mapping[str, Events],
    *,
    floor: Events | None = None,
    train: Events | None = None,
    at_training: Mapping[str, Events] | None = None,
    held_out: Array | None = None,
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
    simulator: Simulator | None = None,
    standins: Mapping[str, Simulator] = MappingProxyType({}),
    progress: Progress | None = None,
) -> Report:
    """Compare candidates with a reference, on one thread: the work is in small pieces, which more threads only delay.

    Candidates without weights that are at the conditions of a weighted reference take its weights (`selection.with_weights`).

    Args:
        reference: reference events that no candidate was trained on.
        candidates: events to judge by name, the main one first; or one sample, then called `candidate`.
        floor: a second, disjoint sample of the reference, at the same conditions where the reference is a simulator. If
            None, the reference is halved.
        train: what the candidates were trained on, to look for memorised events.
        at_training: candidates at the conditions of `train`, event by event, for the judges that are trained on these; used
            where the settings ask for them (`classifier.trained_on`), which is left out if None.
        held_out: which reference events lie inside a region that was never trained on, `(n,)`; judged by itself.
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
        simulator: the reference, for analyses that ask it for more; None where it cannot be asked.
        standins: the candidates as simulators by name, likewise.
        progress: called with how much of how much is done.

    Raises:
        ValueError: nothing to compare, too few events, or samples with different blocks.
    """
    settings = settings or ValidationSettings()
    named = {"candidate": candidates} if isinstance(candidates, Events) else dict(candidates)
    named = {name: with_weights(reference, events) for name, events in named.items()}
    floor = None if floor is None else with_weights(reference, floor)
    chosen = select(reference, named, floor, settings.max_events, generator_for(seed, "selection"))
    asked = settings.classifier.trained_on == "training" and train is not None and at_training is not None
    whole = Whole(reference, named, floor, chosen, geometry, settings, seed)
    with threads(1):
        tests = (1 + len(named)) * (2 if asked else 1) + (0 if held_out is None else 2)
        study = Study(chosen, geometry, train, settings, seed, progress, variety, tests)
        strong = whole.strong(train, at_training, study.step) if asked else None  # type: ignore[arg-type]
        tails, aucs = whole.tails(), {} if strong is None else strong.metrics()
        samples = {name: study.sample(name, events, chosen.paired[name]) for name, events in chosen.candidates.items()}
        comparisons = {name: study.comparison(sample, aucs.get(name), tails[name]) for name, sample in samples.items()}
        regions = {}
        if held_out is not None:
            regions = compare_regions(held_out, reference, named, floor, geometry, settings, seed, strong, study.step)
        looked_at = Samples(
            chosen.reference,
            chosen.floor,
            chosen.candidates,
            chosen.paired,
            train,
            geometry,
            simulator,
            standins,
            reference_name,
            settings.replicas,
            history,
            seed,
        )
        found = analyse(settings.analyses, looked_at)
    comparisons = {name: entered(c, name, found) for name, c in comparisons.items()}
    comparisons = {name: c.at_cost(**(costs or {}).get(name, {})) for name, c in comparisons.items()}
    main = next(iter(comparisons.values()))
    metrics = Metrics(
        **{**dict(main), "timing": timing, "training": training or None},
        reference=info(reference_name, chosen.reference),
        floor_sample=info(f"{reference_name}, second sample", chosen.floor),
        settings=settings.model_dump(mode="json"),
        seed=seed,
        symmetries=dict(symmetries or {}),
        hold_out=regions,
        candidates=comparisons,
    )
    first = replace(study.reference, name=reference_name)
    return Report(metrics.plain(), first, study.floor, samples, study.observables, geometry, train, history, variety, found)
