"""The whole chain as ONNX graphs: noise and physical conditions in, physical response out.

Pre- and post-processing are inside the graph, so whoever runs it needs no word of Understudy. Each graph has the inputs
`noise` and one per condition, a dynamic batch, and at least two outputs: `response`, and `unprojected`, which is the response
before thresholds and caps (parity with torch is judged there, since a cell may fall to either side of a cut by rounding). One
that has learned what is detected has two more, see `DETECTION`; the response of what is not detected means nothing.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from understudy.files import atomic_path
from understudy.schema import Block
from understudy.surrogate import DETECTED, Stage, Surrogate

OPSET = 18
DETECTION = ("detected", "probability")
"""Outputs of a graph that tells what is detected: 1 or 0, and the probability of 1, both `(n,)`."""


@dataclass(frozen=True)
class Graph:
    """One exported graph.

    Args:
        path: the ONNX file.
        inputs: names of the conditions it takes, in order, after `noise`.
        noise: first and last-but-one column of the surrogate's noise that it takes.
        detects: whether it tells what is detected.
    """

    path: Path
    inputs: tuple[str, ...]
    noise: tuple[int, int]
    detects: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a manifest."""
        return {
            "file": self.path.name,
            "inputs": list(self.inputs),
            "noise": list(self.noise),
            "outputs": ["response", "unprojected", *(DETECTION if self.detects else ())],
        }


class _Chain(nn.Module):
    """A surrogate or a stage with positional inputs and both outputs."""

    def __init__(self, chain: Surrogate | Stage, names: tuple[str, ...]) -> None:
        super().__init__()
        self.chain = chain
        self.names = names

    def forward(self, noise: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        conditions = dict(zip(self.names, values, strict=True))
        unprojected = self.chain.before_projections(noise, conditions)
        last = self.chain if isinstance(self.chain, Stage) else self.chain.last
        # a copy, so that both names survive where there is nothing to project
        response = last.project(unprojected, conditions) + 0.0
        if isinstance(self.chain, Stage) or self.chain.detection is None:
            return response, unprojected
        probability, detected = self.chain.detected(noise, conditions)
        return response, unprojected, detected, probability


def export_graphs(surrogate: Surrogate, folder: Path) -> list[Graph]:
    """Export the graphs of a surrogate into `folder`.

    `surrogate.onnx` runs from the given conditions. Where stages produce derived conditions, `response.onnx` is the last
    stage alone, for whoever knows them already (the cells' energy sum, say).
    """
    given = tuple(b.name for b in surrogate.schema.given)
    graphs = [_export(surrogate, surrogate.noise_size, given, surrogate.schema.given, folder / "surrogate.onnx", 0)]
    if any(stage.produces != DETECTED for stage in list(surrogate.stages)[:-1]):
        blocks = surrogate.schema.conditions
        start = surrogate.noise_size - surrogate.last.model.noise_size
        names = tuple(b.name for b in blocks)
        graphs.append(_export(surrogate.last, surrogate.last.model.noise_size, names, blocks, folder / "response.onnx", start))
    return graphs


def _export(
    chain: Surrogate | Stage, noise: int, names: tuple[str, ...], blocks: Iterable[Block], path: Path, start: int
) -> Graph:
    example = [torch.randn(3, noise, generator=torch.Generator().manual_seed(0))]
    for block in blocks:
        kind = torch.int64 if block.kind == "categorical" else torch.float32
        example.append(torch.ones(3, *block.shape, dtype=kind))
    batch = torch.export.Dim("batch", min=1)
    detects = isinstance(chain, Surrogate) and chain.detection is not None
    module = _Chain(chain, names).eval()
    with quiet(), atomic_path(path) as partial:
        torch.onnx.export(
            module,
            tuple(example),
            str(partial),
            input_names=["noise", *names],
            output_names=["response", "unprojected", *(DETECTION if detects else ())],
            dynamic_shapes={"noise": {0: batch}, "values": tuple({0: batch} for _ in names)},
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            optimize=False,  # the optimiser drops factors within 1e-5 of one, which moves cells by far more than rounding
            verbose=False,
        )
    return Graph(path, names, (start, start + noise), detects)


@contextmanager
def quiet() -> Any:
    """Keep the exporter's notes about itself away from the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logger.setLevel(level)
