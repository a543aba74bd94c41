r"""sWeights from a fit of a discriminating mass: signal is two Gaussians of one mean, background falls exponentially.

The shapes come from an extended maximum-likelihood fit in fine bins, the yields $N_s$, $N_b$ from an unbinned one with the shapes
fixed, as the weights need them; their errors are those of the first fit, which know that the shapes are uncertain. With the
normalised densities $f_s$, $f_b$ the weight of an event is
$$w_s(m) = \frac{V_{ss} f_s(m) + V_{sb} f_b(m)}{N_s f_s(m) + N_b f_b(m)}, \qquad
(V^{-1})_{ij} = \sum_e \frac{f_i(m_e) f_j(m_e)}{(N_s f_s(m_e) + N_b f_b(m_e))^2} .$$
The weights add up to $N_s$, are negative beside the peak, and give any quantity that is independent of the mass, within signal
and within background, its distribution in the signal.

Sources: M. Pivk and F. R. Le Diberder, NIM A 555 (2005) 356; H. Dembinski et al., arXiv:2112.04574 (variant B).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, model_validator
from scipy.special import ndtr

from understudy.extras import extra
from understudy.schema import Array

BINS = 200
CALLS = 20_000
"""Evaluations of the likelihood that a fit may take."""
SEEN = 3.0
"""Standard deviations that the signal yield must be above zero."""


class Peak(BaseModel):
    """A mass spectrum: what is simulated, and where the fit starts.

    Args:
        window: lowest and highest mass [MeV].
        mean: of both Gaussians [MeV].
        width: standard deviation of the narrow one [MeV].
        ratio: of the wide one's standard deviation to it; fixed in the fit.
        core: part of the signal in the narrow one.
        slope: mass [MeV] over which the background falls by a factor e.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    window: tuple[PositiveFloat, PositiveFloat]
    mean: PositiveFloat
    width: PositiveFloat
    ratio: Annotated[float, Field(gt=1)] = 2.0
    core: Annotated[float, Field(gt=0, lt=1)] = 0.7
    slope: PositiveFloat

    @model_validator(mode="after")
    def _inside(self) -> Peak:
        if not self.window[0] < self.mean < self.window[1]:
            raise ValueError("the mean {:g} MeV lies outside the window from {:g} to {:g} MeV".format(self.mean, *self.window))
        return self

    def signal_cdf(self, mass: Array, mean: float, width: float, core: float) -> Array:
        """Part of the signal inside the window below `mass`."""

        def whole(x: Any) -> Array:
            z = (np.asarray(x, float) - mean) / width
            return np.asarray(core * ndtr(z) + (1 - core) * ndtr(z / self.ratio))

        low, high = whole(self.window[0]), whole(self.window[1])
        return np.asarray((whole(mass) - low) / (high - low))

    def background_cdf(self, mass: Array, slope: float) -> Array:
        """Part of the background inside the window below `mass`."""
        low, high = self.window
        return np.asarray(np.expm1(-(np.asarray(mass, float) - low) / slope) / np.expm1(-(high - low) / slope))

    def signal(self, mass: Array, mean: float, width: float, core: float) -> Array:
        """Density of the signal [1/MeV], normalised inside the window."""
        z = (np.asarray(mass, float) - mean) / width
        narrow, wide = np.exp(-0.5 * z**2), np.exp(-0.5 * (z / self.ratio) ** 2) / self.ratio
        low, high = ndtr((np.array(self.window) - mean) / width), ndtr((np.array(self.window) - mean) / width / self.ratio)
        norm = core * (low[1] - low[0]) + (1 - core) * (high[1] - high[0])
        return np.asarray((core * narrow + (1 - core) * wide) / (np.sqrt(2 * np.pi) * width * norm))

    def background(self, mass: Array, slope: float) -> Array:
        """Density of the background [1/MeV], normalised inside the window."""
        low, high = self.window
        return np.asarray(np.exp(-(np.asarray(mass, float) - low) / slope) / (-slope * np.expm1(-(high - low) / slope)))

    def draw_signal(self, n: int, generator: np.random.Generator) -> Array:
        """Masses `(n,)` [MeV] of signal inside the window."""
        found = np.empty(0)
        while len(found) < n:
            width = self.width * np.where(generator.uniform(size=n) < self.core, 1.0, self.ratio)
            mass = self.mean + width * generator.standard_normal(n)
            found = np.concatenate([found, mass[(mass > self.window[0]) & (mass < self.window[1])]])
        return found[:n]

    def draw_background(self, n: int, generator: np.random.Generator) -> Array:
        """Masses `(n,)` [MeV] of background inside the window."""
        low, high = self.window
        return np.asarray(low - self.slope * np.log1p(generator.uniform(size=n) * np.expm1(-(high - low) / self.slope)))


