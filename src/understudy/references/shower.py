"""Parametric electromagnetic showers as references to learn from: fast, and needing nothing but numpy.

Two calorimeters are built in, both with a handful of numbers fitted to Geant4 (`benchmarks/gflash_against_geant4.py` shows
how well): an ATLAS-like lead-argon stack behind 1.7 radiation lengths of iron and a presampler, and an LHCb-like
lead-scintillator stack. The parametrisation is that of Grindhammer and Peters, hep-ex/0001020; see `gflash_engine`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from pydantic import PositiveInt

from understudy import geometry as geometries
from understudy.events import Events
from understudy.geometry import BARREL_RADIUS, Calorimeter
from understudy.references.gflash_engine import Particle, Section, ShowerEngine, Tuning
from understudy.references.gflash_medium import ATLAS_EM, LHCB_ECAL, LIQUID_ARGON
from understudy.references.guns import ENERGY, MOMENTUM, POSITION, ElectronGun, PhotonGun
from understudy.registry import register
from understudy.schema import Array, Block, Schema
from understudy.simulator import Conditions, GunSource

BLOCK = 200_000
"""Spots (about) held in memory at a time."""

ATLAS_TUNING = Tuning(
    response=1.006,
    sampling_term=0.062,
    depth_scale=1.083,
    depth_shift=-0.29,
    shape_shift=-0.05,
    core_scale=0.864,
    tail_scale=1.028,
    core_shift=-0.074,
)
"""Fit to Geant4 11.4 (standard electromagnetic physics, cut 0.7 mm); the response is that on the electromagnetic scale."""

LHCB_TUNING = Tuning(
    response=0.1737,
    sampling_term=0.073,
    depth_scale=1.019,
    depth_shift=0.102,
    shape_shift=0.021,
    core_scale=0.664,
    tail_scale=0.651,
    core_shift=-0.343,
    front=23.0,
)
"""Fit to Geant4 11.4 (standard electromagnetic physics, cut 0.7 mm); the response is the visible fraction."""

_PHOTONS = PhotonGun()
_ELECTRONS = ElectronGun()


def atlas_sections() -> tuple[Section, ...]:
    """1.7 X0 of iron, 11 mm of argon read out as presampler, then 13, 49 and 6 layers of the accordion.

    The presampler's argon has a calibration of its own and sees whole particles, about 18 MeV each after calibration.
    """
    layer = ATLAS_EM.period / ATLAS_EM.X0
    return (
        Section(1.7, ionisation=25.0),
        Section(11.0 / LIQUID_ARGON.X0_mm, "presampler", response=10.0, noise=0.6, ionisation=1.8),
        Section(13 * layer, "strips"),
        Section(49 * layer, "middle"),
        Section(6 * layer, "back"),
    )


def lhcb_sections() -> tuple[Section, ...]:
    """66 layers read out together."""
    return (Section(66 * LHCB_ECAL.period / LHCB_ECAL.X0, "ecal"),)


@dataclass(frozen=True)
class ShowerSimulator:
    """A Simulator: `incident_energy` (total) and `position`, and `momentum` where showers may be inclined, to `showers`.

    Args:
        engine: makes the showers.
        inclined: take the direction from the condition `momentum`; otherwise particles enter at right angles.
    """

    engine: ShowerEngine
    inclined: bool = False

    @property
    def geometry(self) -> Calorimeter:
        """Where the cells of the response sit."""
        return self.engine.calorimeter

    @cached_property
    def schema(self) -> Schema:
        """Conditions and the cells' energies [MeV]."""
        conditions = (ENERGY, MOMENTUM, POSITION) if self.inclined else (ENERGY, POSITION)
        return Schema(conditions, (Block("showers", "MeV", shape=(self.engine.calorimeter.n_cells,), minimum=0.0),))

    def simulate(self, conditions: Conditions, generator: np.random.Generator) -> Events:
        """One shower per row of `conditions`; blocks that the schema does not name are left out.

        Raises:
            ValueError: a condition is missing, has the wrong shape, is NaN, an energy is negative, or a particle flies backwards.
        """
        names = [b.name for b in self.schema.conditions if b.name in conditions]
        asked = Events(self.schema, {n: conditions[n] for n in names}, where="the conditions of a parametric shower")
        energy, position = np.asarray(asked[ENERGY.name], float), np.asarray(asked[POSITION.name], float)
        return asked.with_response({"showers": self.engine.shower(energy, position, self._slopes(asked), generator)})

    def _slopes(self, asked: Events) -> Array:
        if not self.inclined:
            return np.zeros((len(asked), 2))
        momentum = np.asarray(asked[MOMENTUM.name], float)
        if (bad := np.flatnonzero(momentum[:, 2] <= 0)).size:
            raise ValueError(
                f"the momentum of event {bad[0]} has pz = {momentum[bad[0], 2]:g} MeV;"
                " particles must fly towards the calorimeter, with pz above 0"
            )
        return np.asarray(momentum[:, :2] / momentum[:, 2:])


@dataclass(frozen=True)
class ShowerSource(GunSource):
    """Parametric showers of a gun."""

    simulator: ShowerSimulator

    @property
    def geometry(self) -> Calorimeter:
        """Where the cells of the response sit."""
        return self.simulator.geometry


@register("references", "parametric-atlas")
def parametric_atlas(
    gun: PhotonGun = _PHOTONS,
    particle: Particle = "photon",
    geometry: str = "atlas-em-89",
    tuning: Tuning = ATLAS_TUNING,
    block: PositiveInt = BLOCK,
) -> ShowerSource:
    """Showers in the ATLAS-like box, calibrated to the electromagnetic scale.

    Args:
        gun: energies and positions; x and y count from the lower corner of the central middle cell, at radius 1500 mm.
        particle: `photon` or `electron`.
        geometry: `atlas-em-89` or `atlas-em-247`.
        tuning: fitted numbers.
        block: spots (about) held in memory at a time; part of what a seed fixes.
    """
    calorimeter = geometries.load(geometry)
    mm = (BARREL_RADIUS, BARREL_RADIUS)
    engine = ShowerEngine(calorimeter, ATLAS_EM, atlas_sections(), tuning, particle, block=block, mm=mm)
    return ShowerSource(gun, ShowerSimulator(engine))


@register("references", "parametric-lhcb-ecal")
def parametric_lhcb_ecal(
    gun: ElectronGun = _ELECTRONS,
    particle: Particle = "electron",
    geometry: str = "lhcb-ecal",
    tuning: Tuning = LHCB_TUNING,
    block: PositiveInt = BLOCK,
) -> ShowerSource:
    """Showers in the LHCb-like stack, visible energy in the scintillator.

    Args:
        gun: energies, momenta and positions; x and y count from the centre of the front face.
        particle: `electron` or `photon`.
        geometry: `lhcb-ecal`.
        tuning: fitted numbers.
        block: spots (about) held in memory at a time; part of what a seed fixes.
    """
    engine = ShowerEngine(geometries.load(geometry), LHCB_ECAL, lhcb_sections(), tuning, particle, block=block)
    return ShowerSource(gun, ShowerSimulator(engine, inclined=True))
