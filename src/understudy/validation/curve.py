r"""A curve: a quantity in bins of another one, with errors, and how far two of them agree.

Two curves $a, b$ agree if

$$\chi^2 = (a - b)^T (C_a + C_b)^{-1} (a - b)$$

is as expected for as many degrees of freedom; the covariance is diagonal where bins hold different events. Two samples at
the same conditions event by event fluctuate together (a width depends on the entry point): for means $C$ is then that of
the events' differences, with $u_i = w_i (v_i - \langle v \rangle) / \sum w$ of either sample, $\sum_i (u^b_i - u^a_i)^2$.
Widths are taken as independent: those of two samples are correlated by the square of the values' own correlation at the same
conditions, which is less than 0.06 for the responses of both shipped calorimeters; pulls are too small rather than too large.
A bin with too few events is empty: it takes no part in the chi-squared, and how many bins only one curve fills is said.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg, stats

from understudy.schema import Array

FEWEST = 10
"""Effective number of events that a bin must hold, (sum w)^2 / sum w^2."""


@dataclass(frozen=True, eq=False)
class Curve:
    """A quantity in bins of another one.

    Args:
        name: key in `metrics.json`.
        edges: bin edges `(k + 1,)` in `x_unit`.
        y: values `(k,)` in `unit`; NaN in empty bins.
        error: one standard deviation `(k,)`.
        unit: unit of `y`.
        label: what the vertical axis says, without the unit.
        x_label: what the horizontal axis says.
        x_unit: its unit.
        covariance: `(k, k)` where the bins share events, else None.
        ticks: names of the bins where they have names (layers).
        influence: what each event moves each bin by, `(n, k)`; kept only where the events are to be compared with those of
            another curve row by row.
        x: mean of the abscissa in each bin `(k,)`, where it matters; NaN in empty bins.
        logarithmic: whether `y` spans so many orders of magnitude that only a logarithmic axis shows it.
    """

    name: str
    edges: Array
    y: Array
    error: Array
    unit: str = ""
    label: str = ""
    x_label: str = r"$E_\mathrm{inc}$"
    x_unit: str = "MeV"
    covariance: Array | None = None
    ticks: tuple[str, ...] = ()
    influence: Array | None = None
    x: Array | None = None
    logarithmic: bool = False


@dataclass(frozen=True, eq=False)
class RowMeans:
    """Means of numbers that each event has `k` of; unpacked into a `Curve` of bins that share their events.

    Args:
        y: weighted means `(k,)`; NaN where there are too few events.
        error: one standard deviation `(k,)`.
        covariance: `(k, k)`.
        influence: how far each event moves each mean, `(n, k)`; None unless asked for.
    """

    y: Array
    error: Array
    covariance: Array
    influence: Array | None


def row_means(rows: Array, weights: Array | None, valid: Array, keep: bool = False, rare: bool = False) -> RowMeans:
    """Means over events.

    Args:
        rows: numbers `(m, k)` of the valid events.
        weights: of all events `(n,)`, or None.
        valid: which of `n` events the rows belong to, `(n,)` with `m` true.
        keep: give `influence`.
        rare: a mean to which fewer than `FEWEST` events contribute has no error that could be trusted, and is left empty.
    """
    w = np.ones(len(rows)) if weights is None else weights[valid]
    k = rows.shape[1]
    present = rows != 0
    known = np.full(k, bool(filled(w.sum(), (w**2).sum())))
    if rare:
        known &= filled(w @ present, w**2 @ present)
    total = w.sum() if known.any() else 1.0
    mean = w @ rows / total
    moved = w[:, None] * (rows - mean) / total
    covariance = moved.T @ moved
    each = None
    if keep:
        each = np.zeros((len(valid), k), np.float32)
        each[valid] = moved
    error = np.where(known, np.sqrt(np.diag(covariance)), np.nan)
    return RowMeans(np.where(known, mean, np.nan), error, np.where(np.outer(known, known), covariance, np.nan), each)


def filled(total: Array, squares: Array) -> Array:
    """Whether sums of weights and of squared weights stand for at least `FEWEST` events."""
    return np.asarray((total > 0) & (np.square(total) >= FEWEST * squares * (1 - 1e-12)))


def pulls(a: Curve, b: Curve) -> Array:
    """Difference over its error in each bin, `(k,)`; NaN where either curve is empty, 0 where equal without error."""
    _same_bins(a, b)
    joint = _joint_covariance(a, b)
    difference, error = b.y - a.y, np.hypot(a.error, b.error) if joint is None else np.sqrt(np.diag(joint))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((difference == 0) & (error == 0), 0.0, difference / error)


def compare_curves(a: Curve, b: Curve) -> dict[str, float]:
    """Agreement of two curves.

    Returns:
        `chi2`, `ndf`, `p_value`, `max_pull` (largest absolute pull), and `empty`, the number of bins that only one of
        the curves fills. With no bin filled by both, `ndf` is 0 and the rest NaN: nothing was compared.

    Raises:
        ValueError: the curves have different bins or names.
    """
    pull = pulls(a, b)
    used = ~np.isnan(pull)
    empty = int((np.isfinite(a.y) ^ np.isfinite(b.y)).sum())
    if not used.any():
        return {"chi2": np.nan, "ndf": 0, "p_value": np.nan, "max_pull": np.nan, "empty": empty}
    if a.covariance is not None and b.covariance is not None:
        joint = _joint_covariance(a, b)
        both = a.covariance + b.covariance if joint is None else joint
        inverse, ndf = linalg.pinvh(both[np.ix_(used, used)], return_rank=True)
        difference = (b.y - a.y)[used]
        chi2 = float(difference @ inverse @ difference)
    else:
        chi2, ndf = float((pull[used] ** 2).sum()), int(used.sum())
    p_value = float(stats.chi2.sf(chi2, ndf)) if ndf else np.nan
    return {"chi2": chi2, "ndf": int(ndf), "p_value": p_value, "max_pull": float(np.abs(pull[used]).max()), "empty": empty}


def _joint_covariance(a: Curve, b: Curve) -> Array | None:
    """Covariance `(k, k)` of the difference of curves whose events are compared row by row, else None."""
    if a.influence is None or b.influence is None:
        return None
    moved = b.influence.astype(np.float64) - a.influence
    return np.asarray(moved.T @ moved)


def _same_bins(a: Curve, b: Curve) -> None:
    if a.name != b.name or a.edges.shape != b.edges.shape or not np.allclose(a.edges, b.edges, rtol=1e-9, atol=0):
        raise ValueError(f"curves {a.name!r} and {b.name!r} have different bins; make both with the reference's edges")
