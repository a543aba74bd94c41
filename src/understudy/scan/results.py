"""What the runs of a scan came to: `scan.json` and `table.csv`.

A variant's number is the mean over its seeds; its error is the spread between the seeds over the square root of their number.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from understudy.files import write_json, write_text
from understudy.rundir import read_json
from understudy.scan.judge import DISTANCES
from understudy.scan.plan import Plan, Task
from understudy.scan.processes import failure
from understudy.scan.worker import RESULT, VALUES
from understudy.schema import Array
from understudy.validation.structure import CellMoments


class Mean(NamedTuple):
    """Mean over seeds, its error, and the spread of single seeds; NaN where too few have a value."""

    value: float
    error: float
    spread: float


@dataclass(frozen=True)
class RunResult:
    """One run: what it was, and what is in its folder.

    Args:
        task: variant, seed and folder.
        numbers: the contents of `result.json`; None if the run has not finished.
        error: why it failed; None if it did not.
    """

    task: Task
    numbers: Mapping[str, Any] | None
    error: str | None = None

    @property
    def status(self) -> str:
        """`finished`, `failed` or `missing`."""
        return "finished" if self.numbers is not None else "missing" if self.error is None else "failed"

    def values(self) -> dict[str, Array]:
        """Observables `(n,)` of its sample."""
        with np.load(self.task.folder / VALUES, allow_pickle=False) as file:
            return {name.removeprefix("value/"): file[name] for name in file.files if name.startswith("value/")}

    def moments(self) -> CellMoments | None:
        """Moments of its sample's cells."""
        with np.load(self.task.folder / VALUES, allow_pickle=False) as file:
            if "scatter" not in file.files:
                return None
            return CellMoments(float(file["weight"]), file["mean"], file["scatter"])

    def number(self, *path: str) -> float:
        """A number of its result by its keys; NaN where it is not defined."""
        found: Any = self.numbers
        for key in path:
            found = None if found is None else found.get(key)
        return math.nan if found is None else float(found)


def load(task: Task, key: str) -> RunResult:
    """What a run left; a result of something else than `key` does not count."""
    if (task.folder / RESULT).is_file() and (task.folder / VALUES).is_file():
        try:
            numbers = read_json(task.folder / RESULT)
        except ValueError:
            numbers = {}
        if numbers.get("key") == key:
            return RunResult(task, numbers)
    return RunResult(task, None, failure(task.folder))


def mean(runs: Sequence[RunResult], *path: str, over: float = 1.0) -> Mean:
    """Mean over runs of a number, by its keys in `result.json`, divided by `over`."""
    found = np.array([run.number(*path) for run in runs], float) / over
    found = found[~np.isnan(found)]
    if not len(found):
        return Mean(math.nan, math.nan, math.nan)
    spread = float(found.std(ddof=1)) if len(found) > 1 else math.nan
    return Mean(float(found.mean()), spread / math.sqrt(len(found)), spread)


def write(
    plan: Plan, runs: Mapping[str, Sequence[RunResult]], floors: Mapping[str, Any], facts: Mapping[str, Any], out: Path
) -> None:
    """Write `scan.json` and `table.csv` into `out`.

    Args:
        plan: what was asked for.
        runs: by variant.
        floors: from `Judge.floors`.
        facts: about the reference and the computer.
        out: the scan's directory.
    """
    write_json(
        out / "scan.json",
        {
            "format": 1,
            "scan": plan.scan.model_dump(mode="json"),
            "recipe": plan.base.to_dict(),
            **facts,
            "floors": dict(floors),
            "groups": {name: dict(labels) for name, labels in plan.groups.items()},
            "variants": {n: {"changes": dict(plan.variants[n].changes), **summary(r, floors)} for n, r in runs.items()},
            "runs": [_run(result) for results in runs.values() for result in results],
        },
    )
    write_text(out / "table.csv", table(plan, runs, floors))


def summary(runs: Sequence[RunResult], floors: Mapping[str, Any]) -> dict[str, Any]:
    """Means over the seeds of one variant, with their errors."""
    finished = [run for run in runs if run.numbers is not None]
    observables = {
        name: {kind: _plain(mean(finished, "observables", name, kind)) for kind in DISTANCES} for name in floors["observables"]
    }
    return {
        "seeds": [run.task.seed for run in finished],
        "score": _plain(mean(finished, "score", "score")),
        "correlation_mse": _plain(mean(finished, "correlation_mse")),
        "minutes": _plain(mean(finished, "training", "minutes")),
        "parameters": finished[0].numbers["training"]["parameters"] if finished and finished[0].numbers else None,
        "observables": observables,
    }


def table(plan: Plan, runs: Mapping[str, Sequence[RunResult]], floors: Mapping[str, Any]) -> str:
    """Variant x observable as CSV: mean and error over the seeds, and floor, of every distance."""
    heads = [f"{kind}{what}" for kind in DISTANCES for what in ("", "_error", "_floor")]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["group", "variant", "seeds", "quantity", "unit", *heads])
    for group, labels in plan.groups.items():
        for label, variant in labels.items():
            finished = [run for run in runs.get(variant, ()) if run.numbers is not None]
            if not finished:
                continue
            for name in ("score", "correlation_mse"):
                path, floor = (("score", "score"), floors["score"]["score"]) if name == "score" else ((name,), floors[name])
                found = mean(finished, *path)
                writer.writerow([group, label, len(finished), name, "", *_cells(found, floor), *[""] * 6])
            for name, floor in floors["observables"].items():
                cells = [c for kind in DISTANCES for c in _cells(mean(finished, "observables", name, kind), floor[kind])]
                writer.writerow([group, label, len(finished), name, floor["unit"], *cells])
    return text.getvalue()


def _cells(found: Mean, floor: float | None) -> list[str]:
    return ["" if x is None or math.isnan(x) else f"{x:.6g}" for x in (found.value, found.error, floor)]


def _run(result: RunResult) -> dict[str, Any]:
    kept = {k: v for k, v in (result.numbers or {}).items() if k not in ("format", "key", "seed")}
    told = {"variant": result.task.variant, "seed": result.task.seed, "status": result.status}
    return {**told, **({"error": result.error} if result.error else {}), **kept}


def _plain(found: Mean) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in found._asdict().items()}
