"""A search from RECIPE and SPACE.yaml to its report: plan, events, study, trials side by side, page, the best recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
from optuna.trial import TrialState

from understudy import seeds
from understudy.console import Console
from understudy.files import make_directory
from understudy.rundir import RECIPE, RunDirectory
from understudy.scan.plan import base_recipe
from understudy.scan.processes import run_all
from understudy.scan.study import REFERENCE
from understudy.scan.worker import alone_in
from understudy.search.page import write_page
from understudy.search.plan import Plan, make_plan
from understudy.search.results import Found, Origin, write_results
from understudy.search.sampling import pruner, sampler
from understudy.search.shared import open_study, quiet, sqlite, without_password
from understudy.search.space import PrunerName, SamplerName, Space
from understudy.search.trials import Trials
from understudy.splits import Data, prepare
from understudy.validation.score import PhysicsScore
from understudy.versions import available_cores


@dataclass(frozen=True)
class Search:
    """What a search leaves.

    Args:
        directory: holds `report.html`, `search.json`, `best.yaml`, `confirm.yaml`, the trials and, by default, the study.
        found: the trials of the study and what they are compared with.
        rows: the best trials, for a table.
    """

    directory: Path
    found: Found
    rows: Sequence[dict[str, object]]


def search(
    recipe: str | Path,
    space: Space | str | Path,
    *,
    trials: int | None = None,
    study: str | None = None,
    storage: str | None = None,
    sampler: SamplerName | None = None,
    pruner: PrunerName | None = None,
    data: str | Path | None = None,
    out: str | Path | None = None,
    seed: int | None = None,
    reference: str | None = None,
    events: int | None = None,
    jobs: int | None = None,
    resume: bool = False,
    console: Console | None = None,
) -> Search:
    """Search a space for the parameters with which a recipe's stand-in is best, by the physics score on validation events.

    Args:
        recipe: the name of a shipped one, or the path of a YAML file.
        space: a Space, the name of a shipped one, or the path of a YAML file.
        trials: how many the study is to have in the end, all machines together; the space's own number if absent.
        study: its name; RECIPE-SPACE if absent.
        storage: URL of a database that Optuna knows; a SQLite file in `out` if absent.
        sampler: `random` or `tpe`, in place of the space's.
        pruner: `none`, `median`, `halving` or `hyperband`, in place of the space's.
        data: a file of reference events in place of the recipe's own reference.
        out: the search's directory; `searches/STUDY` if absent. Each machine has its own.
        seed: of the draws, in place of the space's.
        reference: one of the recipe's alternative references, by name; simulated once for all trials.
        events: how many events to simulate, or to use of a file.
        jobs: trials side by side, one thread each; all cores if absent.
        resume: go on with a study, or join it: finished trials are kept, interrupted ones go on from their checkpoints.
        console: shows progress; silent if absent.

    Raises:
        ValueError: recipe, space or data are wrong, or the study is one of another recipe, other events or another space.
        FileExistsError: the study is there already and `resume` is not given, or a search is at work in `out`.
        KeyboardInterrupt: stopped from outside; every trial is at a complete checkpoint.
    """
    console = console or Console(quiet=True)
    space = space if isinstance(space, Space) else Space.load(space)
    said = {"trials": trials, "sampler": sampler, "pruner": pruner, "seed": seed}
    space = space.model_copy(update={k: v for k, v in said.items() if v is not None})
    if space.trials < 1:
        raise ValueError(f"a search makes at least 1 trial, not {space.trials}")
    where = f"search space {space.name}: common"
    base = base_recipe(recipe, space.common, where, data=data, reference=reference, events=events)
    with console.step("Checking every value of the space"):
        plan = make_plan(space, base)
    if plan.left_out:
        console.warn(f"recipe {base.name} has no use for {', '.join(plan.left_out)}; left out")
    name = study or f"{base.name}-{space.name}"
    folder = Path(out or Path("searches") / name)
    origin = Origin(str(recipe), data=data, reference=reference, events=events, study=name, storage=storage)
    with quiet():
        return _search(plan, origin, folder, storage or sqlite(folder), jobs or available_cores(), resume, console)


def _search(plan: Plan, origin: Origin, folder: Path, storage: str, jobs: int, resume: bool, console: Console) -> Search:
    if (folder / RECIPE).exists() or (folder / "scan.json").exists():
        raise FileExistsError(f"{folder} holds a run or a scan, not a search; choose another --out")
    make_directory(folder)
    with alone_in(folder, wait=False):
        there = (folder / REFERENCE / RECIPE).exists()
        if there and not resume:
            raise FileExistsError(f"{folder} holds a search already; go on with it with --resume, or choose another --out")
        place = RunDirectory.open(folder / REFERENCE, plan.base, resume=there)
        shared = prepare(plan.base, place, console)
        digest = shared.digest if plan.base.reference.kind == "file" else None
        study = open_study(origin.study, storage, plan, digest, resume=resume)
        training = plan.base.stages[-1].training
        space = plan.space
        study.sampler = sampler(space.sampler, space.seed)
        study.pruner = pruner(space.pruner, space.warm_up, training.epochs, training.score_every)
        _make_trials(Trials(study, plan, folder, shared.digest, space.trials), jobs, console)
        return _report(study, plan, origin, shared, folder, storage, console)


def _make_trials(trials: Trials, jobs: int, console: Console) -> None:
    trials.prepare_queue()
    known = trials.finished()
    before = f", {known} of them finished before" if known else ""
    title = f"{trials.total} trials of {trials.plan.base.stages[-1].training.epochs} epochs, {jobs} side by side{before}"
    with console.step(title) as step:

        def advance(done: float, _: float) -> None:
            parts = done - trials.ended_here  # of trials in progress
            step.advance(min(trials.finished() + parts, trials.total), trials.total)

        try:
            run_all(trials.jobs(), jobs, advance, watcher=trials)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"interrupted after {trials.finished()} of {trials.total} trials; give the same command with --resume to go on"
            ) from None


def _report(study: optuna.Study, plan: Plan, origin: Origin, data: Data, folder: Path, storage: str, console: Console) -> Search:
    scored = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    found = Found(study.get_trials(deepcopy=False), plan, _floor(data, plan.base.seed), len(data.validation), data.name)
    if not scored:
        errors = [str(t.user_attrs["error"]) for t in found.trials if "error" in t.user_attrs]
        raise RuntimeError(f"none of {len(found.trials)} trials has a score (first: {errors[0] if errors else 'none ended'})")
    write_results(found, origin, without_password(storage), folder)
    with console.step("Drawing the report"):
        write_page(study, found, origin, folder)
    return Search(folder, found, found.rows())


def _floor(data: Data, seed: int) -> float:
    """Score of as many other reference events, out of the training split: no stand-in can be expected to be better."""
    n = min(len(data.validation), len(data.train))
    chosen = np.sort(seeds.generator(seed, "search", "floor").permutation(len(data.train))[:n])
    return PhysicsScore(data.validation, data.response_geometry).score(data.train[chosen])["score"]
