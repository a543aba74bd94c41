r"""Numbers of charged-particle identification by log-likelihood differences: areas under the curve, efficiencies, correlations.

How well a DLL separates two species is the area under its ROC curve (`classifier.weighted_auc`), in bins of momentum and
pseudorapidity. Its error is that of a bootstrap in which every track is drawn a Poisson(1) number of times, its weight kept.
An efficiency $\epsilon = \sum_\mathrm{pass} w / \sum w$ has the error of $n = (\sum w)^2 / \sum w^2$ trials, with half a track
added on either side so that 0 and 1 have one too. A bin with fewer than ten effective tracks of a species is empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from understudy.events import Events
from understudy.schema import Array
from understudy.validation.classifier import weighted_auc
from understudy.validation.curve import FEWEST, Curve

MOMENTUM, PSEUDORAPIDITY, N_TRACKS, SPECIES = "momentum", "pseudorapidity", "n_tracks", "species"
NUMBERS = {"pion": 0, "kaon": 1, "proton": 2, "muon": 3, "electron": 4}
"""Species as the condition `species` numbers them."""


@dataclass(frozen=True, eq=False)
class Tracks:
    """Tracks of a sample.

    Args:
        conditions: `momentum` [MeV], `pseudorapidity`, `n_tracks` and `species`, `(n,)` each.
        dll: by column name, `(n,)` each.
        weights: `(n,)`.
    """

    conditions: Mapping[str, Array]
    dll: Mapping[str, Array]
    weights: Array

    @classmethod
    def of(cls, events: Events) -> Tracks:
        """Those of events whose response is one block with named columns.

        Raises:
            ValueError: conditions or DLLs are missing.
        """
        given = {b.name for b in events.schema.given}
        if missing := [name for name in (MOMENTUM, PSEUDORAPIDITY, N_TRACKS, SPECIES) if name not in given]:
            raise ValueError(
                f"the analysis 'separation' needs the condition {missing[0]!r}; these events have {', '.join(sorted(given))}"
            )
        block = next((b for b in events.schema.response if b.columns), None)
        if block is None:
            raise ValueError("the analysis 'separation' needs a response whose columns have names (DLLk, DLLp, ...)")
        values = np.asarray(events.response[block.name], float)
        weights = np.ones(len(events)) if events.weights is None else events.weights
        seen = np.ones(len(events), bool) if events.mask is None else events.mask
        conditions = {n: np.asarray(events.conditions[n], float)[seen] for n in (MOMENTUM, PSEUDORAPIDITY, N_TRACKS, SPECIES)}
        return cls(conditions, dict(zip(block.columns, values[seen].T, strict=True)), weights[seen])

    def species(self, name: str) -> Array:
        """Which tracks are of a species, `(n,)`."""
        return np.asarray(self.conditions[SPECIES] == NUMBERS[name])

    def same_conditions(self, other: Tracks) -> bool:
        """Whether both are at the same conditions, track by track."""
        return all(np.array_equal(v, other.conditions[name]) for name, v in self.conditions.items())

    def cells(self, edges: tuple[Array, Array]) -> Array:
        """The cell of each track in a grid of momentum and pseudorapidity, row by row; -1 outside, `(n,)`."""
        index = [
            np.searchsorted(e, self.conditions[n], "right") - 1 for n, e in zip((MOMENTUM, PSEUDORAPIDITY), edges, strict=True)
        ]
        shape = [len(e) - 1 for e in edges]
        inside = np.logical_and.reduce([(i >= 0) & (i < k) for i, k in zip(index, shape, strict=True)])
        return np.where(inside, index[0] * shape[1] + index[1], -1)


@dataclass(frozen=True)
class Pair:
    """Two species and the DLL that tells them apart."""

    first: str
    second: str
    column: str

    @property
    def name(self) -> str:
        """As it is called in `metrics.json`."""
        return f"{self.first}_{self.second}_{self.column}"


PAIRS = (Pair("kaon", "pion", "DLLk"), Pair("muon", "pion", "DLLmu"), Pair("proton", "pion", "DLLp"))


def full_grid(tracks: Tracks, bins: int = 3) -> tuple[Array, Array]:
    """Equal bins of the logarithm of the momentum and of pseudorapidity over the whole range."""
    momentum, eta = tracks.conditions[MOMENTUM], tracks.conditions[PSEUDORAPIDITY]
    edges = np.geomspace(momentum.min(), momentum.max(), bins + 1), np.linspace(eta.min(), eta.max(), bins + 1)
    return _upward(edges[0]), _upward(edges[1])


def populated_grid(tracks: Tracks, bins: int = 3, tail: float = 0.2) -> tuple[Array, Array]:
    """Bins with equally many tracks in each direction, without the `tail` at either end."""
    levels = np.linspace(tail, 1 - tail, bins + 1)
    return tuple(_upward(np.quantile(tracks.conditions[n], levels)) for n in (MOMENTUM, PSEUDORAPIDITY))  # type: ignore[return-value]


def _upward(edges: Array) -> Array:
    """Edges that increase, the last one just above what it was."""
    edges = np.maximum.accumulate(edges + np.arange(len(edges)) * 1e-12 * max(abs(edges[-1]), 1e-12))
    edges[-1] = np.nextafter(edges[-1] * (1 + 1e-9), np.inf)
    return np.asarray(edges)


def enough(weights: Array) -> bool:
    """Whether weights stand for at least ten tracks."""
    total = float(weights.sum())
    return total > 0 and total**2 >= FEWEST * float(weights @ weights) * (1 - 1e-12)


def auc(tracks: Tracks, pair: Pair, rows: Array, replicas: int, rng: np.random.Generator) -> tuple[float, Array]:
    """The AUC among the tracks of `rows` `(n,)`, and those of its replicas; NaN where a species has fewer than ten."""
    first, second = (np.flatnonzero(rows & tracks.species(name)) for name in (pair.first, pair.second))
    w, v = tracks.weights[second], tracks.weights[first]
    if not (enough(w) and enough(v)):
        return float("nan"), np.full(replicas, np.nan)
    scores = tracks.dll[pair.column]
    value = weighted_auc(scores[second], scores[first], w, v)
    found = []
    for start in range(0, replicas, 20):
        k = min(20, replicas - start)
        drawn = w * rng.poisson(1.0, (k, len(w))), v * rng.poisson(1.0, (k, len(v)))
        found.append(np.asarray(weighted_auc(scores[second], scores[first], *drawn)))
    return float(value), np.concatenate(found)


def auc_map(
    tracks: Tracks, pair: Pair, edges: tuple[Array, Array], replicas: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """AUCs in the cells of a grid `(momentum bins, pseudorapidity bins)`, and those of replicas `(replicas, ...)`.

    Samples at the same conditions, row by row, are given generators that draw the same: their replicas go together, and what the
    conditions alone make of an AUC is the same for both.
    """
    cells, shape = tracks.cells(edges), tuple(len(e) - 1 for e in edges)
    found = [auc(tracks, pair, cells == k, replicas, child) for k, child in enumerate(rng.spawn(shape[0] * shape[1]))]
    return np.array([v for v, _ in found]).reshape(shape), np.stack([r for _, r in found], 1).reshape(replicas, *shape)


def auc_curve(tracks: Tracks, pair: Pair, along: str, edges: Array, replicas: int, rng: np.random.Generator) -> Curve:
    """The AUC in bins of a condition."""
    index = np.searchsorted(edges, tracks.conditions[along], "right") - 1
    found = [auc(tracks, pair, index == k, replicas, child) for k, child in enumerate(rng.spawn(len(edges) - 1))]
    y, error = np.array([v for v, _ in found]), np.array([r.std(ddof=1) for _, r in found])
    label = f"AUC of {pair.column}, {pair.first} and {pair.second}"
    return Curve(f"auc_{pair.name}_vs_{along}", edges, y, error, "", label, along.replace("_", " "), "")


def efficiency(tracks: Tracks, species: str, column: str, cut: float, edges: Array) -> Curve:
    """The fraction of a species with a DLL above `cut` in bins of momentum."""
    own = tracks.species(species)
    index = np.searchsorted(edges, tracks.conditions[MOMENTUM], "right") - 1
    y, error = np.full(len(edges) - 1, np.nan), np.full(len(edges) - 1, np.nan)
    for k in range(len(y)):
        rows = own & (index == k)
        w = tracks.weights[rows]
        if enough(w):
            n = w.sum() ** 2 / (w @ w)
            y[k] = w @ (tracks.dll[column][rows] > cut) / w.sum()
            softened = np.clip((n * y[k] + 0.5) / (n + 1), 0.5 / (n + 1), 1 - 0.5 / (n + 1))
            error[k] = np.sqrt(softened * (1 - softened) / n)
    name, label = f"efficiency_{species}_{column}_above_{cut:g}", f"{species}s with {column} > {cut:g}"
    return Curve(name, edges, y, error, "", label, "momentum", "MeV")


def correlations(tracks: Tracks, species: str) -> Array:
    """Weighted correlation coefficients of the DLLs of a species, `(d, d)`; NaN where it has fewer than ten tracks."""
    rows = tracks.species(species)
    w = tracks.weights[rows]
    if not enough(w):
        return np.full((len(tracks.dll), len(tracks.dll)), np.nan)
    x = np.stack([v[rows] for v in tracks.dll.values()])
    x = x - (x @ w / w.sum())[:, None]
    covariance = (x * w) @ x.T
    scale = np.sqrt(np.clip(np.diag(covariance), 0.0, None))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(covariance / np.outer(scale, scale))


def compared(reference: tuple[Array, Array], other: tuple[Array, Array]) -> dict[str, Any]:
    """Two maps with replicas: `reference`, `value`, `difference`, `error` and `significance`, as nested lists."""
    difference, error = other[0] - reference[0], np.std(other[1] - reference[1], axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        significance = np.where(error > 0, difference / error, np.where(difference == 0, 0.0, np.nan))
    named = {"reference": reference[0], "value": other[0], "difference": difference, "error": error, "significance": significance}
    return {name: np.where(np.isfinite(v), v, np.nan).tolist() for name, v in named.items()}


def summary(maps: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Of the cells that both samples fill: `largest` and `mean` absolute difference, `chi2_per_bin` and `bins`.

    Cells where both AUCs are exactly 1, without an error, take no part in the chi-squared: they would agree for nothing.
    """
    difference = np.concatenate([np.ravel(m["difference"]) for m in maps])
    significance = np.concatenate([np.ravel(m["significance"]) for m in maps])
    known = np.isfinite(difference)
    told = known & np.isfinite(significance) & (np.concatenate([np.ravel(m["error"]) for m in maps]) > 0)
    if not known.any():
        return {"largest": float("nan"), "mean": float("nan"), "chi2_per_bin": float("nan"), "bins": 0}
    size = np.abs(difference[known])
    return {
        "largest": float(size.max()),
        "mean": float(size.mean()),
        "chi2_per_bin": float(np.mean(significance[told] ** 2)) if told.any() else float("nan"),
        "bins": int(known.sum()),
    }
