r"""The energy resolution as calorimeters are described by: stochastic, noise and constant term.

$$\frac{\sigma(E)}{E} = \frac{a}{\sqrt{E}} \oplus \frac{b}{E} \oplus c \qquad (E \text{ in GeV})$$

added in quadrature (Particle Data Group, "Calorimeters"). The noise term $b$ is fitted where electronic noise was added to the
cells. Thresholds without noise act in the same way: what they take away, some hundreds of MeV of an ATLAS-like cluster, hardly
depends on the energy, and $a \oplus c$ is then far from the points. Where it does not describe the reference, a second fit
that has $b$ stands beside it. A bin holds events of different energies, so that the points are compared with the square root of

$$a^2 \langle 1/E \rangle + b^2 \langle 1/E^2 \rangle + c^2,$$

the means being those over the bin's events. The fit minimises $\chi^2$ over $a^2, b^2, c^2 \ge 0$, in which the model is
well-behaved at zero. An error $\delta$ of a square $s$ is quoted as $\sqrt{s + \delta} - \sqrt{s}$: the usual
$\delta / 2\sqrt{s}$ where the term is significant, and the upper end of its interval where it is zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize, stats

from understudy.events import Events
from understudy.schema import Array
from understudy.validation.curve import Curve

TERMS = {"a": "sqrt(GeV)", "b": "GeV", "c": ""}
"""The parameters and their units."""
CURVE = "resolution_vs_energy"
"""The curve that is fitted."""
USUAL, WITH_B = "resolution", "resolution_with_b"
"""Names of the fits: with the terms that the settings ask for, and with `b` whatever they say."""
UNLIKELY = 1e-4
"""Probability of the reference's chi-squared below which the second fit is given as well."""
_POWERS = {"a": 1, "b": 2, "c": 0}


@dataclass(frozen=True, eq=False)
class ResolutionFit:
    """Parameters of the resolution.

    Args:
        terms: the fitted ones of `a`, `b`, `c`, in this order.
        values: `(terms,)`.
        errors: one standard deviation `(terms,)`.
        covariance: `(terms, terms)`.
        chi2: at the minimum.
        ndf: points minus parameters.
    """

    terms: tuple[str, ...]
    values: Array
    errors: Array
    covariance: Array
    chi2: float
    ndf: int

    def __call__(self, energy: Array) -> Array:
        """Relative resolution at energies [MeV]."""
        gev = np.asarray(energy, np.float64) / 1000.0
        squares = [v**2 * gev ** -_POWERS[t] for t, v in zip(self.terms, self.values, strict=True)]
        return np.asarray(np.sqrt(np.sum(squares, axis=0)))

    def formula(self) -> str:
        """The function with its parameters, as mathematical text."""
        shapes = {"a": r"/\sqrt{E}", "b": "/E", "c": ""}
        parts = {t: rf"{100 * v:.2f}\,\%{shapes[t]}" for t, v in zip(self.terms, self.values, strict=True)}
        parts |= {"b": rf"{1000 * self.values[1]:.0f}\,\mathrm{{MeV}}/E"} if "b" in parts else {}
        return "$" + r" \oplus ".join(parts.values()) + "$"

    @property
    def p_value(self) -> float:
        """Probability of a larger chi-squared."""
        return float(stats.chi2.sf(self.chi2, self.ndf))

    def plain(self) -> dict[str, Any]:
        """Plain data for `metrics.json`; energies in GeV."""
        found: dict[str, Any] = {
            t: {"value": float(v), "error": float(e), "unit": TERMS[t]}
            for t, v, e in zip(self.terms, self.values, self.errors, strict=True)
        }
        found["covariance"] = self.covariance.tolist()
        return {**found, "chi2": self.chi2, "ndf": self.ndf, "p_value": self.p_value}


