"""The journey, top to bottom: simulate or read, prepare, train, sample, validate, deploy.

A run lives in one directory: `recipe.yaml` (resolved), `manifest.json`, `history.json`, `checkpoints/`, `samples.h5`,
`report/` and `bundle/`. Every step is a function of the step before, so each can be done alone; a run that was
interrupted continues where it stopped and ends the same.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from understudy import seeds, storage
from understudy.build import build_stage, build_surrogate, training_batch, validation_settings
from understudy.calibrate import calibrate
from understudy.closure import closure, with_predictions
from understudy.console import Console
from understudy.deployment.bundle import load_needs, write_bundle, write_trained
from understudy.deployment.export import Graph, export_graphs
from understudy.deployment.timing import measure_timing
from understudy.domain import Domain
from understudy.events import Events
from understudy.needs import fulfil, pin
from understudy.prepare import FROM_CONDITIONS
from understudy.recipe import Recipe, StageRecipe
from understudy.repeated import askable, check_variety, varieties
from understudy.rivals import rivals
from understudy.rundir import RunDirectory
from understudy.scoring import stage_score
from understudy.splits import Data, prepare
from understudy.surrogate import DETECTED, RESPONSE, Stage, Surrogate
from understudy.symmetry import Augment, augmented
from understudy.training.loop import TrainingResult
from understudy.training.loop import train as train_model
from understudy.training_answers import at_training
from understudy.validation.compare import compare
from understudy.validation.report import Report
from understudy.validation.symmetries import symmetry_pulls


@dataclass(frozen=True)
class Trained:
    """A trained surrogate with its baseline and the cost of its training."""

    surrogate: Surrogate
    baseline: Surrogate | None
    training: dict[str, Any] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Run:
    """What a finished run leaves."""

    directory: Path
    recipe: Recipe
    surrogate: Surrogate
    report: Report
    bundle: Path


def run(
    recipe: Recipe | str | Path,
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    seed: int | None = None,
    reference: str | None = None,
    events: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
    card: str | Path | None = None,
    particle: str | None = None,
) -> Run:
    """Do the whole journey of a recipe.

    Args:
        recipe: a Recipe, the name of a shipped one, or the path of a YAML file.
        data: a file of reference events in place of the recipe's own reference.
        out: the run's directory; `runs/NAME` if absent.
        seed: in place of the recipe's.
        reference: one of the recipe's alternative references, by name.
        events: how many events to simulate, or to use of a file, in place of the recipe's.
        resume: continue an interrupted run in `out`.
        overwrite: replace an earlier run in `out`.
        console: shows progress; silent if absent.
        card: a Delphes card in place of the recipe's reference.
        particle: which particle of it.

    Raises:
        ValueError: the recipe or the data are wrong, or a resumed run's recipe has changed.
        FileExistsError: `out` holds a run already and neither `resume` nor `overwrite` is given.
    """
    recipe = resolve(recipe, data=data, seed=seed, reference=reference, events=events, card=card, particle=particle)
    console = console or Console(quiet=True)
    out = Path(out or Path("runs") / recipe.name)
    recipe = with_needs(recipe, out, resume=resume, overwrite=overwrite, console=console)
    place = RunDirectory.open(out, recipe, resume=resume, overwrite=overwrite)
    split = prepare(recipe, place, console)
    check_variety(recipe, split)
    trained = train(recipe, split, place, resume=resume, console=console)
    with console.step("Exporting to ONNX"):
        graphs = export_graphs(trained.surrogate, place.path / "checkpoints")
    report = validate(recipe, trained, split, place, graphs, console)
    data_used = {"name": split.name, "sha256": split.digest}
    with console.step("Writing the bundle"):
        bundle = write_bundle(place.path / "bundle", trained.surrogate, recipe, graphs, report.metrics, data_used, split.train)
    place.finish(data=data_used, training=trained.training)
    return Run(place.path, recipe, trained.surrogate, report, bundle)


def resolve(
    recipe: Recipe | str | Path,
    *,
    data: str | Path | None = None,
    seed: int | None = None,
    reference: str | None = None,
    events: int | None = None,
    card: str | Path | None = None,
    particle: str | None = None,
) -> Recipe:
    """A recipe by name, path or itself, with the command line's choices in it."""
    loaded = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    return pin(loaded.using(data=data, seed=seed, reference=reference, events=events, card=card, particle=particle))


