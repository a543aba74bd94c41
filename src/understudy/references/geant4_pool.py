"""Several Geant4 processes that share the chunks of one simulation.

Events are simulated in chunks, each from its own seed, so that the result depends neither on the number of processes nor
on their speed. Threads of the parent each hold one worker process and hand it chunk after chunk. A worker that is killed
from outside is replaced and its chunk repeated once; whatever Geant4 itself refuses ends the simulation with one sentence.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from understudy.references.geant4_data import child_environment

ERRORS: dict[str, type[Exception]] = {
    "ValueError": ValueError,
    "FileNotFoundError": FileNotFoundError,
    "ImportError": ImportError,
    "ModuleNotFoundError": ModuleNotFoundError,
}
"""What a worker may raise under its own name; anything else is a RuntimeError."""


@dataclass(frozen=True)
class Chunk:
    """Consecutive events simulated from one seed."""

    first: int
    beam: NDArray[np.float64]
    seeds: tuple[int, ...]


class WorkerKilledError(RuntimeError):
    """A worker process was ended by a signal: from outside, or by a crash."""


def split(beam: NDArray[np.float64], size: int, generator: np.random.Generator) -> list[Chunk]:
    """Chunks of `size` consecutive events, with seeds of four 32-bit numbers from one `SeedSequence` drawn from `generator`."""
    root = np.random.SeedSequence(generator.integers(0, 2**32, 4).tolist())
    starts = range(0, len(beam), size)
    seeds = [tuple(int(x) for x in child.generate_state(4)) for child in root.spawn(len(starts))]
    return [Chunk(start, beam[start : start + size], seed) for start, seed in zip(starts, seeds, strict=True)]


class Worker:
    """One process with one run manager."""

    def __init__(self, job: Mapping[str, Any], environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "understudy.references.geant4_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=dict(environment),
            )
        self._jobs = cast(BinaryIO, self.process.stdin)
        self._answers = cast(BinaryIO, self.process.stdout)
        self._send(json.dumps(job).encode() + b"\n")

    def _send(self, data: bytes) -> None:
        with suppress(BrokenPipeError):  # why it ended is read from its last answer
            self._jobs.write(data)
            self._jobs.flush()

    def simulate(self, chunk: Chunk, on_event: Callable[[], None]) -> NDArray[np.float32]:
        """The response rows of one chunk; raises what the worker raised, or RuntimeError if it died."""
        header = {"events": len(chunk.beam), "first": chunk.first, "seeds": chunk.seeds}
        self._send(json.dumps(header).encode() + b"\n" + chunk.beam.tobytes())
        for line in self._answers:
            if not line.endswith(b"\n"):
                break
            answer = json.loads(line)
            if "error" in answer:
                raise ERRORS.get(answer["type"], RuntimeError)(answer["error"])
            if "rows" not in answer:
                on_event()
                continue
            n, width = answer["rows"]
            payload = self._answers.read(4 * n * width)
            if len(payload) < 4 * n * width:
                break
            return np.frombuffer(payload, np.float32).reshape(n, width)
        raise self._death()

    def _death(self) -> RuntimeError:
        code = self.process.wait()
        if code < 0 and code != -signal.SIGABRT:  # Geant4 itself aborts where it gives a reason: the same would happen again
            name = signal.Signals(-code).name
            return WorkerKilledError(
                f"a Geant4 worker process was killed twice, last by {name}, and so was not replaced again; check that there is"
                " enough memory for all processes"
            )
        return RuntimeError(f"Geant4 stopped: {explain(self.log.read_text(errors='replace'))}")

    def close(self) -> None:
        """End the process and close the pipes."""
        self.process.kill()
        self.process.wait()
        for pipe in (self._jobs, self._answers):
            with suppress(BrokenPipeError):
                pipe.close()


def explain(log: str) -> str:
    """Why Geant4 stopped, from what it printed: its own exception's words if there are any, else the last lines."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for start in range(len(lines) - 1, -1, -1):
        if "G4Exception :" in lines[start]:
            words = [line for line in lines[start:] if not line.startswith(("-----", "***", "!!!!!"))]
            return " ".join([lines[start].strip("* "), *words[:4]])
    return " ".join(lines[-3:]) or "it printed nothing"


@dataclass
class Pool:
    """Runs chunks on worker processes.

    Args:
        job: the detector's description for every worker.
        data: folders of the data sets by environment variable.
        processes: number of worker processes.
        progress: called in the caller's thread with the number of newly finished events.
    """

    job: Mapping[str, Any]
    data: Mapping[str, str]
    processes: int
    progress: Callable[[int], None] | None = None
    _workers: list[Worker] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: bool = False

    def run(self, chunks: Sequence[Chunk], width: int) -> NDArray[np.float32]:
        """Rows `(n, width)` of all chunks, in their order."""
        rows = np.empty((sum(len(c.beam) for c in chunks), width), np.float32)
        todo: queue.SimpleQueue[Chunk] = queue.SimpleQueue()
        for chunk in chunks:
            todo.put(chunk)
        news: queue.SimpleQueue[int | BaseException | None] = queue.SimpleQueue()
        lanes = min(self.processes, len(chunks))
        with tempfile.TemporaryDirectory(prefix="understudy-geant4-") as folder:
            environment = child_environment(os.environ, self.data, Path(folder))
            with ThreadPoolExecutor(max(lanes, 1)) as threads:
                try:
                    for number in range(lanes):
                        log = Path(folder) / f"worker{number}.log"
                        threads.submit(self._lane, environment, log, todo, rows, news)
                    self._listen(lanes, news)
                finally:
                    self._stop()
        return rows

    def _listen(self, lanes: int, news: queue.SimpleQueue[int | BaseException | None]) -> None:
        while lanes:
            message = news.get()
            if isinstance(message, BaseException):
                raise message
            if message is None:
                lanes -= 1
            elif self.progress is not None:
                self.progress(message)

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            for worker in self._workers:
                worker.process.kill()

    def _start(self, environment: Mapping[str, str], log: Path) -> Worker:
        with self._lock:
            if self._stopped:
                raise RuntimeError("the simulation was stopped")
            worker = Worker(self.job, environment, log)
            self._workers.append(worker)
            return worker

    def _lane(
        self,
        environment: Mapping[str, str],
        log: Path,
        todo: queue.SimpleQueue[Chunk],
        rows: NDArray[np.float32],
        news: queue.SimpleQueue[int | BaseException | None],
    ) -> None:
        try:
            worker = self._start(environment, log)
            try:
                while (chunk := _next(todo)) is not None and not self._stopped:
                    counter = _Counter(news)
                    try:
                        result = worker.simulate(chunk, counter.count)
                    except WorkerKilledError:
                        worker.close()
                        worker = self._start(environment, log)
                        counter.restart()
                        result = worker.simulate(chunk, counter.count)
                    rows[chunk.first : chunk.first + len(chunk.beam)] = result
            finally:
                worker.close()
        except BaseException as error:  # handed to the caller's thread, which raises it
            news.put(error)
        else:
            news.put(None)


class _Counter:
    """Reports each event of a chunk once, also if the chunk is repeated."""

    def __init__(self, news: queue.SimpleQueue[int | BaseException | None]) -> None:
        self.news, self.seen, self.reported = news, 0, 0

    def count(self) -> None:
        self.seen += 1
        if self.seen > self.reported:
            self.reported = self.seen
            self.news.put(1)

    def restart(self) -> None:
        self.seen = 0


def _next(todo: queue.SimpleQueue[Chunk]) -> Chunk | None:
    try:
        return todo.get_nowait()
    except queue.Empty:
        return None
