r"""Depth and radial profiles of electromagnetic showers (Grindhammer and Peters, hep-ex/0001020, sections 2, 3 and appendix A).

In depth a shower is a gamma distribution in $t$ [radiation lengths],

$$ \frac{1}{E} \frac{dE}{dt} = \frac{(\beta t)^{\alpha - 1} \beta e^{-\beta t}}{\Gamma(\alpha)}, \qquad
   T = \frac{\alpha - 1}{\beta} $$

whose shape $\alpha$ and maximum $T$ fluctuate from shower to shower: their logarithms are correlated normal variables with
means and widths that depend on $y = E / E_c$. At relative depth $\tau = t / T$ the radial profile is a core and a tail,

$$ f(r) = p \frac{2 r R_C^2}{(r^2 + R_C^2)^2} + (1 - p) \frac{2 r R_T^2}{(r^2 + R_T^2)^2} $$

with radii in units of the Moliere radius; each term is the bivariate Student distribution with two degrees of freedom.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammainc

from understudy.references.gflash_medium import SamplingStack
from understudy.schema import Array

CONVERSION_LENGTH = 9.0 / 7.0
"""Mean depth [X0] at which a photon of high energy converts."""

FRONT_LENGTH = 2.0
"""Depth [X0] over which what the gamma profile lacks at its beginning falls off."""

MAX_WIDTH = 0.5
"""Largest width of ln T and ln alpha; the parametrisation is not made for the energies where it would be exceeded."""

MAX_TAU = 20.0
"""Relative depth beyond which the radial profile no longer widens; no energy to speak of is left there."""


def _inverse(value: Array) -> Array:
    return 1.0 / np.maximum(value, 1.0 / MAX_WIDTH)


@dataclass(frozen=True)
class LongitudinalLaw:
    """Distribution of (T, alpha) in a sampling stack.

    Args:
        stack: the effective medium.
        depth_scale: factor on T at fixed alpha, tuned.
        depth_shift: added to T [X0], tuned.
        shape_shift: added to alpha, tuned.
        width_scale: factor on the widths of ln T and ln alpha, tuned; 0 gives every shower the same profile.
    """

    stack: SamplingStack
    depth_scale: float = 1.0
    depth_shift: float = 0.0
    shape_shift: float = 0.0
    width_scale: float = 1.0

    def medians(self, energy: Array) -> tuple[Array, Array]:
        """Medians of T [X0] and alpha for total energies [MeV]; the exponentials of the means of their logarithms."""
        ln_y = self._ln_y(energy)
        inverse_frequency = 1.0 / self.stack.sampling_frequency
        T = ln_y - 0.812 - 0.55 * inverse_frequency - 0.69 * (1.0 - self.stack.e_hat)
        alpha = 0.81 + (0.458 + 2.26 / self.stack.Z) * ln_y - 0.476 * inverse_frequency
        return np.maximum(self.depth_scale * T + self.depth_shift, 0.2), np.maximum(alpha + self.shape_shift, 1.1)

    def widths(self, energy: Array) -> tuple[Array, Array, Array]:
        """Standard deviations of ln T and ln alpha, and their correlation."""
        ln_y = self._ln_y(energy)
        widths = (_inverse(-2.5 + 1.25 * ln_y), _inverse(-0.82 + 0.79 * ln_y))
        return self.width_scale * widths[0], self.width_scale * widths[1], 0.784 - 0.023 * ln_y

    def draw(self, energy: Array, generator: np.random.Generator) -> tuple[Array, Array]:
        """T [X0] and alpha of one shower per energy [MeV], `(n,)` each."""
        T, alpha = self.medians(energy)
        width_T, width_alpha, rho = self.widths(energy)
        first, second = generator.standard_normal((2, len(energy)))
        same, opposite = np.sqrt(0.5 * (1.0 + rho)) * first, np.sqrt(0.5 * (1.0 - rho)) * second
        T = T * np.exp(width_T * (same + opposite))
        alpha = alpha * np.exp(width_alpha * (same - opposite))
        return np.maximum(T, 0.2), np.maximum(alpha, 1.05)

    def _ln_y(self, energy: Array) -> Array:
        return np.log(np.maximum(np.asarray(energy, float) / self.stack.Ec, 2.0))


def depth_fractions(T: Array, alpha: Array, edges: Array) -> Array:
    """Share of a gamma profile between consecutive depths.

    Args:
        T: depth of the maximum [X0], `(n,)`.
        alpha: shape, `(n,)`.
        edges: increasing depths [X0] from where the shower starts, `(n, s + 1)`; negative ones lie before it.

    Returns:
        `(n, s)`.
    """
    beta = (alpha - 1.0) / T
    return np.asarray(np.diff(gammainc(alpha[:, None], beta[:, None] * np.maximum(edges, 0.0)), axis=1))


def front_fractions(edges: Array) -> Array:
    r"""Share of $e^{-t / L}$, $L$ of `FRONT_LENGTH`, between consecutive depths; arguments as `depth_fractions`."""
    return np.asarray(-np.diff(np.exp(-np.maximum(edges, 0.0) / FRONT_LENGTH), axis=1))


@dataclass(frozen=True)
class RadialLaw:
    """Core and tail radii and the core's weight at relative depth tau.

    Args:
        stack: the effective medium.
        core_scale: factor on the core radius, tuned.
        tail_scale: factor on the tail radius, tuned.
        core_shift: added to the core's weight, tuned.
    """

    stack: SamplingStack
    core_scale: float = 1.0
    tail_scale: float = 1.0
    core_shift: float = 0.0

    def __call__(self, energy: Array, tau: Array) -> tuple[Array, Array, Array]:
        """Core radius [mm], tail radius [mm] and core weight for energies [MeV] and depths tau; shapes broadcast."""
        tau = np.minimum(tau, MAX_TAU)
        ln_E = np.log(np.maximum(np.asarray(energy, float), 1.0) / 1000.0)
        Z, Rm, inverse_frequency = self.stack.Z, self.stack.Rm, 1.0 / self.stack.sampling_frequency
        lack = 1.0 - self.stack.e_hat
        early = inverse_frequency * np.exp(-tau)
        core = 0.0251 + 0.00319 * ln_E + (0.1162 - 0.000381 * Z) * tau - 0.0203 * lack + 0.0397 * early
        k4 = 0.3585 + 0.0421 * ln_E
        tail = (0.659 - 0.00309 * Z) * (np.exp(-2.59 * (tau - 0.645)) + np.exp(k4 * (tau - 0.645))) - 0.14 * lack - 0.495 * early
        p3 = 1.313 - 0.0686 * ln_E
        x = (0.401 + 0.00187 * Z - tau) / p3
        weight = (2.632 - 0.00094 * Z) * np.exp(x - np.exp(x))
        weight = weight + lack * (0.348 - 0.642 * inverse_frequency * np.exp(-((tau - 1.0) ** 2))) + self.core_shift
        core = self.core_scale * Rm * np.maximum(core, 0.005)
        tail = self.tail_scale * Rm * np.clip(tail, 0.05, 20.0)
        return core, np.maximum(tail, core), np.clip(weight, 0.0, 1.0)


def relative_depth(t: Array, T: Array, alpha: Array, median_alpha: Array) -> Array:
    r"""$\tau = \frac{t}{\langle t \rangle} \frac{e^{\langle \ln \alpha \rangle}}{e^{\langle \ln \alpha \rangle} - 1}$.

    $\langle t \rangle = T \alpha / (\alpha - 1)$ is each shower's own mean depth. Depths `t` `(n, s)` [X0], the rest `(n,)`.
    """
    own = (alpha - 1.0) / (T * alpha) * median_alpha / (median_alpha - 1.0)
    return np.asarray(np.maximum(t, 0.0) * own[:, None])


def spot_numbers(energy: Array, sampling_term: float) -> Array:
    r"""Number of spots of a shower, $(10.3 / c)\, (E / \mathrm{GeV})^{0.959}$ with $c$ [sqrt(GeV)] the sampling term."""
    return np.asarray(10.3 / sampling_term * (np.asarray(energy, float) / 1000.0) ** 0.959)


def spot_profile(stack: SamplingStack, T: Array, alpha: Array) -> tuple[Array, Array]:
    """T [X0] and alpha of the spots' own gamma profile."""
    return T * (0.813 + 0.0019 * stack.Z), np.maximum(alpha * (0.844 + 0.0026 * stack.Z), 1.05)


def conversion_depths(n: int, generator: np.random.Generator) -> Array:
    """Depths [X0] at which photons convert, `(n,)`, exponential."""
    return generator.exponential(CONVERSION_LENGTH, n)


def pair_shares(n: int, generator: np.random.Generator) -> Array:
    """Energy share of the positron of a converted photon, `(n,)`, density 9/7 (1 - 4/3 x (1 - x)) (complete screening).

    It is a uniform distribution in 6 of 7 cases and 3 (2x - 1)^2 in the seventh.
    """
    u = generator.random(n)
    edgy = 0.5 * (1.0 + np.cbrt(2.0 * generator.random(n) - 1.0))
    return np.where(generator.random(n) < 6.0 / 7.0, u, edgy)
