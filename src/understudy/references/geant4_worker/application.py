"""The Geant4 application: physics, primary particles and read-out around the detector, from a plain description.

Python is called twice per event and never per step: to shoot the particle and to read the hit maps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import geant4_pybind as g4
import numpy as np
from numpy.typing import NDArray

from understudy.references.geant4_stack import Section, Stack
from understudy.references.geant4_worker.detector import Detector, slab_name

BEAM = ("energy", "momentum", "x", "y", "ux", "uy", "uz")
"""Columns of a beam: total energy [MeV], |p| [MeV] or NaN, entry point on the front face [mm], direction."""

EM_PHYSICS = {
    "opt0": g4.G4EmStandardPhysics,
    "opt1": g4.G4EmStandardPhysics_option1,
    "opt2": g4.G4EmStandardPhysics_option2,
    "opt3": g4.G4EmStandardPhysics_option3,
    "opt4": g4.G4EmStandardPhysics_option4,
}


def physics_list(name: str, missing: Sequence[str]) -> Any:
    """`opt0` ... `opt4`, or a full reference list; `missing` are the data variables that the latter would lack."""
    if name in EM_PHYSICS:
        physics = g4.G4VModularPhysicsList()
        physics.RegisterPhysics(EM_PHYSICS[name]())
    else:
        factory = g4.G4PhysListFactory()
        factory.SetVerbose(0)
        if not factory.IsReferencePhysList(name):
            known = [*EM_PHYSICS, *(str(n) for n in factory.AvailablePhysLists())]
            raise ValueError(f"Geant4 knows no physics list {name!r}; choose one of {', '.join(known)}")
        if missing:
            raise FileNotFoundError(
                f"the physics list {name} needs data that are not there; set {', '.join(missing)} to their folders"
            )
        physics = factory.GetReferencePhysList(name)
    physics.SetVerboseLevel(0)
    return physics


class Beam(g4.G4VUserPrimaryGeneratorAction):  # type: ignore[misc]
    """Shoots one particle per event."""

    def __init__(self, particle: str) -> None:
        super().__init__()
        definition = g4.G4ParticleTable.GetParticleTable().FindParticle(particle)
        if definition is None:
            raise ValueError(f"Geant4 knows no particle {particle!r}; use its names: e-, e+, gamma, mu-, pi+, proton")
        self.gun = g4.G4ParticleGun(1)
        self.gun.SetParticleDefinition(definition)
        self.mass = float(definition.GetPDGMass())
        self.rows: NDArray[np.float64] = np.zeros((0, len(BEAM)))

    def GeneratePrimaries(self, event: Any) -> None:
        """Geant4 asks for the particles of an event."""
        energy, _, x, y, ux, uy, uz = map(float, self.rows[event.GetEventID()])
        self.gun.SetParticlePosition(g4.G4ThreeVector(x, y, -1e-3))
        self.gun.SetParticleMomentumDirection(g4.G4ThreeVector(ux, uy, uz))
        self.gun.SetParticleEnergy(energy - self.mass)
        self.gun.GeneratePrimaryVertex(event)


class Readout(g4.G4UserEventAction):  # type: ignore[misc]
    """Copies the hit maps of each event into arrays `(n, size)` by name."""

    def __init__(self, sizes: Mapping[str, int], on_event: Callable[[], None]) -> None:
        super().__init__()
        self.sizes, self.on_event = sizes, on_event
        self.numbers: dict[str, int] = {}
        self.maps: dict[str, NDArray[np.float64]] = {}

    def reset(self, n: int) -> None:
        """Make room for `n` events."""
        manager = g4.G4SDManager.GetSDMpointer()
        self.numbers = {name: manager.GetCollectionID(name) for name in self.sizes}
        self.maps = {name: np.zeros((n, size)) for name, size in self.sizes.items()}

    def EndOfEventAction(self, event: Any) -> None:
        """Geant4 has finished an event."""
        collections, row = event.GetHCofThisEvent(), event.GetEventID()
        for name, number in self.numbers.items():
            target = self.maps[name][row]
            for copy, energy in collections.GetHC(number):
                target[copy] = energy
        self.on_event()


class Actions(g4.G4VUserActionInitialization):  # type: ignore[misc]
    """Hands the user actions to the run manager."""

    def __init__(self, particle: str, readout: Readout) -> None:
        super().__init__()
        self.particle, self.readout = particle, readout

    def Build(self) -> None:
        """Geant4 asks for the user actions."""
        self.beam = Beam(self.particle)
        self.SetUserAction(self.beam)
        self.SetUserAction(self.readout)


class Application:
    """One run manager.

    Args:
        job: `stack`, `particle`, `physics`, `cut` [mm], `depth_profile`, `deposits` and `missing` (data variables).
        on_event: called after each event.
    """

    def __init__(self, job: Mapping[str, Any], on_event: Callable[[], None]) -> None:
        self.stack = Stack.model_validate(job["stack"])
        self.depth_profile, self.deposits = bool(job["depth_profile"]), bool(job["deposits"])
        self.manager = g4.G4RunManagerFactory.CreateRunManager(g4.G4RunManagerType.SerialOnly)
        self.detector = Detector(self.stack, self.depth_profile, self.deposits)
        self.physics = physics_list(job["physics"], job["missing"])
        self.manager.SetUserInitialization(self.detector)
        self.manager.SetUserInitialization(self.physics)
        self.readout = Readout(self._sizes(), on_event)  # Geant4 wants the physics list before any user action
        self.actions = Actions(job["particle"], self.readout)
        self.manager.SetUserInitialization(self.actions)
        g4.G4EmParameters.Instance().SetVerbose(0)
        commands = g4.G4UImanager.GetUIpointer()
        for command in ("/run/verbose 0", f"/run/setCut {float(job['cut'])!r} mm"):
            commands.ApplyCommand(command)
        self.manager.Initialize()

    def _sizes(self) -> dict[str, int]:
        sizes = {f"{s.name}/cells": int(np.prod(s.cells or ())) for s in self.stack.readout}
        if self.depth_profile:
            sizes |= {f"{s.name}/layers": s.repeat for s in self.stack.readout}
        if self.deposits:
            passive = [slab_name(s, i) for s in self.stack.sections for i, slab in enumerate(s.slabs) if not slab.active]
            sizes |= {f"{name}/slab": 1 for name in passive}
        return sizes

    def simulate(self, beam: NDArray[np.float64], seeds: Sequence[int], first: int) -> NDArray[np.float32]:
        """Simulate a beam `(n, 7)` from `seeds` (four of 32 bits); rows of cells, then depth profile, then deposits [MeV].

        Raises:
            ValueError: an energy not above the particle's mass, or in conflict with the momentum; events count from `first`.
        """
        self._check(beam, first)
        self.actions.beam.rows = beam
        self.readout.reset(len(beam))
        g4.HepRandom.setTheSeeds([*seeds, 0], len(seeds))  # the list must end with 0
        self.manager.BeamOn(len(beam))
        parts = [self._cells(s) for s in self.stack.readout]
        if self.depth_profile:
            parts += [s.calibration * self.readout.maps[f"{s.name}/layers"] for s in self.stack.readout]
        if self.deposits:
            parts += [self._deposits(s, number) for s in self.stack.sections for number in range(len(s.slabs))]
        return np.concatenate(parts, axis=1).astype(np.float32)

    def _check(self, beam: NDArray[np.float64], first: int) -> None:
        energy, momentum, mass = beam[:, 0], beam[:, 1], self.actions.beam.mass
        if (bad := np.flatnonzero(energy <= mass)).size:
            at = int(bad[0])
            raise ValueError(
                f"event {first + at} has {energy[at]:g} MeV, not above the {mass:g} MeV that its {self.actions.particle} weighs"
            )
        expected = np.sqrt(energy**2 - mass**2)
        if (bad := np.flatnonzero(np.abs(momentum - expected) > 1e-3 * expected)).size:
            at = int(bad[0])
            raise ValueError(
                f"event {first + at} has the total energy {energy[at]:g} MeV but the momentum {momentum[at]:g} MeV,"
                f" where a {self.actions.particle} has {expected[at]:g} MeV"
            )

    def _cells(self, section: Section) -> NDArray[np.float64]:
        maps = self.readout.maps[f"{section.name}/cells"]
        grid = maps.reshape(len(maps), *(section.cells or ()))
        x, y = section.kept
        cells: NDArray[np.float64] = section.calibration * grid[:, x, y].reshape(len(maps), -1)
        return cells

    def _deposits(self, section: Section, number: int) -> NDArray[np.float64]:
        active = section.slabs[number].active
        maps = self.readout.maps[f"{section.name}/cells" if active else f"{slab_name(section, number)}/slab"]
        total: NDArray[np.float64] = maps.sum(1, keepdims=True)
        return total