def fit_resolution(curve: Curve, energy: Array, weights: Array | None = None, noise_term: bool = False) -> ResolutionFit | None:
    """Fit the terms to a resolution in bins of the energy.

    Args:
        curve: relative widths with errors in energy bins [MeV].
        energy: energies `(n,)` [MeV] of the events in the bins.
        weights: their weights `(n,)`.
        noise_term: fit `b` as well.

    Returns:
        The fit, or None where fewer bins with a width than parameters plus one are there.
    """
    terms = ("a", "b", "c") if noise_term else ("a", "c")
    rows = np.stack([inverse_power(energy, curve.edges, _POWERS[t], weights) for t in terms], 1)
    used = (curve.y > 0) & (curve.error > 0) & np.isfinite(rows).all(1)
    rows, y, error = rows[used], curve.y[used], curve.error[used]
    if len(y) <= len(terms):
        return None
    scale = 2 * y * error  # the error of the square
    start, _ = optimize.nnls(rows / scale[:, None], y**2 / scale)
    floor = 1e-12 * float((y**2).min())

    def distance(squares: Array) -> Array:
        return np.asarray((np.sqrt(rows @ squares + floor) - y) / error)

    units = np.mean(y**2) / rows.mean(0)
    found = optimize.least_squares(distance, start + 1e-3 * units, bounds=(0.0, np.inf), x_scale=units)
    slope = rows / (2 * np.sqrt(rows @ found.x + floor) * error)[:, None]
    covariance = np.linalg.pinv(slope.T @ slope)
    delta = np.sqrt(np.diag(covariance))
    values = np.sqrt(np.clip(found.x, 0.0, None))
    errors = np.sqrt(found.x + delta) - values
    correlation = covariance / np.outer(delta, delta)
    ndf = len(y) - len(terms)
    return ResolutionFit(terms, values, errors, correlation * np.outer(errors, errors), float(2 * found.cost), ndf)


def inverse_power(energy: Array, edges: Array, power: int, weights: Array | None = None) -> Array:
    """Weighted mean of `(energy / GeV)^-power` in each bin, `(k,)`; NaN in empty ones."""
    w = np.ones(len(energy)) if weights is None else weights
    index = np.searchsorted(edges, energy, side="right") - 1
    inside = (index >= 0) & (index < len(edges) - 1)
    index, e, w = index[inside], np.asarray(energy, np.float64)[inside] / 1000.0, w[inside]
    total = np.bincount(index, w, len(edges) - 1)
    return np.bincount(index, w * e**-power, len(edges) - 1) / np.where(total > 0, total, np.nan)


def fit_sample(curves: Mapping[str, Curve], energy: Array, events: Events, noise_term: bool) -> dict[str, ResolutionFit]:
    """Fits of a sample's central resolution by name: `USUAL`, and `WITH_B` where that has no `b`; those that can be made.

    Args:
        curves: the sample's curves by name.
        energy: incident energies `(n,)` [MeV].
        events: the sample, for weights and mask.
        noise_term: fit `b` as well.
    """
    if CURVE not in curves:
        return {}
    seen = slice(None) if events.mask is None else events.mask
    weights = None if events.weights is None else events.weights[seen]
    asked = {USUAL: noise_term} if noise_term else {USUAL: False, WITH_B: True}
    found = {name: fit_resolution(curves[CURVE], energy[seen], weights, term) for name, term in asked.items()}
    return {name: fit for name, fit in found.items() if fit is not None}


def told(reference: Mapping[str, ResolutionFit]) -> list[str]:
    """Names of the fits that are worth telling: the second one where the first does not describe the reference."""
    poor = USUAL in reference and reference[USUAL].p_value < UNLIKELY
    return [name for name in (USUAL, WITH_B) if name == USUAL or (poor and name in reference)]


def pulls(reference: ResolutionFit, other: ResolutionFit) -> dict[str, float]:
    """Differences of the parameters over their errors; both fits have the same terms."""
    difference = other.values - reference.values
    errors = np.hypot(reference.errors, other.errors)
    return {t: float(d / e) for t, d, e in zip(reference.terms, difference, errors, strict=True)}


def compare_fits(
    reference: Mapping[str, ResolutionFit], floor: Mapping[str, ResolutionFit], candidate: Mapping[str, ResolutionFit]
) -> dict[str, dict[str, Any]]:
    """What `metrics.json` has under `fits`: the fits that could be made and the candidate's pulls."""
    found: dict[str, dict[str, Any]] = {}
    for name in told(reference):
        known = {n: f[name] for n, f in (("reference", reference), ("floor", floor), ("candidate", candidate)) if name in f}
        if known:
            found[name] = {n: fit.plain() for n, fit in known.items()}
        if {"reference", "candidate"} <= set(known):
            found[name]["pulls"] = pulls(known["reference"], known["candidate"])
    return found
