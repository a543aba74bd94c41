"""The runs of a scan side by side, each in a process of its own, so that none can harm another.

A process that fails, is killed, or runs out of memory is one run without a result. Where the scan itself is stopped or killed,
the processes notice the end of their standard input and stop at a complete checkpoint.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.files import make_directory, write_json
from understudy.rundir import read_json
from understudy.scan.worker import FAILURE, RESULT

LOG = "log.txt"
PATIENCE = 120.0
"""Seconds that a process has to write its checkpoint when it is to stop."""
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Job:
    """A run that is to be made: its folder, what its process is told, and the epochs that it has."""

    folder: Path
    words: dict[str, Any]
    epochs: int


def run_all(jobs: Sequence[Job], processes: int, progress: Callable[[float, float], None], every: float = 0.2) -> None:
    """Make all runs, at most `processes` at a time; each leaves `result.json` or `failure.json` in its folder.

    Args:
        jobs: in the order in which they are begun.
        processes: how many side by side; they do not change the results.
        progress: called with the number of runs done, parts of runs included, and of all.
        every: seconds between two looks.
    """
    waiting, running, done = list(reversed(jobs)), dict[subprocess.Popen[bytes], Job](), 0
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                job = waiting.pop()
                running[_start(job)] = job
            for process in [p for p in running if p.poll() is not None]:
                _finish(process, running.pop(process))
                done += 1
            progress(round(done + sum(_part(job) for job in running.values()), 1), len(jobs))
            time.sleep(every if running else 0)
    finally:
        _stop(list(running))


def _start(job: Job) -> subprocess.Popen[bytes]:
    make_directory(job.folder)
    for name in (RESULT, FAILURE):
        (job.folder / name).unlink(missing_ok=True)
    with (job.folder / LOG).open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "understudy.scan.worker"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **ONE_THREAD},
            start_new_session=True,  # Ctrl-C is for the scan, which then stops its runs in order
        )
    with suppress(BrokenPipeError):  # why it ended is seen later
        process.stdin.write(json.dumps(job.words).encode() + b"\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
    return process


def _finish(process: subprocess.Popen[bytes], job: Job) -> None:
    """See that a run which left no result left a sentence."""
    _close(process)
    if (job.folder / RESULT).is_file() or (job.folder / FAILURE).is_file():
        return
    status = process.returncode
    last = (job.folder / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
    if status in (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, 130):
        said = "its process was ended from outside; if the memory was full, use fewer --jobs"
    else:
        said = f"its process ended with status {status}: {last[0] if last else 'it said nothing'}"
    write_json(job.folder / FAILURE, {"error": said})


def _part(job: Job) -> float:
    """How much of a run is done, from the history of its training."""
    history = job.folder / "checkpoints" / "response" / "history.json"
    with suppress(OSError, ValueError, KeyError, IndexError, TypeError):
        rows = json.loads(history.read_text(encoding="utf-8"))
        return 0.98 * min(float(rows[-1]["epoch"]) / job.epochs, 1.0)
    return 0.0


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        _close(process)
    deadline = time.monotonic() + PATIENCE
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _close(process: subprocess.Popen[bytes]) -> None:
    with suppress(BrokenPipeError):
        process.stdin.close()  # type: ignore[union-attr]


def failure(folder: Path) -> str | None:
    """Why a run failed; None if it did not."""
    return str(read_json(folder / FAILURE).get("error")) if (folder / FAILURE).is_file() else None
