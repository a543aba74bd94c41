"""Tracks per second of the RICH's stand-ins in ONNX Runtime on two threads; the goal for the default is a million.

    python benchmarks/rich_speed_models.py [--recipe NAME ...] [--bundle DIR ...] [--batch 10000] [--threads 2] [--rounds 7]

Recipes are trained for one epoch on two thousand tracks, on which the time does not depend, and exported as trained ones are;
`--bundle` takes a trained one. What is timed is the whole chain, from conditions in MeV to DLLs; the noise is drawn before, and
its own time is given beside. All stand-ins take turns within each round; the median over the rounds is given, wall clock and
processor time, which does not count the waiting for other processes (two threads count twice).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from understudy.console import Console
from understudy.deployment.bundle import read_trained
from understudy.deployment.export import export_graphs
from understudy.deployment.runtime import Session
from understudy.files import write_json
from understudy.recipe import read_yaml
from understudy.references.rich import TrackGun
from understudy.steps import export_run, train_only
from understudy.versions import hardware, versions

RECIPES = ("lhcb-rich", "lhcb-rich-flow", "lhcb-rich-cramer", "lhcb-rich-energy-score")
GOAL = 1e6
QUIET = Console(quiet=True)


def trained(name: str, folder: Path) -> Path:
    """The run's directory of a recipe with next to no training, and of what it needs."""
    words = dict(read_yaml(name))
    words |= {"events": 2000, "reference": {**words["reference"], "weights": "truth"}, "validation": {}}
    words["split"] = {"train": 0.7, "validation": 0.1, "test": 0.2}
    for stage in words["stages"]:
        stage["training"] = {"epochs": 1, "batch_size": 500, "score_every": 1}
        stage["model"] |= {"pairs": 1000} if stage["model"]["kind"] == "distilled" else {}
    for need, said in words.get("needs", {}).items():
        theirs = trained(said["recipe"], folder / need)
        export_run(theirs, console=QUIET)
        words["needs"][need] = {"run": str(theirs)}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(words))
    return train_only(folder / "recipe.yaml", out=folder / "run", console=QUIET)


def graph_of(run: Path) -> Path:
    """The exported graph of a trained run."""
    surrogate, _, _ = read_trained(run)
    return export_graphs(surrogate, run / "checkpoints")[0].path


def calls(graphs: dict[str, Path], batch: int, threads: int) -> dict[str, Callable[[], Any]]:
    """One call by stand-in, each of a whole batch."""
    rng = np.random.default_rng(1)
    given = {k: np.asarray(v, np.int64 if k == "species" else np.float32) for k, v in TrackGun().draw(batch, rng).items()}
    found: dict[str, Callable[[], Any]] = {}
    for name, graph in graphs.items():
        session = Session(graph, threads)
        size = next(i.shape[1] for i in session._session.get_inputs() if i.name == "noise")
        noise = rng.standard_normal((batch, size), dtype=np.float32)
        found[name] = lambda session=session, noise=noise: session.response(noise, given)
        found[f"noise of {name}"] = lambda size=size: rng.standard_normal((batch, size), dtype=np.float32)
    return found


def measure(call: Callable[[], Any], shortest: float = 0.3) -> tuple[float, float]:
    """Seconds of one call, wall clock and processor."""
    count, wall, cpu = 0, time.perf_counter(), time.process_time()
    while count == 0 or time.perf_counter() - wall < shortest:
        call()
        count += 1
    return (time.perf_counter() - wall) / count, (time.process_time() - cpu) / count


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--recipe", nargs="*", default=list(RECIPES))
    options.add_argument("--bundle", nargs="*", type=Path, default=[])
    options.add_argument("--batch", type=int, default=10_000)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--out", type=Path)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as place:
        graphs = {name: graph_of(trained(name, Path(place) / name)) for name in chosen.recipe}
        graphs |= {bundle.name: bundle / "surrogate.onnx" for bundle in chosen.bundle}
        asked = calls(graphs, chosen.batch, chosen.threads)
        for call in asked.values():
            call()
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in asked}
        for _ in range(chosen.rounds):
            for name, call in asked.items():
                times[name].append(measure(call))
    print(f"{hardware()}, {chosen.threads} threads, batches of {chosen.batch:,}")
    rates = {}
    for name, found in times.items():
        wall, cpu = np.median(np.array(found), axis=0)
        rates[name] = {"per_second": chosen.batch / wall, "per_processor_second": chosen.batch / cpu}
        goal = f"  (goal {GOAL:,.0f})" if name == "lhcb-rich" else ""
        print(f"{name:35s} {chosen.batch / wall:14,.0f} tracks/s {chosen.batch / cpu:14,.0f} per processor second{goal}")
    if chosen.out:
        write_json(chosen.out, {"hardware": hardware(), "versions": versions(), "threads": chosen.threads, "rates": rates})


if __name__ == "__main__":
    main()
