r"""Weights without a sign that mean the same: the expectation of a signed weight, given everything that is looked at.

sWeights (M. Pivk and F. Le Diberder, physics/0402083) subtract a background event by event: some are negative. Sums over
many events do not mind. A likelihood does: where a single event counts negatively, a flexible model gains without bound by giving
it no probability at all, and a classifier by being sure of the wrong class. The remedy (M. Borisyak and N. Kazeev,
arXiv:1905.11719) is to replace the weight by its expectation

$$\bar w(x) = E[w \mid x] = \frac{p_\mathrm{signal}(x)}{p_\mathrm{all}(x)} \ge 0 \qquad \text{(up to a constant)},$$

which has the same weighted sums, $E[w f(x)] = E[\bar w f(x)]$ for every $f$, and a smaller variance. It is learned by least
squares on all that the loss looks at; each event's value comes from a network that has not seen the event. The network ends in a
sigmoid between zero and the largest weight: clipping a regression at zero instead would leave in the sample a few per cent of a
background whose expectation is zero, since of its errors the positive half alone would stay.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from understudy.schema import Array

FOLDS = 4
FEWEST = 200
"""Events below which nothing can be learned, and negative weights are set to zero."""
BATCH = 512
UPDATES = (500, 8000)
"""Fewest and most updates of a network; between them one for every 16 events."""
MANY = 20_000
"""Events from which on the network is a larger one: what is left of the background is its error."""
FARTHEST = 8.0
"""Standard deviations at which features are cut off."""


def has_negative(weights: Array | None) -> bool:
    """Whether any weight is below zero."""
    return weights is not None and bool((np.asarray(weights) < 0).any())


def expected_weights(features: Array, weights: Array, seed: int, fold: Array | None = None) -> Array:
    r"""$E[w \mid x]$ of each event, not negative, with the mean of the weights.

    Args:
        features: all that the loss looks at, `(n, d)`; NaN counts as the mean.
        weights: `(n,)`, may be negative; must sum to more than zero.
        seed: of the division and of the networks.
        fold: which part each event belongs to, `(n,)`, 0 and up; its network learns from the other parts. Drawn if None.

    Raises:
        ValueError: weights that do not sum to more than zero.
    """
    w = np.asarray(weights, np.float64)
    if not w.sum() > 0:
        raise ValueError(f"the weights of {len(w)} events sum to {w.sum():g}; what they leave is no distribution")
    if len(w) < FEWEST:
        return _rescaled(np.clip(w, 0.0, None), w)
    if fold is None:
        fold = np.random.default_rng(seed).permutation(np.arange(len(w)) % FOLDS)
    x, found = _standardised(features), np.empty(len(w))
    for part in np.unique(fold):
        own, others = fold == part, fold != part
        found[own] = _learned(x[others], w[others], x[own], seed)
    return _rescaled(found, w)


def _standardised(features: Array) -> Tensor:
    x = np.asarray(features, np.float64)
    mean, scale = np.nanmean(x, 0), np.nanstd(x, 0)
    x = np.nan_to_num((x - mean) / np.where(scale > 0, scale, 1.0))
    return torch.from_numpy(np.clip(x, -FARTHEST, FARTHEST).astype(np.float32))


def _network(inputs: int, layers: int, width: int, rng: torch.Generator) -> nn.Sequential:
    """Hidden layers of SiLU and one output, initialised by Glorot and Bengio's rule."""
    sizes, modules = [inputs, *[width] * layers, 1], list[nn.Module]()
    for before, after in pairwise(sizes):
        linear = nn.Linear(before, after)
        nn.init.xavier_uniform_(linear.weight, generator=rng)
        nn.init.zeros_(linear.bias)
        modules += [linear, nn.SiLU()]
    return nn.Sequential(*modules[:-1])


def _learned(x: Tensor, weights: Array, asked: Tensor, seed: int) -> Array:
    """The expectation at `asked` `(m, d)`, learned from `x` `(n, d)` and their weights."""
    rng = torch.Generator().manual_seed(seed)
    largest = float(weights.max())
    w = torch.from_numpy(weights.astype(np.float32)) / largest
    layers, width = (3, 128) if len(x) >= MANY else (2, 64)
    network = _network(x.shape[1], layers, width, rng)
    updates = int(np.clip(len(x) // 16, *UPDATES))
    optimiser = torch.optim.AdamW(network.parameters(), 5e-3, weight_decay=1e-2, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=updates)
    for _ in range(updates):
        rows = torch.randint(len(x), (BATCH,), generator=rng)
        optimiser.zero_grad(set_to_none=True)
        loss = nn.functional.mse_loss(torch.sigmoid(network(x[rows])[:, 0]), w[rows])
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        return np.asarray(largest * torch.sigmoid(network(asked)[:, 0]).numpy(), np.float64)


def _rescaled(positive: Array, weights: Array) -> Array:
    return np.asarray(positive * (weights.mean() / positive.mean()))
