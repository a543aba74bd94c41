r"""Cherenkov light of a charged particle in a gas: angle, threshold, yield, and how well it tells two masses apart.

A particle of velocity $\beta$ in a medium of refractive index $n$ radiates at $\cos\theta_c = 1/(n\beta)$ if $\beta > 1/n$, that
is above the momentum $p_t = m/\sqrt{n^2-1}$. The number of detected photons is $N = N_0 \sin^2\theta_c$. At high momentum two
masses differ by $\Delta\theta_c \approx |m_1^2 - m_2^2| / (2 p^2 \sqrt{n^2-1})$, which divided by the resolution of the ring's
angle is the separation in standard deviations.

Source: Review of Particle Physics, *Particle detectors at accelerators*, section on Cherenkov detectors.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, model_validator

from understudy.schema import Array

SPECIES = ("pion", "kaon", "proton", "muon", "electron")
"""Names of the particles; their places are the classes of the condition `species`."""
MASSES = np.array([139.57039, 493.677, 938.27208816, 105.6583755, 0.51099895])
"""Masses [MeV] (PDG), in the order of `SPECIES`."""
MRAD = 1e-3


class Radiator(BaseModel):
    """A gas radiator with its photon detectors.

    Args:
        name: of the gas.
        index: refractive index; light of one colour stands for all.
        acceptance: smallest and largest polar angle [rad] of tracks that are seen.
        photons: mean number of detected photons of a saturated ring (a track at the speed of light).
        resolution: standard deviation of one photon's Cherenkov angle [rad].
        background: photons of other tracks inside the window of angles, per track in the event.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    index: Annotated[float, Field(gt=1.0)]
    acceptance: tuple[NonNegativeFloat, PositiveFloat]
    photons: PositiveFloat
    resolution: PositiveFloat
    background: PositiveFloat

    @model_validator(mode="after")
    def _ordered(self) -> Radiator:
        if not self.acceptance[0] < self.acceptance[1]:
            raise ValueError("the acceptance goes from {:g} to {:g} rad; give the lower end first".format(*self.acceptance))
        return self

    @property
    def window(self) -> float:
        """Largest Cherenkov angle [rad] at which photons are looked for: five standard deviations above the saturated ring."""
        return saturated_angle(self.index) + 5 * self.resolution

    def sees(self, pseudorapidity: Any) -> Array:
        """Whether tracks of these pseudorapidities are inside the acceptance."""
        angle = 2 * np.arctan(np.exp(-np.asarray(pseudorapidity, float)))
        return np.asarray((angle >= self.acceptance[0]) & (angle <= self.acceptance[1]))

    def angle(self, momentum: Any, mass: Any) -> Array:
        """Cherenkov angle [rad] of particles of `momentum` and `mass` [MeV]; 0 below threshold."""
        return cherenkov_angle(momentum, mass, self.index)

    def expected(self, momentum: Any, mass: Any) -> Array:
        r"""Mean number of detected photons, $N_0 \sin^2\theta_c$."""
        return np.asarray(self.photons * np.sin(self.angle(momentum, mass)) ** 2 / np.sin(saturated_angle(self.index)) ** 2)


RICH1 = Radiator(
    name="C4F10", index=1.0014, acceptance=(25 * MRAD, 300 * MRAD), photons=30.0, resolution=1.6 * MRAD, background=0.12
)
RICH2 = Radiator(
    name="CF4", index=1.0005, acceptance=(15 * MRAD, 120 * MRAD), photons=22.0, resolution=0.67 * MRAD, background=0.06
)
"""The two radiators of LHCb, with yields and resolutions as in the experiment's performance papers, rounded."""


def cherenkov_angle(momentum: Any, mass: Any, index: float) -> Array:
    r"""$\arccos(1/n\beta)$ [rad], 0 below threshold; `momentum` and `mass` [MeV] are broadcast."""
    inverse_square = 1 + np.square(np.asarray(mass, float) / np.asarray(momentum, float))
    sine_square = 1 - inverse_square / index**2
    return np.asarray(np.arcsin(np.sqrt(np.clip(sine_square, 0.0, None))))


def saturated_angle(index: float) -> float:
    r"""$\arccos(1/n)$ [rad]: the angle of a particle at the speed of light."""
    return float(np.arccos(1 / index))


def threshold(mass: Any, index: float) -> Array:
    """Momentum [MeV] above which a particle of `mass` [MeV] radiates."""
    return np.asarray(np.asarray(mass, float) / np.sqrt(index**2 - 1))


def separation(momentum: Any, one: float, other: float, index: float, resolution: Any) -> Array:
    """Separation of two masses [MeV] in standard deviations, for a `resolution` [rad] of the ring's angle; high momentum."""
    return np.asarray(abs(one**2 - other**2) / (2 * np.square(momentum) * resolution * np.sqrt(index**2 - 1)))