def with_needs(recipe: Recipe, out: Path, *, resume: bool, overwrite: bool, console: Console) -> Recipe:
    """Do the runs that a recipe needs first, once it is seen that `out` can take the run itself."""
    if not any(need.run is None for need in recipe.needs.values()):
        return recipe
    if not resume:
        RunDirectory.open(out, recipe, overwrite=overwrite)

    def do(theirs: Recipe, place: Path, again: bool, replace: bool) -> None:
        run(theirs, out=place, resume=again, overwrite=replace, console=console)

    return fulfil(recipe, out, do, overwrite)


def train(recipe: Recipe, data: Data, place: RunDirectory, *, resume: bool, console: Console) -> Trained:
    """Train every stage in order, then the baseline."""
    schema, geometry = data.train.schema, data.geometry
    if data.train.mask is not None and all(stage.produces != DETECTED for stage in recipe.stages):
        raise ValueError(
            f"not all events of {data.name} are detected, and recipe {recipe.name} has no stage that produces 'detected'; add one"
        )
    domain = Domain.of(data.train)
    rng = torch.Generator().manual_seed(seeds.integer(recipe.seed, "initial weights"))
    needs = load_needs(recipe)
    surrogate = build_surrogate(recipe, schema, geometry, domain, rng, needs)
    history: dict[str, Any] = {}
    seconds, device = 0.0, "cpu"
    for stage, words in zip(surrogate.stages, recipe.stages, strict=True):
        result = train_stage(stage, words, recipe, data, place, resume=resume, console=console)  # type: ignore[arg-type]
        history[words.produces] = result.history
        seconds, device = seconds + result.seconds, result.device
    place.write_history(history)
    baseline = None
    if recipe.baseline is not None:
        stage = build_stage(recipe.baseline, recipe, schema, geometry, rng, needs)
        train_stage(stage, recipe.baseline, recipe, data, place, resume=resume, console=console, name="baseline")
        detection = [] if surrogate.detection is None else [surrogate.detection]
        baseline = Surrogate(schema, [*detection, stage], geometry, domain)
    parameters = sum(p.numel() for p in surrogate.parameters())
    facts = {"minutes": seconds / 60, "device": device, "parameters": parameters}
    write_trained(place.path / "checkpoints", surrogate, facts, data.train)
    return Trained(surrogate, baseline, facts, history[RESPONSE])


def train_stage(
    stage: Stage,
    words: StageRecipe,
    recipe: Recipe,
    data: Data,
    place: RunDirectory,
    *,
    resume: bool,
    console: Console,
    name: str | None = None,
) -> TrainingResult:
    """Fit one stage's encoder and transforms, train its model, and fit its calibrations; the seconds of all three count."""
    name = name or words.produces
    data = data.unweighted() if words.weights == "none" else data
    with console.training(f"{recipe.name}: {name}") as watch:
        images = seeds.generator(recipe.seed, "augment", name)
        began = time.perf_counter()
        events = augmented(data.train, words.augment, data.geometry, images)
        batch = training_batch(stage, events, watch.fitting, words.weights, seeds.integer(recipe.seed, "weights", name))
        fitting = time.perf_counter() - began
        result = train_model(
            stage.model,
            batch,
            words.training,
            seed=seeds.integer(recipe.seed, "training", name),
            directory=place.path / "checkpoints" / name,
            score=stage_score(stage, data, seeds.integer(recipe.seed, "score", name)) if stage.model.turns() else None,
            resume=resume,
            fingerprint=recipe.fingerprint,
            watch=watch,
        )
    seconds = calibrate(
        stage,
        data,
        lambda number: console.training(f"{recipe.name}: {name}, calibration {words.calibration[number].kind}"),
        seed=seeds.integer(recipe.seed, "calibration", name),
        directory=place.path / "checkpoints" / name,
        resume=resume,
        fingerprint=recipe.fingerprint,
    )
    return replace(result, seconds=fitting + result.seconds + seconds)


