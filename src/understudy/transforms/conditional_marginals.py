r"""Every number of a response as a standard normal one, given the conditions.

A network gives each column's location $\mu_c$ and spread $\sigma_c$ at the conditions, by the likelihood of a normal variable
that is cut off where the column is empty (`censored.py`); tables that columns share take what residuals do beyond that
(`residual_tables.py`). A cell that is not empty becomes the normal score of its residual,

$$z_c = R^{-1}\!\left(\frac{y_c - \mu_c}{\sigma_c}\right), \qquad y_c = 1 + \frac{(x_c/t_c)^p - 1}{p},$$

and an empty one a random number below the score at which a cell becomes empty, drawn given the other cells
(`imputation.py`): so $z_c \sim N(0, 1)$ for every cell at all conditions, and what is left to a model is how cells depend on each
other. The way back needs no random numbers: scores below that of emptiness are empty cells.
"""

from __future__ import annotations

import functools
import math
from typing import Annotated

import numpy as np
import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from understudy.geometry import Calorimeter
from understudy.networks.dense import Dense
from understudy.registry import Given, register
from understudy.schema import Schema
from understudy.transforms.base import PIECE, Progress, Tensors, Transform, part_of, silent
from understudy.transforms.censored import EMPTY, learn, located
from understudy.transforms.censored_correlation import censored_correlation, pair_kinds
from understudy.transforms.features import FeatureEncoder
from understudy.transforms.functions import LARGEST_EXPONENT
from understudy.transforms.imputation import Draws, below, precision_of, sweep
from understudy.transforms.moments import mean_and_scale
from understudy.transforms.over_threshold import SQUARINGS
from understudy.transforms.residual_tables import BINS, CAP, ROW, Sharing, interpolated, place, solved

ATOM = 0.005
"""Fraction of equal lowest values from which on a column without a threshold is empty there."""
JUST = 2e-4
"""Empty cells lie at least so far below `EMPTY`, others above it: rounding must not take a cell across."""
FARTHEST_BELOW = -20.0
"""Where a column that is always empty comes out, if empty columns are not rectified: below all others."""
NEVER_EMPTY = CAP
"""Where a column that is never empty has its limit."""
MOST = 20_000
"""Events that tables and correlations are learned from at most; of more, evenly spaced ones."""
AT_ONCE = 256
"""Events whose scores are found together; bounds the memory to that times columns times knots."""
SHARES = {"network": 0.5, "tables": 0.2}
"""Parts of the fit, as progress counts them; the rest are the correlations of empty cells."""


