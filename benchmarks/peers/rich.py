"""Stand-ins of the LHCb RICH beside pidgan's, on the same weighted tracks and before the same judges.

    python benchmarks/peers/rich.py --run runs/lhcb-rich runs/lhcb-rich-cramer --out runs/peers-rich [--minutes 10]
        [--algorithm CramerGAN WGAN_GP] [--venvs DIR]

The tracks are those of the first run, split as it split them: training tracks with their sWeights for pidgan, features encoded
as the recipe encodes them; the run's test tracks, pure signal, for everyone. pidgan trains in a virtual environment of its own
(`requirements-pidgan.txt`) for `--minutes` of processor time on one thread, and answers the test conditions. The table, `rich.md`
and `rich.json`, gives AUCs of the classifier two-sample tests with their floor, largest and mean difference of the separation
AUCs in a 3 x 3 grid, minutes of training, and tracks per processor second on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from compare import HERE, environment

from understudy import seeds
from understudy.build import build_stage
from understudy.console import Console
from understudy.deployment.bundle import load_bundle, load_needs
from understudy.events import Events
from understudy.files import make_directory, write_json, write_text
from understudy.recipe import Recipe
from understudy.rundir import RunDirectory, read_manifest
from understudy.splits import Data, prepare
from understudy.surrogate import as_tensors
from understudy.validation import tracks as numbers
from understudy.validation.compare import compare
from understudy.validation.settings import ValidationSettings
from understudy.validation.study import generator_for
from understudy.versions import hardware

HEADINGS = ("model", "low", "high", "combined", "largest |ΔAUC|", "mean |ΔAUC|", "training [min]", "tracks / processor s")
JUDGES = ("low_level", "high_level", "combined")
Answer = tuple[Events, dict[str, Any]]
"""Tracks at the test conditions, and what they took."""


def events_of(run: Path, out: Path, console: Console) -> tuple[Recipe, Data]:
    """A finished run's recipe and events, split as in the run (simulated anew with its seed)."""
    recipe = Recipe.load(run / "recipe.yaml")
    return recipe, prepare(recipe, RunDirectory.open(out / "split", recipe, overwrite=True), console)


def write_tracks(recipe: Recipe, data: Data, path: Path) -> None:
    """What pidgan sees: features and DLLs of the training tracks with their weights, features of the test tracks."""
    encoder = build_stage(recipe.stages[-1], recipe, data.train.schema, data.geometry, needs=load_needs(recipe)).encoder
    weights = np.ones(len(data.train)) if data.train.weights is None else data.train.weights / data.train.weights.mean()
    encoder.fit(as_tensors(data.train.conditions), torch.tensor(weights))
    known = {
        f"{part}_features": encoder(as_tensors(e.conditions)).numpy() for part, e in (("train", data.train), ("test", data.test))
    }
    np.savez(path, **known, train_dll=data.train.packed(), train_weights=weights.astype(np.float32))


def pidgan(algorithm: str, data: Data, out: Path, venvs: Path, minutes: float, console: Console) -> Answer:
    """Let pidgan train and answer; an answer that is there already is taken.

    Raises:
        RuntimeError: it failed; its log is named.
    """
    answers, log = out / f"pidgan-{algorithm}.npz", out / f"pidgan-{algorithm}.log"
    if not answers.with_suffix(".json").is_file():
        command = [
            str(environment("pidgan", venvs, console)),
            str(HERE / "pidgan_rich.py"),
            str(out / "tracks.npz"),
            str(answers),
        ]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")
        with console.step(f"pidgan {algorithm}, {minutes:g} min of processor time"), log.open("w", encoding="utf-8") as told:
            words = [*command, "--minutes", str(minutes), "--algorithm", algorithm]
            done = subprocess.run(words, stdout=told, stderr=subprocess.STDOUT, check=False, env={**os.environ, **threads})
        if done.returncode:
            raise RuntimeError(f"pidgan's {algorithm} failed; see {log}")
    facts = json.loads(answers.with_suffix(".json").read_text(encoding="utf-8"))
    with np.load(answers, allow_pickle=False) as stored:
        made = data.test.with_response(stored["test"])
    return made, {"minutes": facts["training_cpu_s"] / 60, "rate": facts["tracks_per_processor_second"]}


