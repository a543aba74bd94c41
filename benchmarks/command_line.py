"""How long the command line takes to answer, and what the quickstart costs in time and memory.

python benchmarks/command_line.py               # `understudy --help` beside an empty Python, taking turns
python benchmarks/command_line.py --quickstart  # a whole quickstart as well, with its peak memory
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

UNDERSTUDY = [str(Path(sys.executable).with_name("understudy"))]


def seconds(command: list[str]) -> float:
    """Wall time of a command."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=11, help="times each command is run")
    parser.add_argument("--quickstart", action="store_true", help="run the quickstart too (minutes)")
    options = parser.parse_args()
    commands = {"python -c pass": [sys.executable, "-c", "pass"], "understudy --help": [*UNDERSTUDY, "--help"]}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(options.repeats):
        for name, command in commands.items():
            times[name].append(seconds(command))
    for name, values in times.items():
        print(f"{name:20s} median {statistics.median(values):.3f} s, fastest {min(values):.3f} s, {options.repeats} runs")
    if options.quickstart:
        with tempfile.TemporaryDirectory() as folder:
            elapsed = seconds([*UNDERSTUDY, "run", "quickstart", "--out", f"{folder}/quickstart"])
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"understudy run quickstart: {elapsed / 60:.1f} min, peak memory {peak:.0f} MiB")


if __name__ == "__main__":
    main()
