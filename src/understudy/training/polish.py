r"""The last linear maps of a trained network, brought to the optimum of the whole training split.

Small batches leave noise in the weights: a probability that should be 0.95 in a region ends at 0.953, which the loss hardly
sees and an efficiency does. With everything before held fixed the last linear map is a regression of few parameters, whose
likelihood is well-behaved; some steps of L-BFGS with all training events (Liu and Nocedal 1989) find its optimum. There, for
a probability, the sum of predictions is the number of events that were seen, for every feature of the last layer.
"""

from __future__ import annotations

import torch
from torch import Tensor

from understudy.models.base import Batch, Model

ROWS = 65_536
"""Events that are looked at together."""


def polish(model: Model, data: Batch, steps: int, seed: int = 0) -> None:
    """Minimise the model's misfit of all training events over its last linear maps; weights stay as they are if it rises.

    Args:
        model: with a `misfit`, on any device.
        data: the whole training split, on any device.
        steps: of L-BFGS.
        seed: of the misfit's randomness; the same in every step.

    Raises:
        ValueError: a model whose loss does not tell how good it is.
    """
    device = next(model.parameters()).device
    maps = model.last_maps()
    few = _rows(data, slice(0, 16), device)
    _misfit(model, few, torch.Generator(device).manual_seed(seed))
    before = [p.detach().clone() for p in maps]
    held = [p for p in model.parameters() if p.requires_grad and all(p is not q for q in maps)]
    for p in held:
        p.requires_grad_(False)
    optimiser = torch.optim.LBFGS(maps, max_iter=steps, history_size=20, line_search_fn="strong_wolfe", tolerance_change=1e-12)

    def loss() -> Tensor:
        optimiser.zero_grad()
        total = torch.zeros((), device=device, dtype=torch.float64)
        for start in range(0, len(data), ROWS):
            part = _rows(data, slice(start, start + ROWS), device)
            generator = torch.Generator(device).manual_seed(seed + start)
            share = _misfit(model, part, generator) * (len(part) / len(data))
            share.backward()  # type: ignore[no-untyped-call]
            total += share.detach()
        return total

    try:
        with torch.enable_grad():
            first = float(loss())
            optimiser.step(loss)  # type: ignore[arg-type]
            last = float(loss())
    finally:
        for p in held:
            p.requires_grad_(True)
        optimiser.zero_grad()
    if not last <= first:
        with torch.no_grad():
            for p, old in zip(maps, before, strict=True):
                p.copy_(old)


def _misfit(model: Model, batch: Batch, generator: torch.Generator) -> Tensor:
    found = model.misfit(batch, generator)
    if found is None or not model.last_maps():
        raise ValueError("'polish' needs a model that is trained by its likelihood (spline or detection); leave it out")
    return found


def _rows(data: Batch, rows: slice, device: torch.device) -> Batch:
    def cut(values: Tensor | None) -> Tensor | None:
        return None if values is None else values[rows].to(device)

    response, conditions = data.response[rows].to(device), data.conditions[rows].to(device)
    return Batch(response, conditions, cut(data.weights), cut(data.index), {k: v[rows].to(device) for k, v in data.given.items()})
