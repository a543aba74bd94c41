"""The stack's volumes and scorers.

Scoring is done by Geant4 itself: `G4PSEnergyDeposit3D` on replicated cells. Geant4 keeps raw pointers, so every object
that it is handed is also kept here.
"""

from __future__ import annotations

import difflib
from typing import Any

import geant4_pybind as g4

from understudy.references.geant4_stack import Section, Slab, Stack


def material(name: str) -> Any:
    """A NIST material; ValueError with the nearest name if Geant4 does not know it."""
    nist = g4.G4NistManager.Instance()
    known = {str(n).casefold(): str(n) for n in nist.GetNistMaterialNames()}
    if name not in known.values():
        close = difflib.get_close_matches(name.casefold(), known, n=1)
        hint = f" (did you mean {known[close[0]]!r}?)" if close else ""
        raise ValueError(
            f"Geant4 knows no NIST material {name!r}{hint}; use names like G4_Pb, G4_lAr or G4_PLASTIC_SC_VINYLTOLUENE"
        )
    return nist.FindOrBuildMaterial(name)


class Detector(g4.G4VUserDetectorConstruction):  # type: ignore[misc]
    """The stack's volumes and scorers."""

    def __init__(self, stack: Stack, depth_profile: bool, deposits: bool) -> None:
        super().__init__()
        self.stack, self.depth_profile, self.deposits = stack, depth_profile, deposits
        self.materials = {slab.material: material(slab.material) for section in stack.sections for slab in section.slabs}
        self.kept: list[Any] = []
        self.cells: dict[str, Any] = {}
        self.passive: dict[str, Any] = {}

    def box(self, name: str, size: tuple[float, float, float], filling: Any) -> Any:
        """A box-shaped logical volume with full lengths `size` [mm]."""
        solid = g4.G4Box(name, *(length / 2 for length in size))
        volume = g4.G4LogicalVolume(solid, filling, name)
        self.kept += [solid, volume]
        return volume

    def place(self, volume: Any, mother: Any, z: float) -> Any:
        """Put `volume` into `mother`, its centre at `z` [mm]."""
        name = str(volume.GetName())
        placed = g4.G4PVPlacement(None, g4.G4ThreeVector(0, 0, z), volume, name, mother, False, 0, False)
        self.kept.append(placed)
        return placed

    def replicate(self, volume: Any, mother: Any, axis: Any, n: int, pitch: float) -> None:
        """Fill `mother` with `n` copies of `volume`."""
        self.kept.append(g4.G4PVReplica(str(volume.GetName()), volume, mother, axis, n, pitch))

    def Construct(self) -> Any:
        """Geant4 asks for the world volume."""
        x, y = self.stack.size
        vacuum = g4.G4NistManager.Instance().FindOrBuildMaterial("G4_Galactic")
        world = self.box("world", (1.5 * x, 1.5 * y, 3 * self.stack.depth), vacuum)
        front = 0.0
        for section in self.stack.sections:
            self.place(self.section(section, vacuum), world, front + section.thickness / 2)
            front += section.thickness
        return self.place(world, None, 0.0)

    def section(self, section: Section, vacuum: Any) -> Any:
        """One section: its layers along z, in each the slabs."""
        x, y = self.stack.size
        whole = self.box(section.name, (x, y, section.thickness), vacuum)
        layer = self.box(f"{section.name}.layer", (x, y, section.layer_thickness), vacuum)
        if section.repeat > 1:
            self.replicate(layer, whole, g4.kZAxis, section.repeat, section.layer_thickness)
        else:
            self.place(layer, whole, 0.0)
        z = -section.layer_thickness / 2
        for number, slab in enumerate(section.slabs):
            volume = self.box(slab_name(section, number), (x, y, slab.thickness), self.materials[slab.material])
            self.place(volume, layer, z + slab.thickness / 2)
            z += slab.thickness
            if slab.active:
                self.cells[section.name] = self.cut(section, slab, volume)
            else:
                self.passive[slab_name(section, number)] = volume
        return whole

    def cut(self, section: Section, slab: Slab, mother: Any) -> Any:
        """Cut the active slab into columns along x and these into cells along y."""
        (nx, ny), (x, y) = section.cells or (1, 1), self.stack.size
        filling = self.materials[slab.material]
        column = self.box(f"{section.name}.column", (x / nx, y, slab.thickness), filling)
        cell = self.box(f"{section.name}.cell", (x / nx, y / ny, slab.thickness), filling)
        self.replicate(column, mother, g4.kXAxis, nx, x / nx)
        self.replicate(cell, column, g4.kYAxis, ny, y / ny)
        return cell

    def ConstructSDandField(self) -> None:
        """Geant4 asks for the scorers."""
        for section in self.stack.readout:
            nx, ny = section.cells or (1, 1)
            scorers = [g4.G4PSEnergyDeposit3D("cells", nx, ny, 1, 1, 0, 2)]  # copy numbers of column, cell and slab
            if self.depth_profile:
                scorers.append(g4.G4PSEnergyDeposit("layers", 3))
            self.score(section.name, self.cells[section.name], scorers)
        if self.deposits:
            for name, volume in self.passive.items():
                self.score(name, volume, [g4.G4PSEnergyDeposit("slab", 0)])

    def score(self, name: str, volume: Any, scorers: list[Any]) -> None:
        """Attach scorers; their hit maps are called `name/scorer`."""
        detector = g4.G4MultiFunctionalDetector(name)
        g4.G4SDManager.GetSDMpointer().AddNewDetector(detector)
        for scorer in scorers:
            detector.RegisterPrimitive(scorer)
        volume.SetSensitiveDetector(detector)
        self.kept += [detector, *scorers]


def slab_name(section: Section, number: int) -> str:
    """Name of one slab's volume."""
    return f"{section.name}.slab{number}"
