"""Time, memory and disk of generating a million showers into one HDF5 file, beside the pace of the disk and of compression.

    python benchmarks/million_showers.py [--showers 1000000] [--bundle DIR] [--recipe lhcb-ecal-gan] [--workers 1] [--profile N]

Runs `understudy sample` on a bundle (that of the recipe with fitted transforms and random weights, if none is given) in a
process of its own, and says its peak memory, showers per second and bytes. Then the same number of bytes is written raw, and
the file's own arrays by h5py with the same chunks and compression: the pace that the disk, and compression on one core,
allow. All files are made beneath `--folder` and removed. `--profile N` says instead where the time goes for N showers.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from untrained import untrained_bundle

from understudy.console import Console
from understudy.recipe import Recipe
from understudy.steps import sample_bundle
from understudy.versions import hardware

UNDERSTUDY = str(Path(sys.executable).with_name("understudy"))
LIMIT_GIB = 2.0
BLOCK = 10_000
"""Showers held in memory at a time while they are copied by h5py."""


@dataclass(frozen=True)
class Spent:
    """Wall and processor seconds."""

    wall: float
    cpu: float

    def rate(self, showers: int) -> str:
        """Showers per second, in words."""
        words = f"{showers / self.wall:9,.0f} showers/s, {1e6 * self.wall / showers:6.1f} us each"
        return f"{words} ({1e6 * self.cpu / showers:.1f} of a processor)"


def generate(bundle: Path, showers: int, workers: int, out: Path) -> tuple[Spent, float]:
    """Time of `understudy sample`, and peak memory [GiB] of its largest process."""
    command = [UNDERSTUDY, "sample", str(bundle), "-n", str(showers), "-o", str(out), "--workers", str(workers)]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(wall, cpu), after.ru_maxrss / 2**20


def write_raw(size: int, out: Path) -> Spent:
    """`size` random bytes to the disk, and flushed."""
    block = np.random.default_rng(0).bytes(2**24)
    wall, cpu = time.perf_counter(), time.process_time()
    with out.open("wb", buffering=0) as file:
        for start in range(0, size, len(block)):
            file.write(block[: size - start])
        os.fsync(file.fileno())
    return Spent(time.perf_counter() - wall, time.process_time() - cpu)


def write_h5py(source: Path, out: Path) -> Spent:
    """The arrays of `source` by h5py, with the same chunks and compression; reading them is not counted."""
    wall = cpu = 0.0
    with h5py.File(source) as given, h5py.File(out, "w") as file:
        for name, data in given.items():
            settings = {k: getattr(data, k) for k in ("dtype", "chunks", "compression", "compression_opts", "shuffle")}
            made = file.create_dataset(name, data.shape, maxshape=(None, *data.shape[1:]), **settings)
            for first in range(0, len(data), BLOCK):
                values = data[first : first + BLOCK]
                start, used = time.perf_counter(), time.process_time()
                made[first : first + BLOCK] = values
                wall, cpu = wall + time.perf_counter() - start, cpu + time.process_time() - used
        start, used = time.perf_counter(), time.process_time()
        file.flush()
        wall, cpu = wall + time.perf_counter() - start, cpu + time.process_time() - used
    return Spent(wall, cpu)


def profile(bundle: Path, showers: int, folder: Path) -> None:
    """Where the time goes, the 15 functions that take most of it."""
    watch = cProfile.Profile()
    watch.runcall(sample_bundle, bundle, folder / "profiled.h5", events=showers, console=Console(quiet=True))
    pstats.Stats(watch).sort_stats("tottime").print_stats(15)


def measure(bundle: Path, showers: int, workers: int, folder: Path) -> bool:
    """Print all numbers; False where the memory is beyond its limit."""
    print(f"{hardware()}, load {os.getloadavg()[0]:.1f}, {workers} worker{'s' if workers > 1 else ''}, {showers:,} showers")
    out = folder / "showers.h5"
    spent, peak = generate(bundle, showers, workers, out)
    size = out.stat().st_size
    processes = 1 if workers == 1 else workers + 1
    print(f"understudy sample          {spent.rate(showers)}")
    raw = write_raw(size, folder / "raw")
    (folder / "raw").unlink()
    print(f"the same bytes, raw        {raw.rate(showers)}, {size / raw.wall / 1e6:,.0f} MB/s")
    print(f"the same arrays, h5py      {write_h5py(out, folder / 'again.h5').rate(showers)}")
    print(
        f"{size / 1e6:,.1f} MB on disk, {size / showers:,.0f} bytes a shower; {size / spent.wall / 1e6:.1f} MB/s while generating"
    )
    with h5py.File(out) as file:
        full = 100 * np.mean(file["showers"][:BLOCK] > 0)
    print(f"{full:.0f} % of the cells hold energy, which is what compression depends on")
    print(
        f"peak memory of the largest process {peak:.2f} GiB"
        + f", of {processes} at most {processes * peak:.2f}" * (processes > 1)
    )
    if peak > LIMIT_GIB:
        print(f"FAIL: more than {LIMIT_GIB} GiB in one process")
    return peak <= LIMIT_GIB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--showers", type=int, default=1_000_000)
    parser.add_argument("--bundle", type=Path, help="a trained bundle, or a run that holds one")
    parser.add_argument("--recipe", default="lhcb-ecal-gan", help="built untrained where no bundle is given")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--profile", type=int, metavar="N", help="profile N showers instead")
    parser.add_argument("--folder", type=Path, help="where the files are made; the system's temporary folder if absent")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        bundle = options.bundle or untrained_bundle(Recipe.load(options.recipe), folder)
        if options.profile:
            profile(bundle, options.profile, folder)
        elif not measure(bundle, options.showers, options.workers, folder):
            sys.exit(1)


if __name__ == "__main__":
    main()