@dataclass(frozen=True)
class MassFit:
    """A fitted mass spectrum: the yields with their errors, and the shapes' parameters."""

    peak: Peak
    yields: tuple[float, float]
    errors: tuple[float, float]
    shape: Mapping[str, float]

    def densities(self, mass: Array) -> tuple[Array, Array]:
        """Normalised densities of signal and background."""
        s = self.shape
        return self.peak.signal(mass, s["mean"], s["width"], s["core"]), self.peak.background(mass, s["slope"])

    def sweights(self, mass: Array) -> Array:
        """sWeights `(n,)` of the signal for the masses that were fitted."""
        maker = extra("sweights", "sweights", "the computation of sWeights")
        pdfs = [lambda m: self.densities(m)[0], lambda m: self.densities(m)[1]]
        made = maker.SWeight(mass, pdfs, list(self.yields), [self.peak.window], method="summation", checks=False)
        return np.asarray(made.get_weight(0, mass), float)


def fit_mass(mass: Array, peak: Peak, where: str, calls: int = CALLS) -> MassFit:
    """Fit a spectrum.

    Args:
        mass: masses `(n,)` [MeV].
        peak: the window and where the fit starts.
        where: the sample, named in errors.
        calls: evaluations of the likelihood that the fit may take.

    Raises:
        ValueError: masses outside the window or NaN, no peak, or a fit that does not converge.
        ModuleNotFoundError: the extra `sweights` is not installed.
    """
    mass = np.asarray(mass, float)
    low, high = peak.window
    if not ((mass >= low) & (mass <= high)).all():
        raise ValueError(
            f"{where}: masses are NaN or outside the fit's window from {low:g} to {high:g} MeV; leave these tracks out"
        )
    shape, (error, other) = _fit_shapes(mass, peak, where, calls)
    s = peak.signal(mass, shape["mean"], shape["width"], shape["core"])
    b = peak.background(mass, shape["slope"])
    iminuit, n = extra("iminuit", "sweights", "a mass fit"), len(mass)

    def minus_log_likelihood(signal: float, background: float) -> float:
        return float(2 * (signal + background - np.log(np.maximum(signal * s + background * b, 1e-300)).sum()))

    def gradient(signal: float, background: float) -> list[float]:
        total = np.maximum(signal * s + background * b, 1e-300)
        return [float(2 * (1 - (s / total).sum())), float(2 * (1 - (b / total).sum()))]

    fit = iminuit.Minuit(minus_log_likelihood, signal=shape["signal"], background=shape["background"], grad=gradient)
    fit.errordef, fit.tol, fit.limits = 1.0, 1e-4, (0.0, 2.0 * n)
    _converged(fit, where, peak, n, calls)
    signal, background = map(float, fit.values)
    if not signal > SEEN * error:
        raise ValueError(
            f"{where}: the mass fit finds no peak near {peak.mean:g} MeV among {n} tracks (yield {signal:.4g} +- {error:.2g});"
            " give more tracks, or the mean and width of the peak that is there"
        )
    return MassFit(peak, (signal, background), (error, other), {k: shape[k] for k in ("mean", "width", "core", "slope")})


def _fit_shapes(mass: Array, peak: Peak, where: str, calls: int) -> tuple[dict[str, float], tuple[float, float]]:
    """The parameters of an extended fit in fine bins, by name, and the errors of its yields."""
    minuit, cost = (extra(m, "sweights", "a mass fit") for m in ("iminuit", "iminuit.cost"))
    low, high = peak.window
    counts, edges = np.histogram(mass, BINS, (low, high))
    n = len(mass)

    def below(x: Array, signal: float, background: float, mean: float, width: float, core: float, slope: float) -> Array:
        return signal * peak.signal_cdf(x, mean, width, core) + background * peak.background_cdf(x, slope)

    start = {"mean": peak.mean, "width": peak.width, "core": peak.core, "slope": peak.slope}
    fit = minuit.Minuit(cost.ExtendedBinnedNLL(counts, edges, below), signal=n / 2, background=n / 2, **start)
    fit.limits["signal", "background"] = (0.0, 2.0 * n)
    fit.limits["mean"], fit.limits["width"] = (low, high), (peak.width / 10, high - low)
    fit.limits["core"], fit.limits["slope"] = (0.05, 0.95), ((high - low) / 50, 1000 * (high - low))
    _converged(fit, where, peak, n, calls)
    values = {name: float(value) for name, value in zip(fit.parameters, fit.values, strict=True)}
    return values, (float(fit.errors["signal"]), float(fit.errors["background"]))


def _converged(fit: Any, where: str, peak: Peak, n: int, calls: int) -> None:
    """Minimise; ValueError if that does not end at a minimum."""
    fit.strategy = 1
    fit.migrad(ncall=calls)
    if not fit.valid and calls == CALLS:
        fit.simplex(ncall=calls).migrad(ncall=calls)
    if not fit.valid or not np.isfinite(fit.fval):
        reason = "too many evaluations" if fit.fmin.has_reached_call_limit else "no minimum found"
        raise ValueError(
            f"{where}: the mass fit of {n} tracks from {peak.window[0]:g} to {peak.window[1]:g} MeV does not converge ({reason});"
            " give more tracks, another window, or start values near the peak"
        )
