r"""Curves of the reconstructed energy: what is missing from the true one, and linearity.

$\langle E_\mathrm{inc} - E_\mathrm{tot} \rangle$, the same over $E_\mathrm{inc}$ with its width, and the linearity: the mean
response $m_k = \langle E_\mathrm{tot} / E_\mathrm{inc} \rangle$ in an energy bin over its mean over the $K$ filled bins, a flat
line at one for a calorimeter whose response does not depend on the energy. All bins share the denominator, so that the
linearity carries its covariance,

$$y_k = \frac{m_k}{\bar m}, \qquad \bar m = \frac{1}{K} \sum_j m_j, \qquad
  \delta y_k = \frac{1}{\bar m} \Big(\delta m_k - \frac{y_k}{K} \sum_j \delta m_j\Big).$$
"""

from __future__ import annotations

import numpy as np

from understudy.schema import Array
from understudy.validation.curve import Curve
from understudy.validation.curves import binned_mean, binned_resolution, influence

TRUE, RECO = r"E_\mathrm{inc}", r"E_\mathrm{tot}"


def energy_curves(
    energy: Array,
    response: Array,
    edges: Array,
    generator: np.random.Generator,
    weights: Array | None = None,
    paired: bool = False,
) -> list[Curve]:
    """True minus reconstructed energy, the same over the true energy with its width, and linearity.

    Args:
        energy: incident energies `(n,)` [MeV].
        response: reconstructed over incident energy `(n,)`; NaN where it is not defined.
        edges: energy bins of the reference [MeV].
        generator: draws the bootstrap replicas behind the errors of the width.
        weights: `(n,)`.
        paired: keep what each event contributes.
    """
    found = []
    for name, values, unit, label in (
        ("energy_difference", energy * (1 - response), "MeV", rf"$\langle {TRUE} - {RECO} \rangle$"),
        ("relative_difference", 1 - response, "", rf"$\langle ({TRUE} - {RECO}) / {TRUE} \rangle$"),
    ):
        y, error = binned_mean(energy, values, edges, weights)
        each = influence(energy, values, edges, weights) if paired else None
        found.append(Curve(f"{name}_vs_energy", edges, y, error, unit, label, influence=each))
    y, error = binned_resolution(energy, 1 - response, edges, generator, "central", weights, relative=False)
    label = rf"$\sigma_{{68}}[({TRUE} - {RECO}) / {TRUE}]$"
    found.append(Curve("relative_difference_width_vs_energy", edges, y, error, "", label))
    return [*found, linearity(energy, response, edges, weights, paired)]


def linearity(energy: Array, response: Array, edges: Array, weights: Array | None = None, paired: bool = False) -> Curve:
    """Mean response in energy bins over the mean response of all of them; arguments as for `energy_curves`."""
    w = np.ones(len(energy)) if weights is None else weights
    mean, error = binned_mean(energy, response, edges, w)
    known = np.isfinite(mean)
    count = int(known.sum())
    whole = float(mean[known].mean()) if count else np.nan
    share = known / max(count, 1)
    y = mean / whole
    moved = (np.eye(len(mean)) - np.where(known, y, 0.0)[:, None] * share[None, :]) / whole
    covariance = moved @ np.diag(np.where(known, error, 0.0) ** 2) @ moved.T
    covariance[~known, :] = covariance[:, ~known] = np.nan
    each = influence(energy, response, edges, w) @ moved.T if paired else None
    label = rf"$\langle {RECO} / {TRUE} \rangle$ over its mean"
    return Curve("linearity_vs_energy", edges, y, np.sqrt(np.diag(covariance)), "", label, covariance=covariance, influence=each)