def finished(run: Path, data: Data, seed: int) -> Answer:
    """A finished run's bundle in ONNX Runtime, on one thread."""
    standin, given = load_bundle(run, threads=1), data.test.without_response().conditions
    started = time.process_time()
    made = standin.simulate(given, seeds.generator(seed, "peers", run.name))
    rate = len(data.test) / (time.process_time() - started)
    return made, {"minutes": read_manifest(run)["training"]["minutes"], "rate": rate}


def judge(data: Data, answers: dict[str, Answer], seed: int) -> dict[str, dict[str, Any]]:
    """AUCs with floors, and differences of the separation, of each candidate; `floor` among them."""
    if data.floor is None:
        raise ValueError("the run's test events come from a file; give a run that is tested on a simulator's")
    named = {name: events for name, (events, _) in answers.items()}
    report = compare(data.test, named, floor=data.floor, settings=ValidationSettings(), seed=seed).metrics["candidates"]
    reference = numbers.Tracks.of(data.test)
    grid = numbers.full_grid(reference)

    def apart(events: Events) -> dict[str, float]:
        maps = (
            [
                numbers.auc_map(t, p, grid, 20, generator_for(seed, "peers", p.name))
                for t in (reference, numbers.Tracks.of(events))
            ]
            for p in numbers.PAIRS
        )
        return numbers.summary([numbers.compared(first, second) for first, second in maps])

    found = {name: {**{j: report[name]["classifier"][j] for j in JUDGES}, **apart(e)} for name, e in named.items()}
    first = next(iter(found.values()))
    floor = {j: {"auc": first[j]["floor"], "error": first[j]["floor_error"]} for j in JUDGES}
    return {"reference against itself (floor)": {**floor, **apart(data.floor)}, **found}


def table(rows: dict[str, dict[str, Any]], costs: dict[str, dict[str, Any]]) -> str:
    """Markdown."""
    lines = [HEADINGS, ("---", *["---:"] * (len(HEADINGS) - 1))]
    for name, found in rows.items():
        cost = costs.get(name)
        spent = ("-", "-") if cost is None else (f"{cost['minutes']:.1f}", f"{cost['rate']:,.0f}")
        aucs = (f"{found[j]['auc']:.3f} ± {found[j]['error']:.3f}" for j in JUDGES)
        lines.append((name, *aucs, f"{found['largest']:.4f}", f"{found['mean']:.4f}", *spent))
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--run", nargs="+", type=Path, required=True, help="finished runs; the first one's tracks are used")
    options.add_argument("--out", type=Path, default=Path("runs/peers-rich"))
    options.add_argument("--minutes", type=float, default=10.0, help="processor time of pidgan's training (default %(default)s)")
    options.add_argument("--algorithm", nargs="*", default=["CramerGAN"], help="of pidgan; none leaves it out")
    options.add_argument("--venvs", type=Path, help="where the virtual environments are; OUT/venvs if absent")
    chosen = options.parse_args()
    console, out = Console(), make_directory(chosen.out)
    recipe, data = events_of(chosen.run[0], out, console)
    write_tracks(recipe, data, out / "tracks.npz")
    answers = {run.name: finished(run, data, recipe.seed) for run in chosen.run}
    venvs = chosen.venvs or out / "venvs"
    answers |= {f"pidgan 0.2, {a}": pidgan(a, data, out, venvs, chosen.minutes, console) for a in chosen.algorithm}
    rows, costs = judge(data, answers, recipe.seed), {name: cost for name, (_, cost) in answers.items()}
    write_json(out / "rich.json", {"hardware": hardware(), "minutes": chosen.minutes, "found": rows, "costs": costs})
    write_text(out / "rich.md", table(rows, costs))
    print(table(rows, costs))


if __name__ == "__main__":
    main()
