"""Real Geant4 as a reference, through `geant4-pybind` (S. Agostinelli et al., NIM A 506 (2003) 250).

A `Geant4` simulator shoots one particle per event at the front face of a sampling calorimeter (`geant4_stack.Stack`) and
answers with the energies in its cells. Showers come from separate worker processes, one run manager each, in chunks that
have one seed each: the same generator gives the same bytes with any number of processes.

Physics lists are `opt0` (G4EmStandardPhysics) to `opt4`, or a full reference list by its name (`FTFP_BERT`), which needs
Geant4's hadronic data.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveFloat, PositiveInt

from understudy.events import Events
from understudy.geometry import Calorimeter
from understudy.references.geant4_data import missing_data, require_geant4
from understudy.references.geant4_pool import Pool, split
from understudy.references.geant4_stack import AnyStack, Stack, ready
from understudy.references.guns import ENERGY, MOMENTUM, POSITION, ElectronGun, PhotonGun
from understudy.registry import register
from understudy.schema import Block, Schema
from understudy.simulator import Conditions, GunSource
from understudy.versions import available_cores

SHOWERS = "showers"
CHUNK = 50
"""Events per seed; part of what a seed means."""


@dataclass
class Geant4:
    """A Simulator: one particle per event into a stack.

    Args:
        stack: the calorimeter.
        particle: Geant4's name of the incident particle.
        slopes: True if the conditions hold the momentum; False for normal incidence.
        physics: `opt0` ... `opt4`, or a reference physics list.
        cut: production cut [mm].
        processes: number of worker processes; None for one per available core.
        depth_profile: True adds `aux["depth_profile"]`, the energy in the active slab of each readout layer [MeV],
            calibrated as the cells are and summed over the whole face.
        deposits: True adds `aux["deposits"]`, the energy deposited in each slab of a section, summed over its layers [MeV],
            not calibrated; what is missing to the incident energy left the calorimeter.
        progress: called with the number of newly finished events, in the caller's thread.
    """

    stack: Stack
    particle: str = "e-"
    slopes: bool = True
    physics: str = "opt0"
    cut: float = 0.7
    processes: int | None = None
    depth_profile: bool = False
    deposits: bool = False
    progress: Callable[[int], None] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not self.cut > 0:
            raise ValueError(f"the production cut must be above 0 mm, found {self.cut:g} mm")
        if self.processes is not None and self.processes < 1:
            raise ValueError(f"Geant4 needs at least one process, found {self.processes}")

    @property
    def geometry(self) -> Calorimeter:
        """Where the cells of the response sit."""
        return self.stack.calorimeter()

    @property
    def schema(self) -> Schema:
        """Total energy, momentum unless the incidence is normal, and entry point in; cells out."""
        conditions = (ENERGY, MOMENTUM, POSITION) if self.slopes else (ENERGY, POSITION)
        response = (Block(SHOWERS, "MeV", shape=(self.geometry.n_cells,), minimum=0.0),)
        return Schema(conditions, response, self._aux())

    def _aux(self) -> tuple[Block, ...]:
        blocks = []
        if self.depth_profile:
            blocks.append(Block("depth_profile", "MeV", shape=(sum(s.repeat for s in self.stack.readout),), minimum=0.0))
        if self.deposits:
            names = tuple(f"{s.name}.{slab.material}.{i}" for s in self.stack.sections for i, slab in enumerate(s.slabs))
            blocks.append(Block("deposits", "MeV", shape=(len(names),), columns=names, minimum=0.0))
        return tuple(blocks)

    def simulate(self, conditions: Conditions, generator: np.random.Generator) -> Events:
        """Simulate every row of `conditions` once.

        Args:
            conditions: `incident_energy` `(n,)`, total energy [MeV]; `position` `(n, 2)`, entry point on the front face
                relative to its centre [mm]; `momentum` `(n, 3)` [MeV] if the simulator takes slopes.
            generator: source of the chunks' seeds.

        Raises:
            ValueError: conditions that the detector cannot be asked for, or an unknown material, particle or physics list.
            ModuleNotFoundError: `geant4-pybind` is not installed.
            FileNotFoundError: Geant4's data are not there.
            RuntimeError: Geant4 stopped; its reason is quoted.
        """
        schema = self.schema
        asked = Events(
            Schema(schema.conditions), {b.name: conditions[b.name] for b in self._asked(conditions)}, where="conditions"
        )
        beam = self._beam(asked)
        data = require_geant4(os.environ, Path.home())
        job = {
            "stack": self.stack.model_dump(mode="json"),
            "particle": self.particle,
            "physics": self.physics,
            "cut": self.cut,
            "depth_profile": self.depth_profile,
            "deposits": self.deposits,
            "missing": missing_data(self.physics, data),
        }
        pool = Pool(job, data, self.processes or available_cores(), self.progress)
        widths = [b.width for b in (*schema.response, *schema.aux)]
        rows = pool.run(split(beam, CHUNK, generator), sum(widths))
        parts = np.split(rows, np.cumsum(widths)[:-1], axis=1)
        aux = {b.name: part for b, part in zip(schema.aux, parts[1:], strict=True)}
        return Events(schema, asked.conditions, {SHOWERS: parts[0]}, aux=aux, where="Geant4")

    def _asked(self, conditions: Conditions) -> tuple[Block, ...]:
        """The condition blocks, once the given names are seen to be these."""
        blocks = self.schema.conditions
        names = ", ".join(b.name for b in blocks)
        if missing := [b.name for b in blocks if b.name not in conditions]:
            raise ValueError(f"the conditions lack {', '.join(missing)}; this simulation needs {names}")
        if unknown := set(conditions) - {b.name for b in blocks}:
            raise ValueError(f"unknown condition {', '.join(sorted(unknown))}; this simulation takes {names}")
        return blocks

    def _beam(self, asked: Events) -> NDArray[np.float64]:
        """The workers' columns: total energy, |p| or NaN, entry point, direction; `(n, 7)`."""
        energy = np.asarray(asked["incident_energy"], float)
        position = np.asarray(asked["position"], float)
        n = len(energy)
        half = 0.5 * np.asarray(self.stack.size)
        if (outside := np.flatnonzero((np.abs(position) > half).any(1))).size:
            x, y = position[outside[0]]
            raise ValueError(
                f"event {outside[0]} enters at ({x:g}, {y:g}) mm, beside the front face of {self.stack.name!r},"
                f" which ends at ({half[0]:g}, {half[1]:g}) mm"
            )
        if not self.slopes:
            return np.column_stack([energy, np.full(n, np.nan), position, np.tile([0.0, 0.0, 1.0], (n, 1))])
        vector = np.asarray(asked["momentum"], float)
        if (backwards := np.flatnonzero(vector[:, 2] <= 0)).size:
            raise ValueError(
                f"event {backwards[0]} has pz = {vector[backwards[0], 2]:g} MeV and misses the front face; pz must be above 0"
            )
        momentum = np.linalg.norm(vector, axis=1)
        return np.column_stack([energy, momentum, position, vector / momentum[:, None]])


