r"""Differences of log-likelihood between particle hypotheses to normal scores.

A DLL compares two hypotheses. Relative to one that predicts nothing (`below threshold`) every hypothesis stands alone, and $l_h =
\mathrm{DLL}_h - \mathrm{DLL}_\mathrm{bt}$ vanishes exactly where its particle could not have radiated: below its threshold in
momentum, or outside the acceptance; so does $l_\pi = -\mathrm{DLL}_\mathrm{bt}$. Columns are then equal, which no smooth density
has. Elsewhere the difference to the pion is kept as it is: at high momenta it is a small one of large numbers.

Where $l_h$ vanishes is a matter of the conditions alone. A decision tree on them finds the boxes; they are exact if tracks inside
vanish and others do not (up to `IMPURE`), else the column has none. There the scores are normal random numbers, drawn from the
event itself as for empty cells (`imputation.Draws`), and the inverse puts $\mathrm{DLL}_\mathrm{bt}$, or zero, back. Other values
become normal scores by weighted quantiles (`quantile`).
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from pydantic import Field, NonNegativeInt
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor

from understudy.registry import Given, register
from understudy.schema import Array, Schema
from understudy.transforms.base import Tensors, Transform, condition
from understudy.transforms.imputation import Draws
from understudy.transforms.quantile import interpolated, knots_of, ramps

BOXES = 12
"""Boxes of conditions in which a column vanishes, at most."""
LEAST = 0.002
"""Part of the events that must vanish for boxes to be looked for."""
IMPURE = 2e-3
"""Part of the events that may be on the wrong side of the boxes."""


@register("transforms", "log-likelihoods")
class LogLikelihoods(Transform):
    """DLLs `(n, d)` to scores `(n, d)`: normal, each column by itself.

    Args:
        schema: the events' schema; the response is one block with named columns.
        nothing: the column of the hypothesis that predicts nothing.
        boundaries: conditions on which it depends where a column vanishes.
        knots: of each column, see `quantile`.
        seed: of the random scores.

    Raises:
        ValueError: no such column or condition, or a condition that is no single number; in the fit, values that are not finite.
    """

    x: Tensor
    y: Tensor
    low: Tensor
    high: Tensor

    def __init__(
        self,
        schema: Given[Schema],
        nothing: str = "DLLbt",
        boundaries: tuple[str, ...] = ("momentum", "pseudorapidity"),
        knots: Annotated[int, Field(ge=4, le=2000)] = 128,
        seed: NonNegativeInt = 0,
    ) -> None:
        super().__init__()
        columns = [c for b in schema.response for c in (b.columns or (b.name,))]
        if nothing not in columns:
            raise ValueError(f"log-likelihoods are relative to a column, but there is no {nothing!r} among {', '.join(columns)}")
        numbers = [b.name for b in schema.given if b.width == 1 and b.kind == "continuous"]
        if odd := [name for name in boundaries if name not in numbers]:
            raise ValueError(f"log-likelihoods cannot vanish by {odd[0]!r}; these conditions are numbers: {', '.join(numbers)}")
        self.nothing, self.boundaries, self.knots, self.seed = columns.index(nothing), boundaries, knots, seed
        self.register_buffer("x", torch.empty(0, dtype=torch.float64))
        self.register_buffer("y", torch.empty(0, dtype=torch.float64))
        self.register_buffer("low", torch.empty(0))
        self.register_buffer("high", torch.empty(0))

    def _fit(self, response: Tensor, conditions: Tensors, weights: Tensor | None) -> None:
        if bool((~response.isfinite()).any()):
            raise ValueError("log-likelihoods: the response holds NaN or infinity; leave these events out")
        at = self._at(conditions).cpu().numpy()
        found = [boxes(at, column == 0) for column in self._alone(response).cpu().numpy().T]
        used = max(1, *(int((b[0] < np.inf).any(1).sum()) for b in found))
        low, high = (torch.tensor(np.stack([b[i][:used] for b in found])) for i in (0, 1))
        self._keep(low=low, high=high)
        empty = self._vanishing(conditions).cpu().numpy()
        w = np.ones(len(response)) if weights is None else weights.double().cpu().numpy()
        knots = []
        for column, gone in zip(response.double().cpu().numpy().T, empty.T, strict=True):
            kept = ~gone if w[~gone].sum() > 0 else np.ones(len(w), bool)
            knots.append(knots_of(column[kept], w[kept], self.knots))
        self._keep(x=torch.tensor(np.stack([k[0] for k in knots])), y=torch.tensor(np.stack([k[1] for k in knots])))

    def _alone(self, response: Tensor) -> Tensor:
        """Relative to the hypothesis that predicts nothing, `(n, d)`; its own column is that of the pion."""
        nothing = response[:, self.nothing : self.nothing + 1]
        return torch.where(self._own(response), nothing, response - nothing)

    def _own(self, response: Tensor) -> Tensor:
        return torch.arange(response.shape[1], device=response.device) == self.nothing

    def _at(self, conditions: Tensors) -> Tensor:
        return torch.cat([condition(conditions, name) for name in self.boundaries], 1).to(torch.float32)

    def _vanishing(self, conditions: Tensors) -> Tensor:
        """Which columns vanish, `(n, d)`."""
        at = self._at(conditions)[:, None, None, :]
        return ((at > self.low) & (at <= self.high)).all(3).any(2)

    def _forward(self, response: Tensor, conditions: Tensors) -> Tensor:
        scores = ramps(response, self.x, self.y)
        draws = Draws.of(torch.cat([response, self._at(conditions)], 1), self.seed)
        filler = torch.special.ndtri(draws(slice(None), response.shape[1], 0)).to(response)
        return torch.where(self._vanishing(conditions), filler, scores)

    def _inverse(self, response: Tensor, conditions: Tensors) -> Tensor:
        gone, values = self._vanishing(conditions), interpolated(response, self.y, self.x)
        column = slice(self.nothing, self.nothing + 1)
        nothing = torch.where(gone[:, column], 0.0, values[:, column])
        return torch.where(gone | self._own(response), nothing, values)


def boxes(at: Array, gone: Array) -> tuple[Array, Array]:
    """Lower (excluded) and upper (included) ends `(BOXES, k)` of the boxes in which a column vanishes; infinite ones are unused.

    Args:
        at: conditions `(n, k)`.
        gone: where the column is exactly zero, `(n,)`.
    """
    low, high = (np.full((BOXES, at.shape[1]), np.inf, np.float32) for _ in range(2))
    if gone.mean() < LEAST:
        return low, high
    if gone.all():
        low[0] = -np.inf
        return low, high
    tree = DecisionTreeClassifier(max_leaf_nodes=3 * BOXES, min_samples_leaf=3, random_state=0).fit(at, gone).tree_
    found: list[tuple[Array, Array]] = []
    waiting = [(0, np.full(at.shape[1], -np.inf), np.full(at.shape[1], np.inf))]
    while waiting:
        node, lower, upper = waiting.pop()
        if tree.children_left[node] < 0:
            if tree.value[node][0].argmax() == 1:
                found.append((lower, upper))
            continue
        axis, cut = tree.feature[node], tree.threshold[node]
        below, above = upper.copy(), lower.copy()
        below[axis], above[axis] = min(upper[axis], cut), max(lower[axis], cut)
        waiting += [(tree.children_left[node], lower, below), (tree.children_right[node], above, upper)]
    if len(found) > BOXES:
        size = [int(((at > a) & (at <= b)).all(1).sum()) for a, b in found]
        found = [found[i] for i in np.argsort(size)[::-1][:BOXES]]
    for k, (lower, upper) in enumerate(found):
        low[k], high[k] = lower, upper
    inside = np.any(np.all((at[:, None] > low) & (at[:, None] <= high), axis=2), axis=1)
    if (inside != gone).mean() > IMPURE:
        low[:], high[:] = np.inf, np.inf
    return low, high
