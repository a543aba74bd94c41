r"""The effective medium of a sampling calorimeter, as showers see it.

Passive and active plates with mass fractions $w_i$ are replaced by one medium (Grindhammer and Peters, hep-ex/0001020,
section 3.1):

$$ Z_\mathrm{eff} = \sum w_i Z_i, \quad \frac{1}{X_{0,\mathrm{eff}}} = \sum \frac{w_i}{X_{0,i}}, \quad
   E_{c,\mathrm{eff}} = X_{0,\mathrm{eff}} \sum \frac{w_i E_{c,i}}{X_{0,i}}, \quad
   \frac{1}{R_{M,\mathrm{eff}}} = \frac{1}{E_s} \sum \frac{w_i E_{c,i}}{X_{0,i}} $$

with radiation lengths in g/cm2. Two numbers say how far the stack is from a homogeneous block: the sampling frequency
$F_S = X_{0,\mathrm{eff}} / (d_a + d_p)$, the plates per radiation length, and $\hat e = 1 / (1 + 0.007 (Z_p - Z_a))$, the
response to electrons relative to that to minimum-ionising particles.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

SCALE_ENERGY = 21.2
"""Multiple-scattering energy $E_s$ [MeV]."""


@dataclass(frozen=True)
class Medium:
    """A material.

    Args:
        name: its name.
        Z: atomic number; of a compound the mean over mass fractions.
        A: atomic mass [g/mol]; of a compound such that Z / A is that of the compound.
        density: [g/cm3].
        X0: radiation length [g/cm2].
    """

    name: str
    Z: float
    A: float
    density: float
    X0: float

    @property
    def Ec(self) -> float:
        """Critical energy [MeV], $2.66 (X_0 Z / A)^{1.1}$."""
        return float(2.66 * (self.X0 * self.Z / self.A) ** 1.1)

    @property
    def Rm(self) -> float:
        """Moliere radius [mm]."""
        return self.X0_mm * SCALE_ENERGY / self.Ec

    @property
    def X0_mm(self) -> float:
        """Radiation length [mm]."""
        return 10.0 * self.X0 / self.density


LEAD = Medium("Pb", 82.0, 207.2, 11.35, 6.37)
IRON = Medium("Fe", 26.0, 55.845, 7.874, 13.84)
LIQUID_ARGON = Medium("liquid Ar", 18.0, 39.948, 1.396, 19.55)
SCINTILLATOR = Medium("polyvinyltoluene", 5.575, 10.30, 1.032, 43.90)
"""Materials of the built-in stacks (PDG, Atomic and Nuclear Properties of Materials)."""


@dataclass(frozen=True)
class SamplingStack:
    """Plates that repeat along the depth.

    Args:
        passive: materials of one layer that are not read out, with their thicknesses [mm].
        active: the material that is read out, with its thickness [mm].

    Raises:
        ValueError: no passive plate, or a thickness that is not positive.
    """

    passive: tuple[tuple[Medium, float], ...]
    active: tuple[Medium, float]

    def __post_init__(self) -> None:
        if not self.passive or min(d for _, d in self.plates) <= 0:
            raise ValueError("a sampling stack needs passive plates and an active one, all with a positive thickness")

    @property
    def plates(self) -> tuple[tuple[Medium, float], ...]:
        """All plates of one layer with their thicknesses [mm]."""
        return (*self.passive, self.active)

    @property
    def period(self) -> float:
        """Thickness of one layer [mm]."""
        return sum(d for _, d in self.plates)

    @cached_property
    def mass_fractions(self) -> tuple[float, ...]:
        """Mass fraction $w_i$ of each plate."""
        total = sum(m.density * d for m, d in self.plates)
        return tuple(m.density * d / total for m, d in self.plates)

    def _mean(self, values: list[float]) -> float:
        return sum(w * v for w, v in zip(self.mass_fractions, values, strict=True))

    @cached_property
    def Z(self) -> float:
        """Effective atomic number."""
        return self._mean([m.Z for m, _ in self.plates])

    @cached_property
    def density(self) -> float:
        """Mean density [g/cm3]."""
        return sum(m.density * d for m, d in self.plates) / self.period

    @cached_property
    def X0(self) -> float:
        """Effective radiation length [mm]."""
        return 10.0 / self._mean([1.0 / m.X0 for m, _ in self.plates]) / self.density

    @cached_property
    def Ec(self) -> float:
        """Effective critical energy [MeV]."""
        return self._mean([m.Ec / m.X0 for m, _ in self.plates]) / self._mean([1.0 / m.X0 for m, _ in self.plates])

    @cached_property
    def Rm(self) -> float:
        """Effective Moliere radius [mm]."""
        return self.X0 * SCALE_ENERGY / self.Ec

    @cached_property
    def sampling_frequency(self) -> float:
        """$F_S$: layers per radiation length."""
        return self.X0 / self.period

    @cached_property
    def e_hat(self) -> float:
        r"""$\hat e$, with $Z_p$ the mean over the masses of the passive plates."""
        mass = sum(m.density * d for m, d in self.passive)
        Zp = sum(m.Z * m.density * d for m, d in self.passive) / mass
        return 1.0 / (1.0 + 0.007 * (Zp - self.active[0].Z))


LHCB_ECAL = SamplingStack(((LEAD, 2.0),), (SCINTILLATOR, 4.0))
"""2 mm lead and 4 mm scintillator."""

ATLAS_EM = SamplingStack(((LEAD, 1.53), (IRON, 0.4)), (LIQUID_ARGON, 4.2))
"""1.53 mm lead, 0.4 mm iron and 4.2 mm liquid argon."""
