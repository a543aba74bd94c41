r"""Every number of a response as a standard normal one, given the conditions.

A network gives each column's location $\mu_c$ and spread $\sigma_c$ at the conditions, by the likelihood of a normal variable
that is cut off where the column is empty (J. Tobin, Econometrica 26 (1958) 24); tables that columns share take what
residuals do beyond that (`residual_tables.py`). A cell that is not empty becomes the normal score of its residual,

$$z_c = R^{-1}\!\left(\frac{y_c - \mu_c}{\sigma_c}\right), \qquad y_c = 1 + \frac{(x_c/t_c)^p - 1}{p},$$

and an empty one a random number below the score at which a cell becomes empty, drawn given the other cells
(`imputation.py`): so $z_c \sim N(0, 1)$ for every cell at all conditions, and what is left to a model is how cells depend on each
other. The way back needs no random numbers: scores below that of emptiness are empty cells.
"""

from __future__ import annotations

import zlib
from typing import Annotated

import numpy as np
import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from understudy.geometry import Calorimeter
from understudy.networks.dense import Dense
from understudy.registry import Given, register
from understudy.schema import Schema
from understudy.transforms.base import PIECE, Tensors, Transform
from understudy.transforms.features import FeatureEncoder
from understudy.transforms.functions import LARGEST_EXPONENT
from understudy.transforms.imputation import below, precision_of, sweep
from understudy.transforms.moments import mean_and_scale
from understudy.transforms.residual_tables import BINS, KNOTS, Residuals, interpolated, nearest, place, solved, tables

ATOM = 0.005
"""Fraction of equal lowest values from which on a column without a threshold is empty there."""
EMPTY = 1.0
"""Values above it are cells, values at zero are empty."""
NEVER_EMPTY = 20.0
"""Where a column that is never empty has its limit."""
SPREADS = (-5.0, 4.0)
"""Range of the logarithm of the spread."""
MOST = 20_000
"""Events that tables and correlations are learned from at most; of more, evenly spaced ones."""
AT_ONCE = 256
"""Events whose scores are found together; bounds the memory to that times columns times knots."""


