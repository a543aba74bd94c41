"""A million electrons: Delphes's formulae, vectorised, beside stand-ins under ONNX Runtime; the paper took 1840 s.

    python benchmarks/delphes_million.py [--bundle RUN ...] [--threads 2] [--events 1000000]

Without a bundle `delphes-electron` and the published architectures 1 and 2 are built with fitted transforms and random weights:
the time does not depend on what they have learned. Each thread has a session of its own and takes chunks in turn; the noise is
drawn, the conditions are checked, and what is not detected is marked: all that a user waits for.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from untrained import untrained_bundle

from understudy.deployment.bundle import load_bundle
from understudy.domain import OutOfDomainWarning
from understudy.recipe import Recipe
from understudy.references.delphes import delphes_electron
from understudy.references.track_guns import TrackGun
from understudy.versions import hardware

PAPER_SECONDS = 1840.0
RECIPES = ("delphes-electron", "delphes-electron-distilled", "delphes-electron-paper", "delphes-electron-paper-2")
CHUNK = 8192

Simulate = Callable[[dict[str, Any], np.random.Generator], Any]


def seconds(simulators: list[Simulate], events: int, gun: TrackGun, piece: int) -> tuple[float, float]:
    """Wall and processor seconds for `events` electrons, one thread per simulator."""
    given = {k: v.astype(np.float32) for k, v in gun.draw(events, np.random.default_rng(1)).items()}
    cuts = range(0, events, piece)

    def work(part: int) -> None:
        for start in list(cuts)[part :: len(simulators)]:
            rows = {k: v[start : start + piece] for k, v in given.items()}
            simulators[part](rows, np.random.default_rng((part, start)))

    with ThreadPoolExecutor(len(simulators)) as pool:
        began, used = time.perf_counter(), time.process_time()
        list(pool.map(work, range(len(simulators))))
        return time.perf_counter() - began, time.process_time() - used


def of_bundle(path: Path, threads: int) -> list[Simulate]:
    """One session of a bundle for each thread."""
    loaded = [load_bundle(path, threads=1) for _ in range(threads)]
    return [lambda c, g, s=s: s.simulate(c, g, chunk=CHUNK) for s in loaded]  # type: ignore[misc]


def main() -> None:
    warnings.simplefilter("ignore", OutOfDomainWarning)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, action="append", default=[], help="a trained run; may be given again")
    parser.add_argument("--recipe", action="append", default=[], help="built untrained; may be given again")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--events", type=int, default=1_000_000)
    options = parser.parse_args()
    names = options.recipe or ([] if options.bundle else [r for r in RECIPES if r != "delphes-electron-distilled"])
    gun, formulae = TrackGun(momentum=(0, 20_000), of="total", spectrum="uniform"), delphes_electron().simulator
    print(f"{hardware()}, load {os.getloadavg()[0]:.1f}, {options.threads} threads, {options.events:,} electrons")
    with tempfile.TemporaryDirectory() as folder:
        contest: dict[str, list[Simulate]] = {"formulae, vectorised": [formulae.simulate] * options.threads}
        for path in options.bundle:
            contest[str(path)] = of_bundle(path, options.threads)
        for name in names:
            recipe = Recipe.load(name)
            place = Path(folder) / name
            place.mkdir()
            contest[name] = of_bundle(untrained_bundle(recipe, place, reference=None), options.threads)
        first = 0.0
        for name, simulators in contest.items():
            few = options.events if "paper" not in name else min(options.events, 100_000)
            scale = options.events / few
            spent, used = (scale * t for t in seconds(simulators, few, gun, 10 * CHUNK if few == options.events else CHUNK))
            first = first or spent
            print(
                f"{name:34} {spent:9.3f} s per {options.events:,}{'' if few == options.events else ' (from 100,000)'},"
                f" {used:9.3f} s of processors, {spent / first:8.1f} times the formulae, the paper's 1840 s over it"
                f" {PAPER_SECONDS / spent:9.0f}"
            )


if __name__ == "__main__":
    main()
