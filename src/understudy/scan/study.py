"""A parameter study from SCAN.yaml to its report: plan, events, runs side by side, numbers, page."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from understudy.console import Console
from understudy.rundir import RECIPE, RunDirectory
from understudy.scan.judge import Judge
from understudy.scan.page import Page, write_page
from understudy.scan.plan import BASE, Plan, Task, check_plan, make_plan
from understudy.scan.processes import Job, run_all
from understudy.scan.results import RunResult, load, mean, write
from understudy.scan.settings import Scan
from understudy.splits import Data, prepare
from understudy.validation.html_tables import quantity
from understudy.versions import available_cores, hardware, versions

REFERENCE = "reference"
"""Folder of the events that all runs share."""
PRODUCTS = ("report.html", "table.csv", "scan.json", "runs")


@dataclass(frozen=True)
class Study:
    """What a scan leaves.

    Args:
        directory: holds `scan.json`, `table.csv`, `report.html` and the runs.
        plan: what was asked for.
        runs: of the groups that were asked for.
        rows: physics score and its error by group and variant, for a table.
    """

    directory: Path
    plan: Plan
    runs: Sequence[RunResult]
    rows: Sequence[dict[str, object]]

    @property
    def failed(self) -> list[RunResult]:
        """The runs without a result."""
        return [run for run in self.runs if run.numbers is None]


def scan(
    scan: Scan | str | Path,
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    seed: int | None = None,
    reference: str | None = None,
    events: int | None = None,
    jobs: int | None = None,
    only: Sequence[str] = (),
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
) -> Study:
    """Train every variant of a scan with every seed and compare them.

    Args:
        scan: a Scan, the name of a shipped one, or the path of a YAML file.
        data: a file of reference events in place of the recipe's own reference.
        out: the scan's directory; `scans/NAME` if absent.
        seed: in place of the scan's.
        reference: one of the recipe's alternative references, by name; simulated once for all runs.
        events: how many events to simulate, or to use of a file.
        jobs: runs side by side, one thread each; all cores if absent. The results do not depend on it.
        only: groups to run; all if empty. The report shows what earlier calls made of the others.
        resume: keep finished runs, go on with interrupted ones, and try failed ones again.
        overwrite: replace an earlier scan in `out`.
        console: shows progress; silent if absent.

    Raises:
        ValueError: the scan or the data are wrong, or a resumed scan's events have changed.
        FileExistsError: `out` holds a scan already and neither `resume` nor `overwrite` is given.
        KeyboardInterrupt: stopped from outside; every run is at a complete checkpoint.
    """
    console = console or Console(quiet=True)
    plan = make_plan(
        scan if isinstance(scan, Scan) else Scan.load(scan), data=data, reference=reference, events=events, seed=seed
    )
    chosen = plan.scan.chosen(list(only))
    folder = Path(out or Path("scans") / plan.scan.name)
    place = _open(folder, plan, resume=resume, overwrite=overwrite)
    with console.step(f"Checking {len(plan.variants)} variants"):
        check_plan(plan)
    shared = prepare(plan.base, place, console)
    if place.replaces:
        _remove(folder)
    key = _Key(shared.digest)
    tasks = plan.tasks(folder, chosen)
    _make_runs(plan, tasks, key, place.path, jobs or available_cores(), console)
    return _report(plan, chosen, tasks, key, shared, folder, console)


@dataclass(frozen=True)
class _Key:
    """What a result is a result of: the recipe and the events."""

    digest: str

    def of(self, task: Task) -> str:
        """Of one run."""
        return hashlib.sha256(f"{task.recipe.fingerprint} {self.digest}".encode()).hexdigest()


def _open(folder: Path, plan: Plan, *, resume: bool, overwrite: bool) -> RunDirectory:
    """The folder of the shared events, if the scan may be made in `folder`."""
    if (folder / RECIPE).exists():
        raise FileExistsError(f"{folder} holds a run, not a scan; choose another --out")
    if (folder / REFERENCE / RECIPE).exists() and not (resume or overwrite):
        raise FileExistsError(
            f"{folder} holds a scan already; continue it with --resume, replace it with --overwrite, or choose another --out"
        )
    return RunDirectory.open(folder / REFERENCE, plan.base, resume=resume, overwrite=overwrite)


def _remove(folder: Path) -> None:
    for path in (folder / name for name in PRODUCTS):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _make_runs(plan: Plan, tasks: Sequence[Task], key: _Key, reference: Path, jobs: int, console: Console) -> None:
    """Make those runs that are not finished."""
    results = [load(task, key.of(task)) for task in tasks]
    todo = [r.task for r in results if r.numbers is None]
    if not todo:
        return
    common = {"base": plan.base.to_dict(), "reference": str(reference)}
    work = [
        Job(
            task.folder,
            {**common, "folder": str(task.folder), "recipe": task.recipe.to_dict(), "key": key.of(task)},
            task.recipe.stages[-1].training.epochs,
        )
        for task in todo
    ]
    finished = [r for r in results if r.numbers is not None]
    known = f", {len(finished)} finished before" if finished else ""
    title = f"{len(todo)} runs of {work[0].epochs} epochs, {min(jobs, len(todo))} side by side{known}"
    with console.step(title) as step:
        try:
            run_all(work, jobs, step.advance)
        except KeyboardInterrupt:
            made = sum(load(task, key.of(task)).numbers is not None for task in tasks)
            raise KeyboardInterrupt(
                f"interrupted after {made} of {len(tasks)} runs; give the same command with --resume to go on"
            ) from None


def _report(
    plan: Plan, chosen: Sequence[str], tasks: Sequence[Task], key: _Key, data: Data, folder: Path, console: Console
) -> Study:
    """Numbers and page of the chosen groups, and of those that earlier calls have made."""
    everything = [load(task, key.of(task)) for task in plan.tasks(folder, list(plan.groups))]
    wanted = {task.folder for task in tasks}
    asked = [r for r in everything if r.task.folder in wanted]
    finished: dict[str, list[RunResult]] = {}
    for result in everything:
        if result.numbers is not None:
            finished.setdefault(result.task.variant, []).append(result)
    shown = [g for g, labels in plan.groups.items() if g in chosen or any(v != BASE and v in finished for v in labels.values())]
    told = [r for r in everything if r in asked or r.task.variant in finished]
    if not finished:
        return Study(folder, plan, asked, [])
    with console.step("Measuring the floor"):
        judge = Judge(data, plan.base.validation, plan.base.seed)
        floors = judge.floors()
    facts = {
        "reference": {"name": data.name, "sha256": data.digest, "events": len(judge.reference)},
        "test_split": len(data.test),
        "hardware": hardware(),
        "versions": versions(),
    }
    by_variant = {name: [r for r in told if r.task.variant == name] for name in plan.variants}
    write(plan, {n: r for n, r in by_variant.items() if r}, floors, facts, folder)
    with console.step("Drawing the report") as step:
        page = Page(plan, finished, judge, floors, data.name)
        write_page(page, shown, [r for r in told if r.numbers is None], folder, step.advance)
    return Study(folder, plan, asked, _rows(plan, shown, finished, floors["score"]["score"]))


def _rows(
    plan: Plan, groups: Sequence[str], finished: dict[str, list[RunResult]], floor: float | None
) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for group in groups:
        for label, variant in plan.groups[group].items():
            found = mean(finished.get(variant, []), "score", "score")
            minutes = mean(finished.get(variant, []), "training", "minutes")
            score = quantity(found.value, found.error)
            rows.append({"group": group, "variant": label, "physics score": score, "minutes": quantity(minutes.value)})
    return [*rows, {"group": "", "variant": "floor", "physics score": quantity(floor), "minutes": ""}]
