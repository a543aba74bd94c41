r"""Differences of log-likelihood between particle hypotheses to normal scores.

A DLL compares two hypotheses. Relative to one that predicts nothing (`below threshold`) every hypothesis stands alone, and $l_h =
\mathrm{DLL}_h - \mathrm{DLL}_\mathrm{bt}$ vanishes exactly where its particle could not have radiated: below its threshold in
momentum, or outside the acceptance; so does $l_\pi = -\mathrm{DLL}_\mathrm{bt}$. Columns are then equal, which no smooth density
has. Elsewhere the difference to the pion is kept as it is: at high momenta it is a small one of large numbers.

Where $l_h$ vanishes is a matter of the conditions alone. A decision tree on them finds the boxes; they are exact if tracks inside
vanish and others do not (up to `IMPURE`), else the column has none. There the scores are normal random numbers, drawn from the
event itself as for empty cells (`imputation.Draws`), and the inverse puts $\mathrm{DLL}_\mathrm{bt}$, or zero, back. Other values
become normal scores by weighted quantiles (`quantile`).

Far above all thresholds the hypotheses' angles lie close together, and five DLLs are nearly the first terms of one Taylor
series in the squared mass: at 100 GeV, four of them give the fifth to one part in a thousand. No smooth model follows a density
that thin. `along` a condition, then, the columns are regressed on each other first, the one relative to nothing before the others
(`regressed`), class by class and in intervals of other conditions: between two `edges` lies one set of detectors.
"""

from __future__ import annotations

import functools
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
from understudy.transforms.regressed import Regressed

BOXES = 12
"""Boxes of conditions in which a column vanishes, at most."""
LEAST = 0.002
"""Part of the events that must vanish for boxes to be looked for."""
IMPURE = 2e-3
"""Part of the events that may be on the wrong side of the boxes."""


