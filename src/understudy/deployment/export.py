"""The whole chain as ONNX graphs: noise and physical conditions in, physical response out.

Pre- and post-processing are inside the graph, so whoever runs it needs no word of Understudy. Each graph has the inputs
`noise` and one per condition, a dynamic batch, and two outputs: `response`, and `unprojected`, which is the response before
thresholds and caps (parity with torch is judged there, since a cell may fall to either side of a cut by rounding).
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
from understudy.surrogate import Stage, Surrogate

OPSET = 18


@dataclass(frozen=True)
class Graph:
    """One exported graph.

    Args:
        path: the ONNX file.
        inputs: names of the conditions it takes, in order, after `noise`.
        noise: first and last-but-one column of the surrogate's noise that it takes.
    """

    path: Path
    inputs: tuple[str, ...]
    noise: tuple[int, int]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a manifest."""
        return {
            "file": self.path.name,
            "inputs": list(self.inputs),
            "noise": list(self.noise),
            "outputs": ["response", "unprojected"],
        }


class _Chain(nn.Module):
    """A surrogate or a stage with positional inputs and both outputs."""

    def __init__(self, chain: Surrogate | Stage, names: tuple[str, ...]) -> None:
        super().__init__()
        self.chain = chain
        self.names = names

    def forward(self, noise: Tensor, *values: Tensor) -> tuple[Tensor, Tensor]:
        conditions = dict(zip(self.names, values, strict=True))
        unprojected = self.chain.before_projections(noise, conditions)
        last = self.chain if isinstance(self.chain, Stage) else self.chain.last
        # a copy, so that both names survive where there is nothing to project
        return last.project(unprojected, conditions) + 0.0, unprojected


def export_graphs(surrogate: Surrogate, folder: Path) -> list[Graph]:
    """Export the graphs of a surrogate into `folder`.

    `surrogate.onnx` runs from the given conditions. Where stages produce derived conditions, `response.onnx` is the last
    stage alone, for whoever knows them already (the cells' energy sum, say).
    """
    given = tuple(b.name for b in surrogate.schema.given)
    graphs = [_export(surrogate, surrogate.noise_size, given, surrogate.schema.given, folder / "surrogate.onnx", 0)]
    if len(surrogate.stages) > 1:
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
    module = _Chain(chain, names).eval()
    with quiet(), atomic_path(path) as partial:
        torch.onnx.export(
            module,
            tuple(example),
            str(partial),
            input_names=["noise", *names],
            output_names=["response", "unprojected"],
            dynamic_shapes={"noise": {0: batch}, "values": tuple({0: batch} for _ in names)},
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            optimize=False,  # the optimiser drops factors within 1e-5 of one, which moves cells by far more than rounding
            verbose=False,
        )
    return Graph(path, names, (start, start + noise))


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
