"""One run of a scan in a process of its own: train the response's model, sample at the test conditions, judge, write down.

The first line of standard input says what to do, as JSON. The rest of it is a lifeline: where it ends, the scan has ended,
and the training stops at a complete checkpoint. A run that went wrong leaves `failure.json` with the sentence.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch

from understudy import seeds
from understudy.build import build_stage
from understudy.cli_errors import sentence
from understudy.console import Console
from understudy.deployment.bundle import load_needs
from understudy.domain import Domain
from understudy.files import atomic_path, write_json, write_text
from understudy.journey import train_stage
from understudy.recipe import Recipe, read_yaml
from understudy.rundir import RECIPE, RunDirectory
from understudy.scan.judge import Judge, Judged
from understudy.splits import Data, prepare
from understudy.surrogate import Surrogate
from understudy.threads import threads
from understudy.training.loop import TrainingResult

RESULT, VALUES, FAILURE = "result.json", "values.npz", "failure.json"


@dataclass(frozen=True)
class SharedEvents(RunDirectory):
    """The events of a scan, which its runs read and nobody writes."""

    def begin(self) -> None:
        """Nothing: the scan has begun."""

    def use_data(self, name: str, digest: str) -> None:
        """Nothing: the scan has written it down."""


def shared_events(base: Recipe, folder: Path) -> Data:
    """The prepared events of a scan, read from where the scan has them."""
    return prepare(base, SharedEvents(folder, base, continues=True), Console(quiet=True))


def run(folder: Path, recipe: Recipe, data: Data, judge: Judge, key: str) -> None:
    """Train, sample and judge one run; an interrupted one goes on from its checkpoint.

    Args:
        folder: of the run.
        recipe: of the run, with its seed.
        data: events of the scan.
        judge: compares on the test split.
        key: written into `result.json`; tells what the result is a result of.
    """
    with threads(1):
        surrogate, result = train(recipe, data, folder)
        made = surrogate.simulate(data.test.conditions, seeds.generator(recipe.seed, "samples"))
        judged = judge.judge(made)
    _write_values(folder / VALUES, judged)
    facts = {"format": 1, "key": key, "seed": recipe.seed}
    write_json(folder / RESULT, {**facts, **judged.numbers, "training": training_facts(surrogate, result)})


def training_facts(surrogate: Surrogate, result: TrainingResult) -> dict[str, Any]:
    """What a training cost and came to, as plain data."""
    return {
        "minutes": result.seconds / 60,
        "device": result.device,
        "epochs": result.epochs,
        "parameters": sum(p.numel() for p in surrogate.parameters()),
        "losses": result.history[-1]["losses"] if result.history else {},
        "best_epoch": None if result.best is None else result.best["epoch"],
    }


def train(recipe: Recipe, data: Data, folder: Path) -> tuple[Surrogate, TrainingResult]:
    """The response's stage alone, derived conditions are given to it; goes on with what the same recipe left in `folder`."""
    resume = (folder / RECIPE).is_file() and read_yaml(folder / RECIPE) == recipe.to_dict()
    if not resume:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        write_text(folder / RECIPE, recipe.to_yaml())
    rng = torch.Generator().manual_seed(seeds.integer(recipe.seed, "initial weights"))
    words, schema = recipe.stages[-1], data.train.schema
    stage = build_stage(words, recipe, schema, data.geometry, rng, load_needs(recipe))
    place = RunDirectory(folder, recipe)
    result = train_stage(stage, words, recipe, data, place, resume=resume, console=Console(quiet=True))
    return Surrogate(schema, [stage], data.geometry, Domain.of(data.train)), result


def _write_values(path: Path, judged: Judged) -> None:
    """The observables of the sample, and the moments of its cells."""
    arrays = {f"value/{name}": values.astype(np.float32) for name, values in judged.values.items()}
    if judged.moments is not None:
        arrays |= {"weight": np.array(judged.moments.weight), "mean": judged.moments.mean, "scatter": judged.moments.scatter}
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def main() -> int:
    """Do what standard input says; the status."""

    def work(folder: Path, recipe: Recipe, base: Recipe, data: Data, key: str) -> None:
        run(folder, recipe, data, Judge(data, base.validation, base.seed), key)

    return serve(work)


def serve(work: Callable[[Path, Recipe, Recipe, Data, str], None]) -> int:
    """Read from standard input what to do and have `work` do it in its folder, alone there; the status.

    `work` gets the folder, the run's recipe, the one that all runs have in common, their events, and the key of the result.
    """
    job: Mapping[str, Any] = json.loads(sys.stdin.readline())
    threading.Thread(target=_stop_with_the_scan, daemon=True).start()
    folder = Path(job["folder"])
    try:
        alone = alone_in(folder)  # held to the end of the process
        recipe, base = (Recipe.from_dict(job[name], str(folder)) for name in ("recipe", "base"))
        work(folder, recipe, base, shared_events(base, Path(job["reference"])), job["key"])
    except Exception as error:
        write_json(folder / FAILURE, {"error": sentence(error)})
        return 1
    except KeyboardInterrupt:
        return 130
    alone.close()
    return 0


def alone_in(folder: Path, *, wait: bool = True) -> TextIO:
    """Wait until no other process works in `folder`: that of a scan which was killed may still be at its last checkpoint.

    The file that is returned keeps others out as long as it is open. Without `wait`, FileExistsError where another is at work.
    """
    lock = (folder / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise FileExistsError(f"another process is at work in {folder}; wait for it, or choose another --out") from None
    return lock


def _stop_with_the_scan() -> None:
    """Wait for the end of standard input, then ask this process to stop."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
