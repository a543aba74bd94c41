r"""What a sampling calorimeter in Geant4 is made of: slabs, repeated in sections, one section behind the other.

A stack is a box, square to the beam: its front face lies at $z = 0$ with its centre at $x = y = 0$, and the sections follow
along $z$. A section repeats one layer of slabs; the one active slab of a readout section is cut into cells along $x$ and
$y$, whose energies are summed over the section's layers and multiplied by its calibration constant. A section without
cells is dead material. A stack is plain, frozen data: it is written in a recipe as it stands here.

The ready stacks are an LHCb-like shashlik (66 x 2 mm lead + 4 mm scintillator), a flat ATLAS-like lead/liquid-argon
accordion behind 1.7 X0 of iron, and TestEm3 of the Geant4 distribution (examples/extended/electromagnetic/TestEm3).
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from understudy.geometry import BARREL_RADIUS, DPHI, Calorimeter, Layer, builtin

Range = tuple[Annotated[int, Field(ge=0)], PositiveInt]
"""First cell and one past the last."""


class Slab(BaseModel):
    """A plate of one material.

    Args:
        material: NIST name, as Geant4 knows it (`G4_Pb`, `G4_lAr`, `G4_PLASTIC_SC_VINYLTOLUENE`, `G4_Galactic` for a gap).
        thickness: along the beam [mm].
        active: True if the energy deposited here is read out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    material: str
    thickness: PositiveFloat
    active: bool = False


class Section(BaseModel):
    """A layer of slabs, repeated.

    Args:
        name: name of the readout layer (`strips`, `middle`) or of the dead material.
        slabs: the slabs of one layer in the order that the beam meets them.
        repeat: number of layers.
        cells: number of cells along x and y over the whole face, or None for dead material.
        keep: the range of cells along x and y that the response holds; all if None.
        calibration: deposited energy is multiplied by this.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    slabs: tuple[Slab, ...] = Field(min_length=1)
    repeat: PositiveInt = 1
    cells: tuple[PositiveInt, PositiveInt] | None = None
    keep: tuple[Range, Range] | None = None
    calibration: PositiveFloat = 1.0

    @model_validator(mode="after")
    def _readable(self) -> Section:
        active = sum(slab.active for slab in self.slabs)
        if active != (0 if self.cells is None else 1):
            wanted = "no active slab because it has no cells" if self.cells is None else "exactly one active slab for its cells"
            raise ValueError(f"section {self.name!r} must have {wanted}, found {active}")
        if self.keep is not None:
            for (first, end), available in zip(self.keep, self.cells or (0, 0), strict=True):
                if not first < end <= available:
                    raise ValueError(f"section {self.name!r} cannot keep cells {first} to {end} of {available}")
        return self

    @property
    def layer_thickness(self) -> float:
        """Thickness of one layer [mm]."""
        return sum(slab.thickness for slab in self.slabs)

    @property
    def thickness(self) -> float:
        """Thickness of all layers [mm]."""
        return self.repeat * self.layer_thickness

    @property
    def kept(self) -> tuple[slice, slice]:
        """The cells along x and y that the response holds."""
        nx, ny = self.cells or (0, 0)
        (x0, x1), (y0, y1) = self.keep or ((0, nx), (0, ny))
        return slice(x0, x1), slice(y0, y1)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of kept cells along x and y."""
        x, y = self.kept
        return x.stop - x.start, y.stop - y.start


