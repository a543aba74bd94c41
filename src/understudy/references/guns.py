"""Particle guns: distributions of the conditions that a calorimeter simulation is asked for.

A gun is plain data (it can be written in a recipe) with `draw(n, generator)`. The incident energy is the total energy of
the particle, so that `E^2 = |p|^2 + m^2`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, model_validator

from understudy.geometry import BARREL_RADIUS, DPHI
from understudy.schema import Array, Block

ELECTRON_MASS = 0.51099895
"""Mass of the electron [MeV] (PDG)."""

ENERGY = Block("incident_energy", "MeV", minimum=0.0)
MOMENTUM = Block("momentum", "MeV", shape=(3,), columns=("px", "py", "pz"))
POSITION = Block("position", "mm", shape=(2,), columns=("x", "y"))


class EnergySpectrum(BaseModel):
    """Incident energies [MeV].

    Args:
        energy_range: lowest and highest total energy [MeV].
        spectrum: `log` (uniform in the logarithm), `uniform`, or `fixed` (both ends of the range are the same).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    energy_range: tuple[PositiveFloat, PositiveFloat] = (1000.0, 60000.0)
    spectrum: Literal["log", "uniform", "fixed"] = "log"

    @model_validator(mode="after")
    def _ordered(self) -> EnergySpectrum:
        low, high = self.energy_range
        if high < low:
            raise ValueError(f"the energy range must go upwards, not from {low:g} to {high:g} MeV")
        if self.spectrum == "fixed" and high != low:
            raise ValueError(f"a fixed energy needs a range with equal ends, not {low:g} to {high:g} MeV")
        return self

    def energies(self, n: int, generator: np.random.Generator) -> Array:
        """`n` total energies [MeV], `(n,)`."""
        low, high = self.energy_range
        if self.spectrum == "log":
            return np.asarray(np.exp(generator.uniform(np.log(low), np.log(high), n)))
        return generator.uniform(low, high, n)


class PhotonGun(EnergySpectrum):
    """Photons at normal incidence, uniform over the central middle cell.

    Args:
        cell: size of the cell [mm] along x (eta) and y (phi); positions count from its lower corner.
    """

    cell: tuple[PositiveFloat, PositiveFloat] = (0.025 * BARREL_RADIUS, DPHI * BARREL_RADIUS)

    def draw(self, n: int, generator: np.random.Generator) -> dict[str, Any]:
        """`incident_energy` `(n,)` [MeV] and `position` `(n, 2)` [mm]."""
        energy = self.energies(n, generator)
        return {ENERGY.name: energy, POSITION.name: generator.uniform(0.0, 1.0, (n, 2)) * self.cell}


class ElectronGun(EnergySpectrum):
    """Electrons with slopes, from a square spot at the centre of the front face.

    Args:
        slope: largest `|dx/dz|` and `|dy/dz|`, each uniform.
        spot: side of the square [mm].
        mass: mass of the particle [MeV]; with 0 it is a photon gun.
    """

    slope: NonNegativeFloat = 0.15
    spot: NonNegativeFloat = 10.0
    mass: Annotated[float, Field(ge=0.0)] = ELECTRON_MASS

    @model_validator(mode="after")
    def _above_mass(self) -> ElectronGun:
        if self.energy_range[0] <= self.mass:
            raise ValueError(
                f"the energies start at {self.energy_range[0]:g} MeV; they must be above the mass, {self.mass:g} MeV"
            )
        return self

    def draw(self, n: int, generator: np.random.Generator) -> dict[str, Any]:
        """`incident_energy` `(n,)` [MeV], `momentum` `(n, 3)` [MeV] and `position` `(n, 2)` [mm]."""
        energy = self.energies(n, generator)
        slopes = generator.uniform(-self.slope, self.slope, (n, 2))
        momentum = np.sqrt(energy**2 - self.mass**2)
        pz = momentum / np.sqrt(1.0 + (slopes**2).sum(1))
        return {
            ENERGY.name: energy,
            MOMENTUM.name: np.stack([slopes[:, 0] * pz, slopes[:, 1] * pz, pz], 1),
            POSITION.name: generator.uniform(-0.5, 0.5, (n, 2)) * self.spot,
        }