@register("transforms", "log-likelihoods")
class LogLikelihoods(Transform):
    """DLLs `(n, d)` to normal scores `(n, d)`; if regressed, that of the column `nothing` comes first.

    Args:
        schema: the events' schema; the response is one block with named columns.
        nothing: the column of the hypothesis that predicts nothing.
        boundaries: conditions on which it depends where a column vanishes.
        knots: of each column, see `quantile`.
        along: the condition in whose logarithm columns are regressed on each other; None for each column by itself.
        nodes: along it, at most.
        classes: conditions each of whose classes has a regression of its own.
        edges: of intervals of conditions that have regressions of their own, by name.
        seed: of the random scores.

    Raises:
        ValueError: no such column or condition, or one of the wrong kind, or classes and edges without `along`; in the fit,
            values that are not finite, or a condition `along` which is not above zero.
    """

    numbers: Tensor
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
        along: str | None = None,
        nodes: Annotated[int, Field(ge=2, le=1000)] = 48,
        classes: tuple[str, ...] = (),
        edges: dict[str, tuple[float, ...]] = {},  # noqa: B006 - never changed
        seed: NonNegativeInt = 0,
    ) -> None:
        super().__init__()
        columns = [c for b in schema.response for c in (b.columns or (b.name,))]
        if nothing not in columns:
            raise ValueError(f"log-likelihoods are relative to a column, but there is no {nothing!r} among {', '.join(columns)}")
        numbers = [b.name for b in schema.given if b.width == 1 and b.kind == "continuous"]
        if odd := [name for name in boundaries if name not in numbers]:
            raise ValueError(f"log-likelihoods cannot vanish by {odd[0]!r}; these conditions are numbers: {', '.join(numbers)}")
        numbered = [b.name for b in schema.given if b.width == 1 and b.kind == "categorical"]
        for names, allowed, what in (
            ((along,) if along else (), numbers, "numbers"),
            (classes, numbered, "classes"),
            (edges, numbers, "numbers"),
        ):
            if odd := [name for name in names if name not in allowed]:
                raise ValueError(
                    f"log-likelihoods cannot be regressed by {odd[0]!r}; these conditions are {what}: {', '.join(allowed)}"
                )
        if along is None and (classes or edges):
            raise ValueError("log-likelihoods have 'classes' or 'edges', which go with a regression 'along' a condition; name it")
        self.nothing, self.boundaries, self.knots, self.seed = columns.index(nothing), boundaries, knots, seed
        self.along, self.classes, self.edges = along, classes, {name: sorted(cuts) for name, cuts in edges.items()}
        self.order = [self.nothing, *(i for i in range(len(columns)) if i != self.nothing)]
        self.regressed = Regressed(nodes, knots) if along else None
        self.register_buffer("numbers", torch.empty(0, dtype=torch.int64))
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
        if self.regressed is not None:
            self._fit_regressed(self.regressed, response, conditions, empty, w)
            return
        knots = []
        for column, gone in zip(response.double().cpu().numpy().T, empty.T, strict=True):
            kept = ~gone if w[~gone].sum() > 0 else np.ones(len(w), bool)
            knots.append(knots_of(column[kept], w[kept], self.knots))
        self._keep(x=torch.tensor(np.stack([k[0] for k in knots])), y=torch.tensor(np.stack([k[1] for k in knots])))

    def _fit_regressed(self, regressed: Regressed, response: Tensor, conditions: Tensors, empty: Array, w: Array) -> None:
        if not bool((condition(conditions, str(self.along)) > 0).all()):
            raise ValueError(f"log-likelihoods: {self.along!r}, along whose logarithm they are regressed, must be above 0")
        classes = [condition(conditions, name) for name in self.classes]
        self._keep(numbers=torch.tensor([int(c.max()) + 1 for c in classes], dtype=torch.int64))
        cells = int(self.numbers.prod()) * int(np.prod([len(cuts) + 1 for cuts in self.edges.values()]))
        position, cell = (v.cpu().numpy() for v in self._where(conditions))
        filler = np.asarray(self._filler(response, conditions).double().cpu())
        x = response.double().cpu().numpy()
        regressed.fit(x[:, self.order], filler[:, self.order], empty[:, self.order], position, cell, cells, w)

    def _where(self, conditions: Tensors) -> tuple[Tensor, Tensor]:
        """Logarithm of the condition along which they are regressed, and the number of the cell, `(n,)` each."""
        position = condition(conditions, str(self.along))[:, 0].double().log()
        cell = torch.zeros_like(position, dtype=torch.int64)
        for k, name in enumerate(self.classes):
            number = self.numbers[k]
            cell = cell * number + torch.minimum(condition(conditions, name)[:, 0].long().clamp(min=0), number - 1)
        for name, cuts in self.edges.items():
            value = condition(conditions, name)[:, 0]
            cell = cell * (len(cuts) + 1) + sum((value > cut).long() for cut in cuts)
        return position, cell

    def _filler(self, response: Tensor, conditions: Tensors) -> Tensor:
        """A normal random number for each, `(n, d)`."""
        draws = Draws.of(torch.cat([response, self._at(conditions)], 1), self.seed)
        normal: Tensor = torch.special.ndtri(draws(slice(None), response.shape[1], 0))
        return normal.to(response)

    def _alone(self, response: Tensor) -> Tensor:
        """Relative to the hypothesis that predicts nothing, `(n, d)`; its own column is that of the pion."""
        nothing = response[:, self.nothing : self.nothing + 1]
        return torch.where(self._own(response), nothing, response - nothing)

    def _own(self, response: Tensor) -> Tensor:
        mine: Tensor = torch.arange(response.shape[1], device=response.device) == self.nothing
        return mine

    def _at(self, conditions: Tensors) -> Tensor:
        return torch.cat([condition(conditions, name) for name in self.boundaries], 1).to(torch.float32)

    def _vanishing(self, conditions: Tensors) -> Tensor:
        """Which columns vanish, `(n, d)`."""
        at, (d, number, _) = self._at(conditions), self.low.shape
        within = []
        for k in range(at.shape[1]):  # all boxes side by side: engines are slow in reducing truth values
            low, high = (ends[:, :, k].T.flatten() for ends in (self.low, self.high))
            within.append((at[:, k : k + 1] > low) & (at[:, k : k + 1] <= high))
        inside = functools.reduce(torch.logical_and, within)
        found: Tensor = functools.reduce(torch.logical_or, [inside[:, d * j : d * (j + 1)] for j in range(number)])
        return found

    def _forward(self, response: Tensor, conditions: Tensors) -> Tensor:
        filler, gone = self._filler(response, conditions), self._vanishing(conditions)
        if self.regressed is None:
            return torch.where(gone, filler, ramps(response, self.x, self.y))
        x, filler, gone = (v[:, self.order] for v in (response.double(), filler, gone))
        scores: Tensor = self.regressed(x, filler, gone, *self._where(conditions))
        return scores.to(response.dtype)

    def _inverse(self, response: Tensor, conditions: Tensors) -> Tensor:
        gone = self._vanishing(conditions)
        if self.regressed is None:
            values = interpolated(response, self.y, self.x)
        else:
            made = self.regressed.inverse(response, *self._where(conditions))
            values = torch.cat([made[:, 1 : self.nothing + 1], made[:, :1], made[:, self.nothing + 1 :]], 1)
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