class Stack(BaseModel):
    """A sampling calorimeter.

    Args:
        name: its name.
        size: of the face along x and y [mm].
        sections: one behind the other along the beam, dead material included.
        geometry: name of the built-in geometry whose layers the readout sections are; None for a grid in x and y [mm].
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    size: tuple[PositiveFloat, PositiveFloat]
    sections: tuple[Section, ...]
    geometry: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> Stack:
        names = [section.name for section in self.sections]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"stack {self.name!r} names {', '.join(twice)} more than once; give every section its own name")
        if not self.readout:
            raise ValueError(f"stack {self.name!r} has no section with cells, so nothing would be read out")
        shapes = [layer.shape for layer in self.calorimeter().layers]
        if shapes != [section.shape for section in self.readout]:
            raise ValueError(
                f"stack {self.name!r} keeps {[s.shape for s in self.readout]} cells where {self.geometry!r} has {shapes}"
            )
        return self

    @property
    def readout(self) -> tuple[Section, ...]:
        """The sections with cells."""
        return tuple(section for section in self.sections if section.cells is not None)

    @property
    def depth(self) -> float:
        """Thickness of all sections [mm]."""
        return sum(section.thickness for section in self.sections)

    def calorimeter(self) -> Calorimeter:
        """Where the response's cells sit."""
        return builtin(self.geometry) if self.geometry else Calorimeter(self.name, tuple(self._grid(s) for s in self.readout))

    def _grid(self, section: Section) -> Layer:
        pitch = tuple(width / n for width, n in zip(self.size, section.cells or (1, 1), strict=True))
        low = tuple(p * k.start - w / 2 for p, k, w in zip(pitch, section.kept, self.size, strict=True))
        size, corner = (pitch[0], pitch[1]), (low[0], low[1])
        return Layer.grid(section.name, section.shape, size, corner, axes=("x", "y"), units=("mm", "mm"))

    def layer_depths(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Centres of the readout layers along the beam [mm], in the order of a depth profile."""
        depths, front = [], 0.0
        for section in self.sections:
            if section.cells is not None:
                depths.append(front + section.layer_thickness * (np.arange(section.repeat) + 0.5))
            front += section.thickness
        return np.concatenate(depths)


def _lead_scintillator() -> Stack:
    slabs = (Slab(material="G4_Pb", thickness=2), Slab(material="G4_PLASTIC_SC_VINYLTOLUENE", thickness=4, active=True))
    ecal = Section(name="ecal", slabs=slabs, repeat=66, cells=(30, 30))
    return Stack(name="lhcb-ecal", size=(600, 600), sections=(ecal,), geometry="lhcb-ecal")


def _lead_argon() -> Stack:
    """16 x 16 middle cells of 0.025 x 2 pi / 256 at the barrel radius, of which the 247-cell cluster is kept."""
    gap = Slab(material="G4_Galactic", thickness=20)
    argon = Slab(material="G4_lAr", thickness=4.2, active=True)
    layer = (Slab(material="G4_Fe", thickness=0.4), Slab(material="G4_Pb", thickness=1.53), argon)
    presampler = (gap, Slab(material="G4_lAr", thickness=11, active=True), gap)
    # the constants bring the mean sum of presampler and accordion to the photons' energy
    accordion = 4.855060850101379
    iron = 1.7 * 17.57
    sections = (
        Section(name="dead", slabs=(Slab(material="G4_Fe", thickness=iron),)),
        Section(name="presampler", slabs=presampler, cells=(16, 4), keep=((5, 12), (1, 3)), calibration=7.907906148215147),
        Section(name="strips", slabs=layer, repeat=13, cells=(128, 4), keep=((40, 96), (1, 3)), calibration=accordion),
        Section(name="middle", slabs=layer, repeat=49, cells=(16, 16), keep=((5, 12), (3, 14)), calibration=accordion),
        Section(name="back", slabs=layer, repeat=6, cells=(8, 16), keep=((2, 6), (3, 14)), calibration=accordion),
    )
    size = (16 * 0.025 * BARREL_RADIUS, 16 * DPHI * BARREL_RADIUS)
    return Stack(name="atlas-lar", size=size, sections=sections, geometry="atlas-em-247")


def _testem3() -> Stack:
    slabs = (Slab(material="G4_Pb", thickness=2.3), Slab(material="G4_lAr", thickness=5.7, active=True))
    return Stack(name="testem3", size=(400, 400), sections=(Section(name="gap", slabs=slabs, repeat=50, cells=(1, 1)),))


STACKS = {"lhcb-ecal": _lead_scintillator, "atlas-lar": _lead_argon, "testem3": _testem3}
"""The ready stacks by name."""


def ready(name: str) -> Stack:
    """A ready stack: `lhcb-ecal`, `atlas-lar` or `testem3`."""
    if name not in STACKS:
        raise ValueError(f"no stack called {name!r}; choose one of {', '.join(STACKS)}, or describe your own sections")
    return STACKS[name]()


def _named(value: Any) -> Any:
    return ready(value) if isinstance(value, str) else value


AnyStack = Annotated[Stack, BeforeValidator(_named)]
"""A stack, its description as plain data, or the name of a ready one."""
