"""The runs of a scan or a search side by side, each in a process of its own, so that none can harm another.

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
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from understudy.files import make_directory, write_json
from understudy.rundir import read_json
from understudy.scan.worker import FAILURE, RESULT

LOG = "log.txt"
PATIENCE = 120.0
"""Seconds that a process has to write its checkpoint when it is to stop."""
OUTSIDE = "its process was ended from outside; if the memory was full, use fewer --jobs"
"""What is said of a run that was killed."""
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Job:
    """A run that is to be made: its folder, what its process is told, its epochs, and the module that the process runs."""

    folder: Path
    words: dict[str, Any]
    epochs: int
    module: str = "understudy.scan.worker"


class Watcher(Protocol):
    """Someone who looks at runs while they are made, and may end one."""

    def goes_on(self, job: Job) -> bool:
        """Whether a run in progress is worth going on with; one that is not is stopped at a complete checkpoint."""

    def ended(self, job: Job) -> None:
        """A run has ended, by itself or because it was not worth going on with."""


class Unwatched:
    """Lets every run go on to its end."""

    def goes_on(self, job: Job) -> bool:
        """Always."""
        return True

    def ended(self, job: Job) -> None:
        """Nothing."""


def run_all(
    jobs: Iterable[Job],
    processes: int,
    progress: Callable[[float, float], None],
    every: float = 0.2,
    total: int | None = None,
    watcher: Watcher | None = None,
) -> None:
    """Make all runs, at most `processes` at a time; each leaves `result.json` or `failure.json` in its folder.

    Args:
        jobs: in the order in which they are begun; the next one is asked for when a process is free.
        processes: how many side by side; they do not change the results.
        progress: called with the number of runs done, parts of runs included, and of all.
        every: seconds between two looks.
        total: number of runs, where `jobs` has no length.
        watcher: looks at the runs.
    """
    waiting, watcher = iter(jobs), watcher or Unwatched()
    total = len(jobs) if isinstance(jobs, Sequence) else (total or 0)
    running, done = dict[subprocess.Popen[bytes], Job](), 0
    try:
        while True:
            while len(running) < processes and (job := next(waiting, None)) is not None:
                running[_start(job)] = job
            if not running:
                return
            for process, job in list(running.items()):
                ended = process.poll() is not None
                if not (stopped := not watcher.goes_on(job)) and not ended:
                    continue
                if stopped:
                    _stop([process])
                else:
                    _finish(process, job)
                del running[process]
                watcher.ended(job)
                done += 1
            progress(round(done + sum(_part(job) for job in running.values()), 1), total)
            time.sleep(every if running else 0)
    finally:
        _stop(list(running))


def _start(job: Job) -> subprocess.Popen[bytes]:
    make_directory(job.folder)
    for name in (RESULT, FAILURE):
        (job.folder / name).unlink(missing_ok=True)
    with (job.folder / LOG).open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", job.module],
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
        said = OUTSIDE
    else:
        said = f"its process ended with status {status}: {last[0] if last else 'it said nothing'}"
    write_json(job.folder / FAILURE, {"error": said})


def _part(job: Job) -> float:
    """How much of a run is done, from the history of its training."""
    with suppress(KeyError, IndexError, TypeError, ValueError):
        return 0.98 * min(float(history(job.folder)[-1]["epoch"]) / job.epochs, 1.0)
    return 0.0


def history(folder: Path) -> list[dict[str, Any]]:
    """Rows of the training of the response's model so far, in the folder of a run; none before the first."""
    with suppress(OSError, ValueError):
        rows = json.loads((folder / "checkpoints" / "response" / "history.json").read_text(encoding="utf-8"))
        return list(rows) if isinstance(rows, list) else []
    return []


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