@register("transforms", "conditional-marginals")
class ConditionalMarginals(Transform):
    """Columns `(n, d)` to normal scores given the conditions `(n, d)`.

    Exact both ways, up to rounding, for cells that are zero or at least at their threshold (within `JUST` of it they come back
    that much above it); without thresholds for any values, columns being empty at their lowest value if at least `ATOM` of
    the events have it. A column that never varies keeps its value, and has the score 0.

    Args:
        schema: the events' schema.
        features: encodings of the conditions, as of a stage; tables are learned in bins of the first one.
        geometry: the calorimeter, whose layers have tables of their own; without one, and without thresholds, each column has.
        thresholds: energy of each layer's cells [MeV] by name of the layer, or one for all cells; None for columns of any
            meaning.
        power: $p$.
        energy_bins: bins of the first feature.
        layers: hidden layers of the network.
        width: neurons in each of them.
        epochs: passes of the network through the training split.
        batch_size: events in a batch of it.
        lr: its highest learning rate.
        impute: sweeps in which empty cells are drawn given the others, and their correlations found; 0 draws them independently.
        rectify: False leaves columns without a threshold that come out empty below their lowest value, all in one scale, for
            transforms whose inverse takes such numbers for empty ones and asks which is the highest (`over-threshold`).
        seed: of the random numbers of the fit, and of empty cells, which depend on the event besides.

    Raises:
        ValueError: unknown features or layers; in the fit, cells above zero and below their threshold, values that are not
            finite, or another number of columns.
    """

    lowest: Tensor
    scale: Tensor
    atom: Tensor
    constant: Tensor
    table: Tensor
    centres: Tensor
    precision: Tensor
    group: Tensor
    network: Dense

    def __init__(
        self,
        schema: Given[Schema],
        features: dict[str, str],
        geometry: Given[Calorimeter | None] = None,
        thresholds: dict[str, PositiveFloat] | PositiveFloat | None = None,
        power: Annotated[float, Field(gt=0, le=1)] = 0.25,
        energy_bins: Annotated[int, Field(ge=1, le=50)] = 6,
        layers: PositiveInt = 2,
        width: PositiveInt = 128,
        epochs: PositiveInt = 25,
        batch_size: PositiveInt = 256,
        lr: PositiveFloat = 3e-3,
        impute: NonNegativeInt = 3,
        rectify: bool = True,
        seed: NonNegativeInt = 0,
    ) -> None:
        super().__init__()
        if thresholds is not None and geometry is None:
            raise ValueError("conditional-marginals needs a geometry where it has thresholds; name it in the recipe")
        self.encoder = FeatureEncoder(features, schema)
        self.geometry, self.power = geometry, power
        self.epochs, self.batch_size, self.lr = epochs, batch_size, lr
        self.impute, self.rectify, self.seed, self.energy_bins = impute, rectify, seed, energy_bins
        columns = schema.response_width if geometry is None else geometry.n_cells
        groups = torch.arange(columns) if geometry is None else torch.as_tensor(geometry.layer_of_cell, dtype=torch.int64)
        least = torch.zeros(columns)
        if thresholds is not None and geometry is not None:
            each = thresholds if isinstance(thresholds, dict) else dict.fromkeys(geometry.layer_names, thresholds)
            least = torch.as_tensor(geometry.per_layer(each), dtype=torch.float32)
        self.with_thresholds = thresholds is not None
        self.layers, self.width = layers, width
        self.network = self._untrained(columns).requires_grad_(False)
        self.groups = int(groups.max()) + 1
        self.register_buffer("group", groups, persistent=False)
        self.register_buffer("lowest", torch.zeros(columns))
        self.register_buffer("scale", least)
        self.register_buffer("atom", torch.zeros(columns, dtype=torch.bool))
        self.register_buffer("constant", torch.zeros(columns, dtype=torch.bool))
        self.register_buffer("table", torch.zeros(energy_bins, self.groups * BINS * ROW))
        self.register_buffer("centres", torch.zeros(energy_bins))
        self.register_buffer("precision", torch.empty(0))

    def _untrained(self, columns: int) -> Dense:
        rng, inputs = torch.Generator().manual_seed(self.seed), self.encoder.size
        return Dense(inputs=inputs, outputs=2 * columns, layers=self.layers, width=self.width, activation="silu", rng=rng)

    def _fit(self, response: Tensor, conditions: Tensors, weights: Tensor | None) -> None:
        self._fit_watched(response, conditions, weights, silent)

    def _fit_watched(self, response: Tensor, conditions: Tensors, weights: Tensor | None, progress: Progress) -> None:
        self._check(response)
        rng = torch.Generator().manual_seed(self.seed)
        self.encoder.fit(conditions, weights)
        self._fit_columns(response, weights)
        features, y = self.encoder(conditions), self._scored(response)
        w = None if weights is None else (weights / weights.mean()).to(torch.float32)
        network, tables = SHARES.values()
        self.network.load_state_dict(self._untrained(len(self.scale)).state_dict())
        learn(
            self.network,
            features,
            y,
            w,
            self.atom,
            self.constant,
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            rng=rng,
            progress=lambda part: progress(network * part),
        )
        keep = torch.linspace(0, len(y) - 1, min(len(y), MOST), dtype=torch.float64).round().long()
        kept = None if w is None else w[keep]
        self._fit_tables(features[keep], y[keep], kept, lambda part: progress(network + tables * part))
        if self.impute and bool((self.atom & ~self.constant).any()):
            draws, before = Draws.of(torch.cat([response, features], 1)[keep], self.seed), network + tables
            self._fit_correlations(features[keep], y[keep], kept, draws, lambda part: progress(before + (1 - before) * part))
        progress(1.0)

    def _check(self, response: Tensor) -> None:
        columns = len(self.scale)
        if response.shape[1] != columns:
            raise ValueError(f"conditional-marginals was made for {columns} columns, but the response has {response.shape[1]}")
        if bad := int((~response.isfinite()).any(1).sum()):
            raise ValueError(f"conditional-marginals: the response of {bad} events is not finite; leave these events out")

    def _fit_columns(self, response: Tensor, weights: Tensor | None) -> None:
        lowest = response.min(0).values
        constant = response.max(0).values == lowest
        if self.with_thresholds:
            if bool((low := (response != 0) & (response < self.scale * (1 - 1e-6))).any()):
                raise ValueError(
                    f"conditional-marginals: {int(low.sum())} cells hold something, but less than their threshold (the least"
                    f" {float(response[low].min()):g} MeV); apply the same threshold as a projection"
                )
            self._keep(lowest=torch.where(constant, lowest, 0.0), atom=torch.ones_like(constant), constant=constant)
            return
        mean, scale = mean_and_scale(response, weights)
        scale = scale if self.rectify else scale.mean().expand(len(scale))
        atom = ((response == lowest).float().mean(0) >= ATOM) | constant
        self._keep(lowest=torch.where(atom, lowest, mean), scale=scale, atom=atom, constant=constant)

    def _scored(self, response: Tensor) -> Tensor:
        """$y$, `(n, d)`: zero where a cell is empty or its column never varies, above `EMPTY` where a cell is not empty."""
        if self.with_thresholds:
            y = ((response / self.scale).clamp(min=1.0).pow(self.power) - 1) / self.power
            return torch.where((response > 0) & ~self.constant, EMPTY + y.clamp(min=JUST), 0.0)
        y = (response - self.lowest) / self.scale
        return torch.where(self.atom, torch.where((y > 0) & ~self.constant, EMPTY + y.clamp(min=JUST), 0.0), y)

    def _unscored(self, y: Tensor) -> Tensor:
        """The response `(n, d)` of $y$, empty at and below `EMPTY`."""
        if not self.with_thresholds:
            over = (y - EMPTY).clamp(min=0.0) if self.rectify else torch.where(self.constant, FARTHEST_BELOW, y - EMPTY)
            return self.lowest + self.scale * torch.where(self.atom, over, y)
        over = self.power * y + (1 - self.power * EMPTY)
        return torch.where(over > 1, self.scale * self._powered(over), self.lowest)

    def _powered(self, over: Tensor) -> Tensor:
        """`over` to the power $1/p$, where it is above 1."""
        if self.power not in SQUARINGS:
            return (over.clamp(min=1.0).log() / self.power).clamp(max=LARGEST_EXPONENT).exp()
        over = over.clamp(1.0, math.exp(LARGEST_EXPONENT * self.power))
        for _ in range(SQUARINGS[self.power]):
            over = over * over
        return over

    def _located(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """$\\mu$, $\\sigma$ and the limit $b$ below which a cell is empty, `(n, d)` each."""
        mean, spread = located(self.network, features)
        limit = (mean - EMPTY) / spread
        return mean, spread, limit if self.with_thresholds else torch.where(self.atom, limit, NEVER_EMPTY)

    def _fit_tables(self, features: Tensor, y: Tensor, weights: Tensor | None, progress: Progress) -> None:
        parts = [self._located(piece) for piece in features.split(PIECE)]  # type: ignore[no-untyped-call]
        mean, spread, limit = (torch.cat(p) for p in zip(*parts, strict=True))
        residual, empty = (y - mean) / spread, self.atom & (y <= 0)
        w = np.ones(len(y)) if weights is None else weights.numpy().astype(np.float64)
        sharing = Sharing(features[:, 0].numpy(), self.group.numpy(), self.atom.numpy(), ~self.constant.numpy())
        found, centres = sharing.tables(residual.numpy(), limit.numpy(), empty.numpy(), w, self.energy_bins, progress)
        self._keep(table=torch.tensor(found.reshape(self.energy_bins, -1)), centres=torch.tensor(centres))

    def _fit_correlations(self, features: Tensor, y: Tensor, weights: Tensor | None, draws: Draws, progress: Progress) -> None:
        z, bound, empty = self._scores(features, y, draws)
        kinds = pair_kinds(y.shape[1], self.geometry)
        correlation = censored_correlation(z, bound, empty, self.atom & ~self.constant, weights, kinds)
        self._keep(precision=torch.linalg.inv(correlation))
        for turn in range(1, 2 * self.impute + 1):
            if turn > self.impute:
                self._keep(precision=precision_of(z, weights))
            told = functools.partial(part_of, progress, turn - 1, 2 * self.impute)
            z = sweep(z, bound, empty, self.precision, draws, turn, told)

    def _tables_at(self, features: Tensor) -> Tensor:
        """Each event's tables `(n, groups * BINS * ROW)`, linear between the centres of the bins of the first feature.

        With one bin, those of all events `(groups * BINS * ROW,)`.
        """
        first, centres = features[:, :1], self.centres
        if len(centres) == 1:
            return self.table[0]
        along = ((first - centres[:-1]) / (centres[1:] - centres[:-1])).clamp(0.0, 1.0)
        share = torch.cat([torch.ones_like(first), along], 1) - torch.cat([along, torch.zeros_like(first)], 1)
        return share @ self.table

    def _placed(self, limit: Tensor) -> tuple[Tensor, Tensor]:
        """The table of each cell and how far it is towards the next one, `(n, d)` each."""
        bins, towards = place(limit)
        return bins + self.group * float(BINS) if self.groups > 1 else bins, towards

    def _scores(self, features: Tensor, y: Tensor, draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
        """Normal scores, empty cells drawn independently; the bounds of empty cells; which cells are empty."""
        z, bound = torch.empty_like(y), torch.empty_like(y)
        empty = self.atom & (y <= 0)
        for start in range(0, len(y), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            mean, spread, limit = self._located(features[rows])
            table, (row, towards) = self._tables_at(features[rows]), self._placed(limit)
            seen = solved(table, row, towards, limit, (y[rows] - mean) / spread)
            bound[rows] = solved(table, row, towards, limit, (EMPTY - JUST - mean) / spread)
            z[rows] = torch.where(empty[rows], below(bound[rows], draws(rows, y.shape[1], 0)), seen)
        return z, bound, empty

    def _forward(self, response: Tensor, conditions: Tensors) -> Tensor:
        features = self.encoder(conditions)
        draws = Draws.of(torch.cat([response, features], 1), self.seed)
        z, bound, empty = self._scores(features, self._scored(response), draws)
        for turn in range(1, self.impute + 1) if self.precision.numel() else ():
            z = sweep(z, bound, empty, self.precision, draws, turn)
        return torch.where(self.constant, 0.0, z).to(response.dtype)

    def _inverse(self, response: Tensor, conditions: Tensors) -> Tensor:
        features = self.encoder(conditions)
        mean, spread, limit = self._located(features)
        row, towards = self._placed(limit)
        return self._unscored(mean + spread * interpolated(self._tables_at(features), row, towards, limit, response))
