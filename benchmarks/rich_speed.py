"""Tracks per second of the parametric RICH on one processor core; the goal is 50,000.

python benchmarks/rich_speed.py [--tracks 200000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from understudy.references.rich import lhcb_rich
from understudy.threads import threads
from understudy.versions import hardware

GOAL = 50_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tracks", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    source, rng = lhcb_rich(), np.random.default_rng(1)
    conditions = source.gun.draw(options.tracks, rng)
    speeds = []
    with threads(1):
        for _ in range(options.rounds):
            wall, busy = time.perf_counter(), time.process_time()
            source.simulator.simulate(conditions, rng)
            speeds.append([options.tracks / (time.perf_counter() - wall), options.tracks / (time.process_time() - busy)])
    wall, busy = np.median(speeds, axis=0)
    print(f"{hardware()}: {wall:,.0f} tracks/s by the clock, {busy:,.0f} per processor second; goal {GOAL:,}")


if __name__ == "__main__":
    main()
