r"""What the judges of the classifier two-sample test look at, and how they learn.

A judge answers with a number that is larger for events that look like the candidate's: the logit of a classifier trained
with class-balanced weights, $\log p(x \mid \mathrm{candidate}) / p(x \mid \mathrm{reference})$ up to a constant where it is
perfect. The conditions that a user gives are always among its inputs, so that a response that is right on average but
belongs to another energy is seen.

Cells enter twice, as fractions of the incident energy and as their logarithms: the first carry sums and hence the energy
scale, the second the faint cells. Negative weights make a loss unbounded from below; in training their expectation given the
features, which is not negative, stands for them (`understudy.signed`). However well that is learned, the area under the curve is
measured with signed weights, and that is 0.5 for equal distributions whatever the judge: no false alarm, at worst less power.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import Tensor, nn

from understudy.events import Events
from understudy.geometry import Calorimeter
from understudy.schema import Array, Block
from understudy.validation.observables import evaluate, incident_energy, observables_for, shower_cells

FAINTEST = 1e-6
"""Fraction of the incident energy below which a cell counts as empty in logarithms."""
CATEGORIES = 16
"""Classes that a judge sees apart; of further ones it sees the number."""


@dataclass(frozen=True)
class Inputs:
    """What judges see of `n` events, class unknown.

    Args:
        cells: the response, linear and logarithmic, `(n, 2 d)`.
        observables: high-level observables, energies over the incident energy where there is one, `(n, o)`; may be NaN.
        conditions: the given conditions, `(n, c)`.
        shape: the space in which neighbours are looked for, `(n, d)`. Of a calorimeter the square roots of the cells'
            fractions of their sum, in which the distance of two showers is Hellinger's and copies stay copies when
            rescaled in energy; else response and conditions, to be standardised.
        calorimeter: which of the two.
    """

    cells: Array
    observables: Array
    conditions: Array
    shape: Array
    calorimeter: bool

    def __len__(self) -> int:
        return len(self.cells)

    @classmethod
    def of(cls, events: Events, geometry: Calorimeter | None = None, sums: bool = False) -> Self:
        """The inputs that `events` give; without a geometry the response is taken as columns of any meaning.

        `sums` adds those of each layer's rows, of its columns and of the whole layer to the cells: a network that has to
        find them among hundreds of cells is blind to an energy scale of one per cent, which it sees in their sums.
        """
        energy = incident_energy(events)
        seen = np.ones(len(events), bool) if events.mask is None else events.mask
        response = np.where(seen[:, None], events.packed() if geometry is None else shower_cells(events, geometry), 0.0)
        detected = np.empty((len(events), 0)) if events.mask is None else seen[:, None]
        conditions = _columns([_condition(events.conditions[b.name], b) for b in events.schema.given], len(events))
        if geometry is None or energy is None:
            logarithms = np.sign(response) * np.log1p(np.abs(response))
            parts = response, logarithms
        else:
            seen_cells = np.concatenate([response, grid_sums(response, geometry)], axis=1) if sums else response
            parts = seen_cells / energy[:, None], np.log(seen_cells / energy[:, None] + FAINTEST)
        if geometry is None:
            shape = _columns([response, conditions], len(events))
        else:
            shape = np.sqrt(response / np.maximum(response.sum(1, keepdims=True), np.finfo(np.float32).tiny))
        cells, observables = (_columns([*p, detected], len(events)) for p in (parts, _observables(events, geometry, energy)))
        cells, observables, conditions, shape = (np.asarray(a, np.float32) for a in (cells, observables, conditions, shape))
        return cls(cells, observables, conditions, shape, geometry is not None)

    def append(self, other: Inputs) -> Inputs:
        """These events and then the `other` ones."""
        return Inputs(
            np.concatenate([self.cells, other.cells]),
            np.concatenate([self.observables, other.observables]),
            np.concatenate([self.conditions, other.conditions]),
            np.concatenate([self.shape, other.shape]),
            self.calorimeter,
        )

    def __getitem__(self, rows: slice | Array) -> Inputs:
        """The inputs of some events."""
        return Inputs(self.cells[rows], self.observables[rows], self.conditions[rows], self.shape[rows], self.calorimeter)


def grid_sums(cells: Array, geometry: Calorimeter) -> Array:
    """Sums over the second and over the first axis of each layer's grid, and over the layer, `(n, s)`."""
    found = []
    for layer, columns in zip(geometry.layers, geometry.slices.values(), strict=True):
        grid = cells[:, columns].reshape(len(cells), *layer.shape)
        found += [grid.sum(2), grid.sum(1), grid.sum((1, 2))[:, None]]
    return np.concatenate(found, axis=1)


def _observables(events: Events, geometry: Calorimeter | None, energy: Array | None) -> list[Array]:
    chosen = observables_for(events.schema, geometry)
    values = evaluate(events, geometry, chosen)
    return [values[o.name] / energy if o.unit == "MeV" and energy is not None else values[o.name] for o in chosen]


