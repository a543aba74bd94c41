"""Chunked, resumable generation of a bundle's events into one file.

Every chunk has its own seed sequence, `(seed, chunk number)`, so the output does not depend on the number of workers nor on
where an earlier attempt was interrupted. Finished chunks wait beside the output (see `chunks.py`); the output appears under its
own name when it is whole.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from understudy import seeds, storage
from understudy.chunks import claim, join
from understudy.deployment.bundle import load_bundle
from understudy.domain import OutOfDomainWarning
from understudy.events import Events
from understudy.files import sha256
from understudy.rundir import MANIFEST

Progress = Callable[[int], None]

_worker: dict[str, Any] = {}


def sample_to_file(
    bundle: str | Path,
    conditions: Events,
    out: str | Path,
    *,
    seed: int = 1,
    chunk: int = 5000,
    workers: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Simulate every row of `conditions` with a bundle and write the events to `out`.

    Args:
        bundle: directory of the bundle.
        conditions: events whose conditions are answered; a response among them is ignored.
        out: `.h5` or `.npz` file to make.
        seed: every chunk's noise comes from it.
        chunk: events per chunk; another size gives other noise.
        workers: processes side by side; the output is the same for any number.
        progress: called with the number of finished events.

    Raises:
        ValueError: zero events, or conditions that the bundle does not know.
    """
    out, bundle = Path(out), Path(bundle)
    if len(conditions) == 0:
        raise ValueError("zero events were asked for; give conditions with at least one row")
    if chunk < 1 or workers < 1:
        raise ValueError(f"chunk and workers must be at least 1, not {chunk} and {workers}")
    surrogate = load_bundle(bundle, threads=1)
    names = [b.name for b in surrogate.schema.given]
    asked = conditions.select_conditions(names)
    surrogate.domain.outside(asked.conditions, warn=True)
    numbers = range(-(-len(asked) // chunk))
    files = claim(out, _plan(bundle, asked, seed, chunk), len(numbers))
    tasks = [(i, dict(asked[i * chunk : (i + 1) * chunk].conditions), seed, files[i]) for i in numbers]
    missing = [task for task in tasks if not task[-1].exists()]
    done = len(asked) - sum(len(next(iter(c.values()))) for _, c, _, _ in missing)
    for size in _work(bundle, missing, workers):
        done += size
        if progress is not None:
            progress(done)
    return join(files, out, surrogate.geometry)


def _plan(bundle: Path, conditions: Events, seed: int, chunk: int) -> dict[str, Any]:
    """What makes two attempts the same: bundle, conditions, seed and chunk size."""
    folder = bundle / "bundle" if (bundle / "bundle" / MANIFEST).is_file() else bundle
    digest = hashlib.sha256()
    for name, values in conditions.conditions.items():
        digest.update(name.encode() + np.ascontiguousarray(values).tobytes())
    return {
        "bundle": sha256(folder / MANIFEST),
        "conditions": digest.hexdigest(),
        "seed": seed,
        "chunk": chunk,
        "events": len(conditions),
    }


def _work(bundle: Path, tasks: list[Any], workers: int) -> Iterator[int]:
    """Run the tasks here or in several processes; yields the number of events of each finished one."""
    if workers == 1 or len(tasks) < 2:
        _start(bundle)
        yield from map(_one, tasks)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(tasks)), context, _start, (bundle,))
    try:
        with _uninterrupted():
            futures: list[Future[int]] = [pool.submit(_one, task) for task in tasks]
        for future in futures:
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Processes that start in this block leave Ctrl-C to this one, which lets them finish the chunks that they have."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _start(bundle: Path) -> None:
    _worker["surrogate"] = load_bundle(bundle, threads=1)


def _one(task: tuple[int, Any, int, Path]) -> int:
    """Simulate one chunk and write it."""
    number, conditions, seed, path = task
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutOfDomainWarning)  # said once for all chunks
        events = _worker["surrogate"].simulate(conditions, seeds.generator(seed, "samples", number))
    storage.write(path, events)
    return len(events)
