"""Milliseconds per shower of Geant4 itself, one process, at the very conditions of the test events.

    python geant4_speed.py SPLIT.npz SPEED.json --reference geant4-atlas-lar [--showers 200]

Geant4 is started twice, for a few showers and for more, and the difference counts, so that its initialisation does not (it is
given besides). Its time is proportional to the energy: what is quoted is the time per GeV, times the mean energy of all test
events. It needs `geant4-pybind` and Geant4's data (`G4LEDATA`).
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
from peer import ENERGY, Known, first_rows

import understudy.references.geant4  # noqa: F401  registers Geant4
from understudy.registry import lookup
from understudy.versions import versions

FEW = 20


def cost(source: Any, known: Known, showers: int, seed: int) -> np.ndarray:
    """Clock seconds, processor seconds and energy [GeV] of so many showers, initialisation included."""
    rows = np.random.default_rng(seed).permutation(len(known.test[ENERGY]))
    asked = {name: first_rows(values[rows], showers) for name, values in known.test.items()}
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    source.simulator.simulate(asked, np.random.default_rng(seed))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return np.array([time.perf_counter() - wall, cpu, float(asked[ENERGY].sum()) / 1e3])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("split", type=Path, help="the events: .npz written by compare.py")
    options.add_argument("out", type=Path, help="the answer: .json")
    options.add_argument("--reference", required=True, help="kind of the Geant4 reference")
    options.add_argument("--showers", type=int, default=200)
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    source = lookup("references", chosen.reference)(processes=1)
    known = Known.read(chosen.split)
    few, many = (cost(source, known, n, chosen.seed) for n in (FEW, FEW + chosen.showers))
    wall, cpu, simulated = many - few
    energy = float(np.mean(known.test[ENERGY])) / 1e3
    facts = {
        "ms": 1e3 * wall / simulated * energy,
        "cpu_ms": 1e3 * cpu / simulated * energy,
        "cpu_ms_per_gev": 1e3 * cpu / simulated,
        "showers": chosen.showers,
        "mean_energy_gev": energy,
        "initialisation_s": few[1] - cpu / simulated * few[2],
        "versions": versions(),
    }
    chosen.out.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(
        f"{facts['ms']:.1f} ms per shower by the clock, {facts['cpu_ms']:.1f} ms of one processor, mean energy {energy:.1f} GeV"
    )


if __name__ == "__main__":
    main()