@register("transforms", "conditional-marginals")
class ConditionalMarginals(Transform):
    """Columns `(n, d)` to normal scores given the conditions `(n, d)`.

    Exact both ways, up to rounding, for cells that are zero or at least at their threshold; without thresholds for any
    values, columns being empty at their lowest value if at least `ATOM` of the events have it. A column that never varies stays
    as it is.

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
        seed: of the random numbers of the fit, and of empty cells, which depend on the events besides.

    Raises:
        ValueError: unknown features or layers; in the fit, cells above zero and below their threshold.
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
        seed: NonNegativeInt = 0,
    ) -> None:
        super().__init__()
        if thresholds is not None and geometry is None:
            raise ValueError("conditional-marginals needs a geometry where it has thresholds; name it in the recipe")
        self.encoder = FeatureEncoder(features, schema)
        self.geometry, self.power = geometry, power
        self.epochs, self.batch_size, self.lr = epochs, batch_size, lr
        self.impute, self.seed, self.energy_bins = impute, seed, energy_bins
        columns = schema.response_width if geometry is None else geometry.n_cells
        groups = torch.arange(columns) if geometry is None else torch.as_tensor(geometry.layer_of_cell, dtype=torch.int64)
        least = torch.zeros(columns)
        if thresholds is not None and geometry is not None:
            each = thresholds if isinstance(thresholds, dict) else dict.fromkeys(geometry.layer_names, thresholds)
            least = torch.as_tensor(geometry.per_layer(each), dtype=torch.float32)
        self.with_thresholds = thresholds is not None
        rng = torch.Generator().manual_seed(seed)
        self.network = Dense(
            inputs=self.encoder.size, outputs=2 * columns, layers=layers, width=width, activation="silu", rng=rng
        )
        self.register_buffer("group", groups, persistent=False)
        self.register_buffer("lowest", torch.zeros(columns))
        self.register_buffer("scale", least)
        self.register_buffer("atom", torch.zeros(columns, dtype=torch.bool))
        self.register_buffer("constant", torch.zeros(columns, dtype=torch.bool))
        self.register_buffer("table", torch.zeros(energy_bins, (int(groups.max()) + 1) * BINS * KNOTS))
        self.register_buffer("centres", torch.zeros(energy_bins))
        self.register_buffer("precision", torch.empty(0))

    def _fit(self, response: Tensor, conditions: Tensors, weights: Tensor | None) -> None:
        if response.shape[1] != len(self.scale):
            raise ValueError(
                f"conditional-marginals was made for {len(self.scale)} columns, but the response has {response.shape[1]}"
            )
        rng = torch.Generator().manual_seed(self.seed)
        self.encoder.fit(conditions, weights)
        self._fit_columns(response, weights)
        features, y = self.encoder(conditions), self._scored(response)
        w = None if weights is None else (weights / weights.mean()).to(torch.float32)
        self._train(features, y, w, rng)
        keep = torch.linspace(0, len(y) - 1, min(len(y), MOST), dtype=torch.float64).round().long()
        self._fit_tables(features[keep], y[keep], None if w is None else w[keep])
        if self.impute and bool((self.atom & ~self.constant).any()):
            self._fit_correlations(features[keep], y[keep], None if w is None else w[keep], rng)

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
        atom = ((response == lowest).float().mean(0) >= ATOM) & ~constant
        self._keep(lowest=torch.where(atom | constant, lowest, mean), scale=scale, atom=atom, constant=constant)

    def _scored(self, response: Tensor) -> Tensor:
        """$y$, `(n, d)`: zero where a cell is empty, above `EMPTY` where it is not."""
        if self.with_thresholds:
            y = EMPTY + ((response / self.scale).clamp(min=1.0).pow(self.power) - 1) / self.power
            return torch.where(response > 0, y, 0.0)
        y = (response - self.lowest) / self.scale
        return torch.where(self.atom, torch.where(y > 0, EMPTY + y, 0.0), y)

    def _unscored(self, y: Tensor) -> Tensor:
        """The response `(n, d)` of $y$, empty at and below `EMPTY`."""
        if self.with_thresholds:
            above = (1 + self.power * (y - EMPTY)).clamp(min=1.0)
            energy = self.scale * (above.log() / self.power).clamp(max=LARGEST_EXPONENT).exp()
            found = torch.where(y > EMPTY, energy, 0.0)
        else:
            shifted = torch.where(self.atom, (y - EMPTY).clamp(min=0.0), y)
            found = self.lowest + self.scale * shifted
        return torch.where(self.constant, self.lowest, found)

    def _located(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """$\\mu$, $\\sigma$ and the limit $b$ below which a cell is empty, `(n, d)` each."""
        mean, spread = self.network(features).chunk(2, 1)
        spread = spread.clamp(*SPREADS).exp()
        return mean, spread, torch.where(self.atom, (mean - EMPTY) / spread, NEVER_EMPTY)

    def _train(self, features: Tensor, y: Tensor, weights: Tensor | None, rng: torch.Generator) -> None:
        mean, scale = mean_and_scale(y, weights)
        with torch.no_grad():
            last = self.network.layers[-2]
            last.weight.mul_(0.3)  # type: ignore[operator]
            start = torch.where(self.atom & (mean < EMPTY), mean - EMPTY, mean)
            last.bias.copy_(torch.cat([start, scale.clamp(0.2, 10.0).log()]))  # type: ignore[operator]
        size = min(self.batch_size, len(y))
        steps = self.epochs * max(1, len(y) // size)
        with torch.enable_grad():
            optimiser = torch.optim.Adam(self.network.parameters(), lr=self.lr)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, self.lr, total_steps=steps, pct_start=0.1)
            rows = torch.empty(0, dtype=torch.int64)
            for _ in range(steps):
                if len(rows) < size:
                    rows = torch.randperm(len(y), generator=rng)
                batch, rows = rows[:size], rows[size:]
                optimiser.zero_grad(set_to_none=True)
                loss = self._cost(features[batch], y[batch])
                (loss if weights is None else loss * weights[batch][:, None]).mean().backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
                optimiser.step()
                schedule.step()
        self.network.requires_grad_(False).eval()

    def _cost(self, features: Tensor, y: Tensor) -> Tensor:
        """Negative log-likelihood of each cell by itself, `(n, d)`, up to a constant."""
        mean, spread, limit = self._located(features)
        seen = 0.5 * ((y - mean) / spread).square() + spread.log()
        empty = self.atom & (y <= 0)
        return torch.where(empty, -torch.special.log_ndtr(-torch.where(empty, limit, 0.0)), torch.where(empty, 0.0, seen))

    def _fit_tables(self, features: Tensor, y: Tensor, weights: Tensor | None) -> None:
        parts = [self._located(piece) for piece in features.split(PIECE)]  # type: ignore[no-untyped-call]
        mean, spread, limit = (torch.cat(p) for p in zip(*parts, strict=True))
        residual, empty = ((y - mean) / spread).numpy(), (self.atom & (y <= 0)).numpy()
        bins = nearest(limit).numpy()
        w = np.ones(len(y)) if weights is None else weights.numpy().astype(np.float64)
        first = features[:, 0].numpy()
        inner = np.quantile(first, np.linspace(0, 1, self.energy_bins + 1)[1:-1])
        which = np.searchsorted(inner, first)
        found_at = [first[which == e].mean() if (which == e).any() else np.nan for e in range(self.energy_bins)]
        found = np.empty((self.energy_bins, int(self.group.max()) + 1, BINS, KNOTS))
        varies = ~self.constant.numpy()
        for group in range(found.shape[1]):
            columns = np.flatnonzero((self.group.numpy() == group) & varies)
            limits = bool(self.atom.numpy()[columns].any())
            for e in range(self.energy_bins):
                rows = np.flatnonzero(which == e)
                part = np.ix_(rows, columns)
                cells = Residuals(
                    residual[part].ravel(), limit.numpy()[part].ravel(), empty[part].ravel(), np.repeat(w[rows], len(columns))
                )
                found[e, group] = tables(cells, bins[part].ravel(), limits)
        known = np.isfinite(found_at)
        centres = np.where(known, found_at, np.nanmax(found_at) + 1 + np.arange(self.energy_bins))
        found[~known] = found[known][-1]
        self._keep(table=torch.tensor(found.reshape(self.energy_bins, -1)), centres=torch.tensor(centres))

    def _fit_correlations(self, features: Tensor, y: Tensor, weights: Tensor | None, rng: torch.Generator) -> None:
        z, bound, empty = self._scores(features, y, rng)
        for _ in range(self.impute):
            self._keep(precision=precision_of(z, weights))
            z = sweep(z, bound, empty, self.precision, rng)
        self._keep(precision=precision_of(z, weights))

    def _tables_at(self, features: Tensor) -> Tensor:
        """Each event's tables `(n, groups * BINS * KNOTS)`: linear between the centres of the bins of the first feature."""
        first, centres = features[:, :1], self.centres
        if len(centres) == 1:
            return self.table.expand(len(features), -1)
        along = ((first - centres[:-1]) / (centres[1:] - centres[:-1])).clamp(0.0, 1.0)
        share = torch.cat([torch.ones_like(first), along], 1) - torch.cat([along, torch.zeros_like(first)], 1)
        return share @ self.table

    def _scores(self, features: Tensor, y: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Normal scores, empty cells drawn independently; the bounds of empty cells; which cells are empty."""
        z, bound = torch.empty_like(y), torch.empty_like(y)
        for start in range(0, len(y), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            mean, spread, limit = self._located(features[rows])
            table = self._tables_at(features[rows])
            bins, towards = place(limit)
            row = self.group * BINS + bins
            z[rows] = solved(table, row, towards, (y[rows] - mean) / spread)
            bound[rows] = solved(table, row, towards, -limit)
        empty = self.atom & (y <= 0)
        return torch.where(empty, below(bound, rng), z), bound, empty

    def _forward(self, response: Tensor, conditions: Tensors) -> Tensor:
        told = response.detach().to("cpu", torch.float32).contiguous()
        rng = torch.Generator().manual_seed(self.seed + zlib.crc32(told.numpy().tobytes()))
        features, y = self.encoder(conditions), self._scored(response)
        z, bound, empty = self._scores(features, y.to(torch.float32), rng)
        for _ in range(self.impute if self.precision.numel() else 0):
            z = sweep(z, bound, empty, self.precision, rng)
        return torch.where(self.constant, 0.0, z).to(response.dtype)

    def _inverse(self, response: Tensor, conditions: Tensors) -> Tensor:
        features = self.encoder(conditions)
        mean, spread, limit = self._located(features)
        bins, towards = place(limit)
        residual = interpolated(self._tables_at(features), self.group * BINS + bins, towards, response)
        return self._unscored(mean + spread * residual)
