"""Exported graphs under ONNX Runtime: a Simulator that needs neither torch nor the recipe's classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from understudy.conditions import answered, condition_blocks, flagged, together
from understudy.domain import Domain
from understudy.events import Events
from understudy.geometry import Calorimeter
from understudy.schema import Array, Schema
from understudy.simulator import Conditions
from understudy.versions import available_cores


class Session:
    """One graph in ONNX Runtime.

    Args:
        graph: path of the ONNX file.
        threads: among which the rows of a batch are divided; all cores if None. Networks here are small: threads inside each
            of their operators would mostly wait for one another.
    """

    def __init__(self, graph: str | Path, threads: int | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.threads = threads or available_cores()
        self._pool = ThreadPoolExecutor(self.threads) if self.threads > 1 else None  # starts threads when it needs them
        try:
            self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises its own, undocumented classes
            reason = str(error).splitlines()[0]
            raise ValueError(f"{graph} is not a usable ONNX graph ({reason}); export it again") from None
        self._inputs = [i.name for i in self._session.get_inputs()]
        self.detects = "detected" in [o.name for o in self._session.get_outputs()]

    def run(self, noise: Array, conditions: Mapping[str, Any]) -> tuple[Array, Array]:
        """Response and response before projections, each `(n, d)`, for noise `(n, k)` and conditions by name."""
        response, unprojected = self._outputs(["response", "unprojected"], noise, conditions)
        return response, unprojected

    def response(self, noise: Array, conditions: Mapping[str, Any]) -> Array:
        """The response `(n, d)` alone."""
        return self._outputs(["response"], noise, conditions)[0]

    def answer(self, noise: Array, conditions: Mapping[str, Any]) -> tuple[Array, Array | None]:
        """The response `(n, d)` and, where the graph tells it, what is detected, boolean `(n,)`."""
        if not self.detects:
            return self.response(noise, conditions), None
        response, detected = self._outputs(["response", "detected"], noise, conditions)
        return response, detected > 0

    def probability(self, noise: Array, conditions: Mapping[str, Any]) -> tuple[Array, Array]:
        """The probability to be detected and what is, 1 or 0, both `(n,)`, of a graph that tells it."""
        probability, detected = self._outputs(["probability", "detected"], noise, conditions)
        return probability, detected

    def _outputs(self, names: list[str], noise: Array, conditions: Mapping[str, Any]) -> list[Array]:
        feed = {"noise": noise, **{name: np.asarray(conditions[name]) for name in self._inputs if name != "noise"}}
        part = -(-len(noise) // self.threads)
        if self._pool is None or part == len(noise):
            whole: list[Array] = self._session.run(names, feed)
            return whole
        starts = range(0, len(noise), part)
        parts = self._pool.map(lambda i: self._session.run(names, {k: v[i : i + part] for k, v in feed.items()}), starts)
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


@dataclass(frozen=True)
class OnnxSurrogate:
    """A bundle's graphs as a Simulator.

    Args:
        schema: blocks of the events.
        sessions: each graph with the conditions it takes and the columns of the noise that are its own.
        noise_size: length of the noise vector of the whole chain.
        domain: ranges of the conditions that were trained on.
        geometry: where the response's numbers sit.
        manifest: the bundle's manifest.
    """

    schema: Schema
    sessions: Sequence[tuple[frozenset[str], tuple[int, int], Session]]
    noise_size: int
    domain: Domain
    geometry: Calorimeter | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict)

    def simulate(self, conditions: Conditions, generator: np.random.Generator, chunk: int = 2000) -> Events:
        """Simulate every row of `conditions` once.

        Args:
            conditions: arrays by block name, physical units; all given conditions of the schema. Derived conditions (the
                cells' energy sum, say) may be given too, all of them, and are then used instead of drawn.
            generator: source of the noise.
            chunk: events per run of the graph, at most; the result does not depend on it beyond rounding.

        Returns:
            Events with the response, its mask where the graph tells it, and a flag per event, `aux["out_of_domain"]`.

        Raises:
            ValueError: a condition is missing, unknown, NaN, or of the wrong shape.
        """
        blocks = condition_blocks(self.schema, conditions)
        events = Events(Schema(blocks, self.schema.response), {b.name: conditions[b.name] for b in blocks}, where="conditions")
        (start, stop), session = self._graph_for(frozenset(events.conditions))
        noise = generator.standard_normal((len(events), self.noise_size), dtype=np.float32)
        packed = np.empty((len(events), self.schema.response_width), np.float32)
        chunk = together(self.schema.response_width, chunk)
        detected = np.ones(len(events), bool) if session.detects else None
        for first in range(0, len(events), chunk):
            rows = slice(first, first + chunk)
            packed[rows], seen = session.answer(noise[rows, start:stop], {k: v[rows] for k, v in events.conditions.items()})
            if detected is not None and seen is not None:
                detected[rows] = seen
        return flagged(answered(events, packed, detected), self.domain)

    def detection_probability(self, conditions: Conditions, chunk: int = 8192) -> Array | None:
        """The probability of each row of `conditions` to be detected, `(n,)`; None where the bundle tells none."""
        given = {b.name: np.asarray(conditions[b.name], np.float32) for b in self.schema.given}
        (start, stop), session = self._graph_for(frozenset(given))
        if not session.detects:
            return None
        n = len(next(iter(given.values())))
        rows = [slice(first, first + chunk) for first in range(0, n, chunk)]
        noise = np.zeros((min(n, chunk), stop - start), np.float32)
        parts = [session.probability(noise[: len(range(*r.indices(n)))], {k: v[r] for k, v in given.items()})[0] for r in rows]
        return np.concatenate(parts)

    def _graph_for(self, names: frozenset[str]) -> tuple[tuple[int, int], Session]:
        for inputs, noise, session in self.sessions:
            if inputs == names:
                return noise, session
        choices = " or ".join(", ".join(sorted(inputs)) for inputs, _, _ in self.sessions)
        raise ValueError(f"no graph of this bundle takes the conditions {', '.join(sorted(names))}; give {choices}")
