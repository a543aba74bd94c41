"""Trained RICH stand-ins against the reference on a million fresh pure tracks of each species: areas under the ROC curves.

    python benchmarks/rich_judge.py RUN [RUN ...] [--tracks 1000000] [--replicas 20] [--seed 7]

Reference and stand-ins answer the same tracks, which nothing has seen; the reference answers twice, and the second time is the
floor. In each of 3 x 3 bins of momentum and pseudorapidity, over the whole range and over the populated region, the AUC with
which a DLL tells kaons, muons and protons from pions is compared: the largest and the mean difference of 27, and chi2/bins by the
bootstrap's errors.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from understudy import seeds
from understudy.deployment.bundle import load_bundle
from understudy.domain import OutOfDomainWarning
from understudy.references.rich import lhcb_rich
from understudy.validation import tracks as numbers

Maps = dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]


def maps(tracks: numbers.Tracks, grids: dict[str, Any], replicas: int, seed: int) -> Maps:
    """AUCs and their replicas by grid and pair; the same tracks are drawn into the replicas of every sample."""
    return {
        (grid, pair.name): numbers.auc_map(tracks, pair, edges, replicas, seeds.generator(seed, "judge", grid, pair.name))
        for grid, edges in grids.items()
        for pair in numbers.PAIRS
    }


def differences(first: Maps, second: Maps, grid: str) -> dict[str, float]:
    """`tracks.summary` of a grid's AUCs."""
    return numbers.summary([numbers.compared(first[key], second[key]) for key in first if key[0] == grid])


def main() -> None:
    """Ask, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--tracks", type=int, default=1_000_000, help="of each species")
    parser.add_argument("--replicas", type=int, default=20)
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    source = lhcb_rich()
    one = source.gun.draw(asked.tracks, seeds.generator(asked.seed, "judge", "tracks"))
    kinds = np.arange(len(numbers.NUMBERS))
    given = {name: np.tile(values, len(kinds)) for name, values in one.items() if name != numbers.SPECIES}
    given[numbers.SPECIES] = np.repeat(kinds, asked.tracks)

    def answered(simulator: Any, name: str) -> numbers.Tracks:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OutOfDomainWarning)
            return numbers.Tracks.of(simulator.simulate(given, seeds.generator(asked.seed, "judge", name)))

    reference = answered(source.simulator, "reference")
    grids = {"whole": numbers.full_grid(reference), "populated": numbers.populated_grid(reference)}
    first = maps(reference, grids, asked.replicas, asked.seed)
    samples: dict[str, Any] = {"floor": source.simulator, **{run.name: load_bundle(run) for run in asked.runs}}
    print(f"{asked.tracks:,} tracks of each species; largest and mean difference of AUC, chi2/bins")
    for name, simulator in samples.items():
        other = maps(answered(simulator, name), grids, asked.replicas, asked.seed)
        found = {grid: differences(first, other, grid) for grid in grids}
        print(
            f"{name:24}"
            + "".join(f"  {g}: {d['largest']:.4f} {d['mean']:.4f} {d['chi2_per_bin']:.1f}" for g, d in found.items()),
            flush=True,
        )


if __name__ == "__main__":
    main()
