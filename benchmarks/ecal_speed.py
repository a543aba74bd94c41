"""Milliseconds per shower of the LHCb ECAL stand-ins on one processor thread, beside the published 4.9 ms (0.07 ms on a GPU).

    python benchmarks/ecal_speed.py [--recipe NAME ...] [--bundle DIR ...] [--batch 1 100 10000] [--rounds 7] [--out FILE]

Recipes are built with fitted transforms and random weights, on which the time does not depend, and exported as trained ones are;
`--bundle` takes a trained one. What is timed is the whole chain: noise, conditions in MeV and mm, network, inverse transforms,
thresholds. All stand-ins, engines and batches take turns within each round, so that a busy machine slows all of them alike; given
are the median over the rounds, their range, and the median of the processor time, which does not count the waiting for other
processes. Multiply-adds are those of matrix products and convolutions, counted while the modules run. Where torch finds CUDA the
torch chain is timed there too, with the noise drawn on the GPU.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from untrained import untrained

from understudy.deployment.bundle import load_bundle
from understudy.deployment.export import export_graphs
from understudy.deployment.parity import check_parity
from understudy.deployment.runtime import Session
from understudy.events import Events
from understudy.files import write_json
from understudy.recipe import Recipe
from understudy.steps import simulating_reference
from understudy.surrogate import Surrogate, as_tensors
from understudy.threads import threads
from understudy.versions import hardware, versions

RECIPES = ("lhcb-ecal-gan", "lhcb-ecal-paper")
PUBLISHED = {"processor": 4.9, "GPU": 0.07}
"""V. Chekalina et al., section 5: milliseconds per shower."""
GOAL = ("lhcb-ecal-gan", "onnx", 100, 0.1)
COLUMNS = ("stand-in", "engine", "batch", "ms/shower", "range", "processor", "published / here")
LONGEST = 60.0
"""Seconds that one call may take; longer ones are left out."""
SHORTEST = 0.1
"""Seconds that a measurement takes at least, by repeated calls."""


@dataclass
class Case:
    """A stand-in on an engine at a batch size: its call, and the milliseconds per shower so far (wall, processor)."""

    model: str
    engine: str
    batch: int
    call: Callable[[], Any]
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def measure(self) -> None:
        """Call for `SHORTEST` seconds or once."""
        calls, wall, cpu = 0, time.perf_counter(), time.process_time()
        while calls == 0 or time.perf_counter() - wall < SHORTEST:
            self.call()
            calls += 1
        scale = 1e3 / (calls * self.batch)
        self.wall.append((time.perf_counter() - wall) * scale)
        self.cpu.append((time.process_time() - cpu) * scale)

    def result(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "stand-in": self.model,
            "engine": self.engine,
            "batch": self.batch,
            "rounds": len(self.wall),
            "ms": float(np.median(self.wall)),
            "ms_range": [min(self.wall), max(self.wall)],
            "cpu_ms": float(np.median(self.cpu)),
        }


def conditions_of(surrogate: Surrogate, events: Events, batch: int) -> dict[str, Any]:
    """`batch` rows of the given conditions, repeated where there are fewer."""
    rows = np.arange(batch) % len(events)
    return {b.name: np.asarray(events.conditions[b.name])[rows] for b in surrogate.schema.given}


def onnx_call(session: Session, surrogate: Surrogate, given: dict[str, Any], batch: int) -> Callable[[], Any]:
    generator = np.random.default_rng(0)
    return lambda: session.response(generator.standard_normal((batch, surrogate.noise_size), dtype=np.float32), given)


def torch_call(surrogate: Surrogate, given: dict[str, Any], batch: int, device: str) -> Callable[[], Any]:
    tensors = as_tensors(given, device=device)
    generator = torch.Generator(device).manual_seed(0)

    def call() -> None:
        with torch.inference_mode():
            surrogate(torch.randn(batch, surrogate.noise_size, generator=generator, device=device), tensors)
        if device == "cuda":
            torch.cuda.synchronize()

    return call


def multiply_adds(surrogate: Surrogate, events: Events) -> int:
    """Of one shower."""
    with FlopCounterMode(display=False) as counter:
        torch_call(surrogate, conditions_of(surrogate, events, 1), 1, "cpu")()
    return int(counter.get_total_flops()) // 2


def parameters(surrogate: Surrogate) -> int:
    """Weights that generation uses: not those of a critic."""
    used = {id(p): p.numel() for stage in surrogate.stages for n, p in stage.model.named_parameters() if "critic" not in n}  # type: ignore[union-attr]
    return sum(used.values())


def stand_ins(options: argparse.Namespace, folder: Path) -> list[tuple[str, Surrogate, Path, Events]]:
    """Name, torch chain, exported graph and conditions of everything to be measured."""
    found = []
    for bundle in options.bundle:
        surrogate = load_bundle(bundle, engine="torch")
        place = bundle / "bundle" if (bundle / "bundle" / "recipe.yaml").is_file() else bundle
        recipe = Recipe.load(place / "recipe.yaml")
        made = simulating_reference(recipe, "parametric").generate(400, np.random.default_rng(1))
        found.append((f"{recipe.name} (trained)", surrogate, place / "surrogate.onnx", made))
    for name in options.recipe if options.recipe is not None else () if options.bundle else RECIPES:
        surrogate, made = untrained(Recipe.load(name))
        (folder / str(len(found))).mkdir()
        graphs = export_graphs(surrogate, folder / str(len(found)))
        found.append((name, surrogate, graphs[0].path, made))
    return found  # type: ignore[return-value]


def cases_of(name: str, surrogate: Surrogate, graph: Path, events: Events, batches: list[int]) -> list[Case]:
    """Every engine at every batch whose single call is short enough, as the batch before foretells."""
    engines: dict[str, Callable[[dict[str, Any], int], Callable[[], Any]]] = {}
    session = Session(graph, threads=1)
    engines["onnx"] = lambda given, batch: onnx_call(session, surrogate, given, batch)
    engines["torch"] = lambda given, batch: torch_call(surrogate, given, batch, "cpu")
    cases = []
    for engine, make in engines.items():
        seconds = 0.0
        for batch in batches:
            if seconds * batch > LONGEST:
                print(f"{name}, {engine}, batch {batch:,}: left out, about {seconds * batch:.0f} s a call")
                continue
            call = make(conditions_of(surrogate, events, batch), batch)
            start = time.perf_counter()
            call()
            seconds = (time.perf_counter() - start) / batch
            cases.append(Case(name, engine, batch, call))
    return cases


def gpu_cases(name: str, surrogate: Surrogate, events: Events, batches: list[int]) -> list[Case]:
    """The torch chain on the GPU."""
    surrogate.to("cuda")
    cases = [
        Case(name, "torch, GPU", batch, torch_call(surrogate, conditions_of(surrogate, events, batch), batch, "cuda"))
        for batch in batches
    ]
    for case in cases:
        case.call()
    return cases


def rounds(cases: list[Case], number: int) -> None:
    for _ in range(number):
        for case in cases:
            case.measure()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--recipe", nargs="*", help=f"recipes to build untrained; {', '.join(RECIPES)} if neither they nor bundles"
    )
    parser.add_argument("--bundle", nargs="*", type=Path, default=[], help="trained bundles, or runs that hold them")
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 100, 10_000])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, help="write the numbers as JSON too")
    options = parser.parse_args()
    machine: dict[str, Any] = {"hardware": hardware(), "threads": 1, "versions": versions(), "load_before": os.getloadavg()}
    with tempfile.TemporaryDirectory() as folder, threads(1):
        models = stand_ins(options, Path(folder))
        facts: dict[str, dict[str, Any]] = {}
        cases: list[Case] = []
        for name, surrogate, graph, events in models:
            generator = np.random.default_rng(2)
            parity = check_parity(surrogate, Session(graph, threads=1), events, generator)
            facts[name] = {"multiply_adds": multiply_adds(surrogate, events), "parameters": parameters(surrogate)}
            facts[name] |= {"parity": parity.to_dict()}
            cases += cases_of(name, surrogate, graph, events, sorted(options.batch))
        rounds(cases, options.rounds)
        if torch.cuda.is_available():
            on_gpu = [c for n, s, _, e in models for c in gpu_cases(n, s, e, sorted(options.batch))]
            rounds(on_gpu, options.rounds)
            cases += on_gpu
            machine["gpu"] = torch.cuda.get_device_name()
    machine["load_after"] = os.getloadavg()
    report(machine, facts, [c.result() for c in cases])
    if options.out is not None:
        write_json(
            options.out, {"machine": machine, "stand-ins": facts, "published_ms": PUBLISHED, "times": [c.result() for c in cases]}
        )


def report(machine: dict[str, Any], facts: dict[str, Any], results: list[dict[str, Any]]) -> None:
    loads = ", ".join(f"{machine[k][0]:.1f}" for k in ("load_before", "load_after"))
    print(f"{machine['hardware']}, one thread, load {loads} (before, after)")
    print(", ".join(f"{k} {v}" for k, v in machine["versions"].items() if k in ("python", "torch", "onnxruntime", "numpy")))
    for name, fact in facts.items():
        print(
            f"{name}: {fact['multiply_adds'] / 1e6:.2f} million multiply-adds a shower, {fact['parameters']:,} parameters,"
            f" graph within {fact['parity']['largest_difference']:.1g} of torch"
        )
    print("{:28s} {:11s} {:>6s} {:>10s} {:>17s} {:>10s} {:>17s}".format(*COLUMNS))
    for r in results:
        published = PUBLISHED["GPU" if "GPU" in r["engine"] else "processor"]
        low, high = r["ms_range"]
        print(
            f"{r['stand-in']:28s} {r['engine']:11s} {r['batch']:6d} {r['ms']:10.4f} {low:8.4f}-{high:8.4f} {r['cpu_ms']:10.4f}"
            f" {published / r['ms']:17.1f}"
        )
        if (r["stand-in"].split(" ")[0], r["engine"], r["batch"]) == GOAL[:3]:
            words = ["reached" if r[k] <= GOAL[3] else "NOT reached" for k in ("cpu_ms", "ms")]
            print(f"  {GOAL[3]} ms on one core at batch {GOAL[2]}: {words[0]} in processor time, {words[1]} by the clock here")
    if "gpu" not in machine:
        print("torch finds no CUDA here: the GPU is left out (published 0.07 ms)")


if __name__ == "__main__":
    main()