def kept_symmetries(recipe: Recipe, surrogate: Surrogate, data: Data, most: int = 2000) -> dict[str, Any]:
    """How the stand-in keeps the symmetries that its geometry declares, at the test conditions."""
    if data.geometry is None or not data.geometry.symmetries:
        return {}
    try:
        Augment().check(data.geometry, data.test.without_response().schema)
    except ValueError:  # a response that is no shower, or conditions of which it is not known how they change
        return {}
    rng = seeds.generator(recipe.seed, "symmetries")
    return symmetry_pulls(surrogate, data.test[:most], data.geometry, rng)


def validate(recipe: Recipe, trained: Trained, data: Data, place: RunDirectory, graphs: list[Graph], console: Console) -> Report:
    """Sample the test conditions and compare with the reference; writes `samples.h5` and `report/`."""
    given = data.test.without_response().conditions
    with console.step(f"Sampling {len(data.test):,} events at the test conditions"):
        samples = trained.surrogate.simulate(given, seeds.generator(recipe.seed, "samples"))
        candidates = {recipe.name: samples}
        drawn = [name for name in recipe.derived if name not in FROM_CONDITIONS]
        if drawn and len(recipe.stages) > 1:
            known = trained.surrogate.simulate(data.test.conditions, seeds.generator(recipe.seed, "samples"))
            candidates[f"{recipe.name} given {', '.join(drawn)}"] = known
        if trained.baseline is not None:
            candidates[recipe.baseline_name] = trained.baseline.simulate(given, seeds.generator(recipe.seed, "baseline"))
        others = rivals(recipe, data, candidates)
        rng = {name: seeds.generator(recipe.seed, "samples") for name in others}  # the same noise for a student and its teacher
        candidates |= {name: other.surrogate.simulate(given, rng[name]) for name, other in others.items()}
        storage.write(place.path / "samples.h5", samples, geometry=data.geometry)
    standins = {name: other.surrogate for name, other in others.items()}
    made = at_training(recipe, trained.surrogate, trained.baseline, standins, data, console)
    test, floor, candidates = judged(recipe, data, candidates)
    with console.step("Sampling the same conditions again and again"):
        standins = {recipe.name: trained.surrogate}
        if trained.baseline is not None:
            standins[recipe.baseline_name] = trained.baseline
        standins |= {name: other.surrogate for name, other in others.items()}
        repeated = varieties(recipe, standins, data)
    symmetries = kept_symmetries(recipe, trained.surrogate, data)
    with console.step("Timing on one thread"):
        timing = measure_timing(trained.surrogate, graphs[0].path, given)
        costs = {name: other.cost(given) for name, other in others.items()}
    with console.step("Comparing with the reference") as step:
        report = compare(
            test,
            candidates,
            floor=floor,
            train=data.train,
            at_training=made,
            held_out=None if recipe.invert else data.held_out,
            geometry=data.response_geometry,
            settings=validation_settings(recipe),
            seed=seeds.integer(recipe.seed, "validation"),
            reference_name=data.tested_with or data.name,
            timing=timing,
            training=trained.training,
            costs=costs,
            history=trained.history,
            symmetries=symmetries,
            simulator=askable(recipe, data),
            standins=standins,
            variety=repeated,
            progress=step.advance,
        )
        if recipe.invert:
            report = replace(report, metrics={**report.metrics, "closure": closure(data.test, samples)})
        report.write(place.path / "report")
    return report


def judged(recipe: Recipe, data: Data, candidates: Mapping[str, Events]) -> tuple[Events, Events | None, dict[str, Events]]:
    """Reference, floor and candidates as they are compared.

    Needed regressors add what they read from the response. Where the response tells the conditions, these are an image
    that no judge of five numbers has to look at.
    """
    if recipe.invert:
        kept = [b.name for b in data.test.schema.given if b.kind != "image"]
        return data.test.select_conditions(kept), None, {k: e.select_conditions(kept) for k, e in candidates.items()}
    needs = load_needs(recipe)
    floor = None if data.floor is None else with_predictions(data.floor, needs)
    return with_predictions(data.test, needs), floor, {k: with_predictions(e, needs) for k, e in candidates.items()}