@dataclass(frozen=True)
class Geant4Source(GunSource):
    """Showers of a gun in Geant4."""

    simulator: Geant4

    @property
    def geometry(self) -> Calorimeter:
        """Where the cells of the response sit."""
        return self.simulator.geometry


@register("references", "geant4")
def custom(
    stack: AnyStack,
    gun: ElectronGun = ElectronGun(),  # noqa: B008
    particle: str = "e-",
    physics: str = "opt0",
    cut: PositiveFloat = 0.7,
    processes: PositiveInt | None = None,
    depth_profile: bool = False,
    deposits: bool = False,
) -> Geant4Source:
    """Any stack, ready by name or described; the gun's mass must be that of the particle."""
    simulator = Geant4(stack, particle, True, physics, cut, processes, depth_profile, deposits)
    return Geant4Source(gun, simulator)


@register("references", "geant4-lhcb-ecal")
def lhcb_ecal(
    gun: ElectronGun = ElectronGun(),  # noqa: B008
    physics: str = "opt0",
    cut: PositiveFloat = 0.7,
    processes: PositiveInt | None = None,
    depth_profile: bool = False,
) -> Geant4Source:
    """Electrons in the LHCb-like shashlik, 30 x 30 cells of 20 mm."""
    return Geant4Source(gun, Geant4(ready("lhcb-ecal"), "e-", True, physics, cut, processes, depth_profile))


@register("references", "geant4-atlas-lar")
def atlas_lar(
    gun: PhotonGun = PhotonGun(),  # noqa: B008
    physics: str = "opt0",
    cut: PositiveFloat = 0.7,
    processes: PositiveInt | None = None,
    depth_profile: bool = False,
) -> Geant4Source:
    """Photons in the ATLAS-like lead/liquid-argon box, the 247-cell cluster, on the electromagnetic scale."""
    return Geant4Source(gun, Geant4(ready("atlas-lar"), "gamma", False, physics, cut, processes, depth_profile))
