"""Milliseconds per event on one thread, torch and ONNX Runtime side by side in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from understudy.deployment.runtime import Session
from understudy.surrogate import Surrogate, as_tensors
from understudy.threads import threads
from understudy.versions import hardware

BATCHES = (1, 100, 10_000)
LONGEST = 5.0
"""Seconds that one call may take; of a batch that would take longer only a part is timed, and that is said."""


def measure_timing(
    surrogate: Surrogate, graph: Path, conditions: Mapping[str, Any], batches: tuple[int, ...] = BATCHES, budget_s: float = 1.5
) -> dict[str, Any]:
    """Median time per event of the whole chain, noise included, on one thread.

    Args:
        surrogate: the torch chain.
        graph: its exported graph.
        conditions: conditions by name; rows are repeated to fill a batch.
        batches: batch sizes.
        budget_s: seconds spent on each engine and batch size.

    Returns:
        `{"hardware", "threads", "torch": {batch: ms}, "onnx": {batch: ms}}`, milliseconds per event; and
        `{"timed": {batch: events}}` of batches of which only so many events were timed, since the whole would take too long.
    """
    session = Session(graph, threads=1)
    engines: dict[str, dict[str, float]] = {"torch": {}, "onnx": {}}
    timed: dict[str, int] = {}
    with threads(1):
        for wanted in batches:
            batch = affordable(wanted, [times for times in engines.values() if times])
            if batch < wanted:
                timed[str(wanted)] = batch
            rows = np.arange(batch) % len(next(iter(conditions.values())))
            given = {b.name: np.asarray(conditions[b.name])[rows] for b in surrogate.schema.given}
            calls = {
                "torch": _torch_call(surrogate, given, batch),
                "onnx": _onnx_call(session, surrogate.noise_size, given, batch),
            }
            for name, seconds in _medians(calls, budget_s).items():
                engines[name][str(wanted)] = 1e3 * seconds / batch
    return {"hardware": hardware(), "threads": 1, **engines, **({"timed": timed} if timed else {})}


def affordable(batch: int, known: Sequence[Mapping[str, float]]) -> int:
    """As much of a batch as one call takes `LONGEST` seconds for, by the slowest engine's last time [ms per event]."""
    slowest = max((list(times.values())[-1] for times in known), default=0.0)
    return batch if batch * slowest <= 1e3 * LONGEST else max(1, int(1e3 * LONGEST / slowest))


def _torch_call(surrogate: Surrogate, given: Mapping[str, Any], batch: int) -> Callable[[], Any]:
    tensors = as_tensors(given)
    generator = torch.Generator().manual_seed(0)

    def call() -> Any:
        with torch.inference_mode():
            return surrogate(torch.randn(batch, surrogate.noise_size, generator=generator), tensors)

    surrogate.eval()
    return call


def _onnx_call(session: Session, noise_size: int, given: Mapping[str, Any], batch: int) -> Callable[[], Any]:
    generator = np.random.default_rng(0)

    def call() -> Any:
        return session.response(generator.standard_normal((batch, noise_size), dtype=np.float32), given)

    return call


def _medians(calls: Mapping[str, Callable[[], Any]], budget_s: float) -> dict[str, float]:
    """Median seconds per call, the engines taking turns so that a busy machine slows all of them alike."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    end = time.perf_counter() + budget_s * len(calls)
    while time.perf_counter() < end or len(next(iter(spent.values()))) < 3:
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            spent[name].append(time.perf_counter() - start)
    return {name: float(np.median(times)) for name, times in spent.items()}
