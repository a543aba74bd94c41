"""What the peers share: the events they may see, the budget they have, and the file of their answers. Needs numpy alone.

A peer reads the training and validation events and the conditions of the test events (never their showers), trains within a
budget of processor time on one thread, and writes one shower for each test condition and one for each training condition.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ENERGY, MOMENTUM, CELLS = "incident_energy", "momentum", "cells"
BATCH = 100
"""Showers in a call whose time is measured."""


@dataclass(frozen=True)
class Known:
    """What a peer may see: conditions by name and cells [MeV] `(n, d)` of `train` and `validation`, conditions of `test`."""

    train: Mapping[str, np.ndarray]
    validation: Mapping[str, np.ndarray]
    test: Mapping[str, np.ndarray]

    @classmethod
    def read(cls, path: Path) -> Known:
        """The file that the driver writes: an array `PART/NAME` each."""
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        parts = ("train", "validation", "test")
        return cls(*({n.split("/")[1]: a for n, a in arrays.items() if n.startswith(f"{part}/")} for part in parts))

    @property
    def cells(self) -> int:
        """Number of cells."""
        return self.train[CELLS].shape[1]

    def features(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Encoded conditions `(n, k)` of train, validation and test; see `encode`, standardised on the training events."""
        raw = [encode(part) for part in (self.train, self.validation, self.test)]
        mean, width = raw[0].mean(0), raw[0].std(0)
        return tuple(((r - mean) / np.where(width > 0, width, 1.0)).astype(np.float32) for r in raw)  # type: ignore[return-value]


def encode(part: Mapping[str, np.ndarray]) -> np.ndarray:
    """The logarithm of the energy, the slopes of the momentum, and all other conditions as they are, `(n, k)`."""
    columns = []
    for name, values in part.items():
        flat = np.asarray(values, float).reshape(len(values), -1)
        if name == ENERGY:
            columns.append(np.log(flat))
        elif name == MOMENTUM:
            columns.append(flat[:, :2] / flat[:, 2:])
        elif name != CELLS:
            columns.append(flat)
    return np.concatenate(columns, axis=1)


class LogCells:
    """Cells [MeV] to logarithms and back.

    A cell without energy has no logarithm. It gets one at random, uniform over the unit below that of the lowest energy that
    the cell has in the training events, so that nothing is a spike; whatever comes back from below that energy is zero.
    """

    def __init__(self, cells: np.ndarray) -> None:
        lowest = np.where(cells > 0, cells, np.inf).min(0)
        self.lowest = np.where(np.isfinite(lowest), lowest, lowest.min())
        self.most = np.log(np.maximum(cells.max(0), self.lowest)) + 1.0

    def forward(self, cells: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Logarithms `(n, d)`, single precision."""
        filled = np.where(cells > 0, np.maximum(cells, self.lowest), self.lowest * np.exp(-generator.random(cells.shape)))
        return np.log(filled).astype(np.float32)

    def inverse(self, logarithms: np.ndarray) -> np.ndarray:
        """Energies [MeV] `(n, d)`; none is above e times the largest of the cell in the training events."""
        cells = np.exp(np.minimum(np.asarray(logarithms, float), self.most))
        return np.where(cells < self.lowest, 0.0, cells).astype(np.float32)


class Budget:
    """Processor time that a training may take: on a busy machine, waiting for others does not count."""

    def __init__(self, minutes: float) -> None:
        self.seconds = 60.0 * minutes
        self.cpu, self.wall = time.process_time(), time.perf_counter()

    @property
    def used(self) -> float:
        """Part that is used, 0 to 1."""
        return min(1.0, (time.process_time() - self.cpu) / self.seconds)

    def spent(self) -> dict[str, float]:
        """Seconds so far."""
        cpu, wall = time.process_time() - self.cpu, time.perf_counter() - self.wall
        return {"training_cpu_s": cpu, "training_wall_s": wall}


def measure(call: Callable[[], Any], showers: int = BATCH, seconds: float = 3.0) -> dict[str, float]:
    """Median milliseconds per shower of a call that makes so many, of the clock and of the processor."""
    call()
    wall: list[float] = []
    cpu: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(wall) < 3:
        started, process = time.perf_counter(), time.process_time()
        call()
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - process)
    return {"ms": 1e3 * float(np.median(wall)) / showers, "cpu_ms": 1e3 * float(np.median(cpu)) / showers}


def first_rows(features: np.ndarray, number: int = BATCH) -> np.ndarray:
    """So many rows, repeated where there are fewer."""
    return features[np.arange(number) % len(features)]


def parser(description: str, minutes: float = 10.0) -> argparse.ArgumentParser:
    """The arguments that every peer understands."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("split", type=Path, help="the events: .npz written by compare.py")
    made.add_argument("out", type=Path, help="the answers: .npz; a .json beside it says what they took")
    made.add_argument("--minutes", type=float, default=minutes, help="processor time for the training (default %(default)s)")
    made.add_argument("--seed", type=int, default=1)
    return made


def write(path: Path, test: np.ndarray, training: np.ndarray, facts: Mapping[str, Any]) -> None:
    """Write the showers at the test and training conditions, then what they took; each file appears when it is whole."""
    partial = path.with_suffix(".part.npz")
    np.savez(partial, test=np.asarray(test, np.float32), training=np.asarray(training, np.float32))
    partial.replace(path)
    note = path.with_suffix(".part.json")
    note.write_text(json.dumps(dict(facts), indent=1) + "\n", encoding="utf-8")
    note.replace(path.with_suffix(".json"))
