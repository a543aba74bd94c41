"""Electrons per second of the built-in Delphes formulae, and of the formulae read from a card, on one core.

python benchmarks/delphes_speed.py [--electrons 5000000] [--card FILE --particle electron]
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np

from understudy.references.delphes import TrackSource, delphes_electron
from understudy.references.delphes_card import delphes_card
from understudy.references.track_guns import TrackGun
from understudy.versions import hardware

GUN = TrackGun(momentum=(50, 500_000), eta=(-3, 3))
WANTED = 5e6


def rate(source: TrackSource, electrons: int, repeats: int = 5) -> float:
    """The best of a few electrons per second, checks of the conditions and random numbers included."""
    given = {k: v.astype(np.float32) for k, v in GUN.draw(electrons, np.random.default_rng(1)).items()}
    best = np.inf
    for seed in range(repeats):
        start = time.process_time()
        source.simulator.simulate(given, np.random.default_rng(seed))
        best = min(best, time.process_time() - start)
    return electrons / best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--electrons", type=int, default=5_000_000)
    parser.add_argument("--card", type=Path)
    parser.add_argument("--particle", default="electron")
    options = parser.parse_args()
    print(f"{hardware()}, load {os.getloadavg()[0]:.1f}, one core")
    built_in = rate(delphes_electron(GUN), options.electrons)
    print(f"built-in electron      {built_in / 1e6:7.1f} million per second (wanted: {WANTED / 1e6:g})")
    if options.card is not None:
        read = rate(delphes_card(str(options.card), options.particle, GUN), options.electrons)
        print(f"{options.card.name:22} {read / 1e6:7.1f} million per second")


if __name__ == "__main__":
    main()