def _condition(values: Any, block: Block) -> Array:
    """A condition as columns that a network can use: energies as logarithms, angles as sine and cosine, classes apart."""
    if block.kind == "jagged":
        return np.empty((len(values), 0))
    flat = np.asarray(values, np.float64).reshape(len(values), -1)
    if block.kind == "periodic" and block.period:
        angle = 2 * np.pi * flat / block.period
        return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)
    if block.kind == "categorical":  # distances between class numbers mean nothing
        return np.concatenate([flat == k for k in range(CATEGORIES)] + [flat * (flat >= CATEGORIES)], axis=1)
    if block.unit == "MeV" and block.minimum is not None and block.minimum >= 0:
        return np.log(np.maximum(flat, np.finfo(np.float32).tiny))
    return flat


def _columns(parts: Sequence[Array], n: int) -> Array:
    return np.concatenate([np.empty((n, 0)), *(np.reshape(p, (n, -1)) for p in parts)], axis=1)


def balanced(labels: Array, weights: Array) -> Array:
    """Weights for training: negative ones count as zero, both classes sum to half the number of events.

    Raises:
        ValueError: a class without any positive weight.
    """
    positive = np.clip(weights, 0.0, None)
    sums = np.array([positive[labels == c].sum() for c in (0, 1)])
    if (sums <= 0).any():
        raise ValueError("a sample without positive weights cannot train a classifier; check the weights")
    return np.asarray(positive * (0.5 * len(labels) / sums)[labels], np.float64)


def network_logits(
    train: Array, labels: Array, weights: Array, test: Array, seed: int, hidden: int = 128, epochs: int = 20
) -> Array:
    """Train a small dense network and answer for `test`.

    Args:
        train: features `(n, d)`; standardised here, with the constants of this sample, and held within 8 standard deviations,
            so that a single far event does not rule the training.
        labels: 0 for the reference, 1 for the candidate, `(n,)`.
        weights: non-negative weights `(n,)` of mean 1.
        test: features `(m, d)`.
        seed: of the first weights and of the batches' order.
        hidden: width of the two hidden layers.
        epochs: passes through the training sample.

    Returns:
        Logits `(m,)`.
    """
    generator = torch.Generator().manual_seed(seed)
    mean, scale = train.mean(0), train.std(0)
    scale[scale == 0] = 1.0
    x, unseen = (torch.from_numpy(np.clip((a - mean) / scale, -8, 8).astype(np.float32)) for a in (train, test))
    y, w = (torch.from_numpy(np.asarray(a, np.float32)) for a in (labels, weights))
    net = _network(x.shape[1], hidden, generator)
    size = 256 if len(x) >= 4096 else 64
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=epochs * -(-len(x) // size))
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=generator).split(size):  # type: ignore[no-untyped-call]
            optimiser.zero_grad(set_to_none=True)
            loss = nn.functional.binary_cross_entropy_with_logits(net(x[rows])[:, 0], y[rows], w[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    with torch.inference_mode():
        logits: Tensor = net(unseen)[:, 0]
    return np.asarray(logits.numpy(), np.float64)


def _network(inputs: int, hidden: int, generator: torch.Generator) -> nn.Sequential:
    layers = [nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, 1)]
    with torch.no_grad():
        for layer in layers:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=generator)
                layer.bias.zero_()
    return nn.Sequential(*layers)


def boosting_logits(train: Array, labels: Array, weights: Array, test: Array, seed: int, iterations: int = 100) -> Array:
    """Train gradient-boosted trees and answer for `test`; arguments as `network_logits`, features may be NaN."""
    model = HistGradientBoostingClassifier(
        max_iter=iterations,
        max_leaf_nodes=15,
        min_samples_leaf=40,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=seed,
    )
    train, test = _binned(train, test)
    return np.asarray(model.fit(train, labels, sample_weight=weights).decision_function(test), np.float64)


def _binned(train: Array, test: Array, bins: int = 255) -> tuple[Array, Array]:
    """Columns as numbers of quantile bins of `train`, NaN kept: what the trees do themselves, but slowly with weights.

    A column that is NaN for all of `train`, from which nothing can be learned, becomes zero: trees refuse it.
    """
    binned = np.full(train.shape, np.nan, np.float32), np.full(test.shape, np.nan, np.float32)
    for j in range(train.shape[1]):
        known = train[:, j][~np.isnan(train[:, j])]
        if not len(known):
            for answer in binned:
                answer[:, j] = 0.0
            continue
        edges = np.unique(np.quantile(known, np.linspace(0, 1, bins + 1)[1:-1]))
        for values, answer in zip((train[:, j], test[:, j]), binned, strict=True):
            seen = ~np.isnan(values)
            answer[seen, j] = np.searchsorted(edges, values[seen])
    return binned
