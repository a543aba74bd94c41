r"""Single charged pions in an iron-scintillator stack in Geant4, as images of the LHCb HCAL.

The stack stands in for LHCb's: its electromagnetic calorimeter as dead material (66 x 2 mm lead + 4 mm scintillator, 1.1
interaction lengths), then 56 x 16 mm iron + 4 mm scintillator, 5.6 interaction lengths. (The HCAL's own tiles lie along the
beam.) Its face is a window of 21 x 21 pixels of 131.3 mm around the pixel that the pion flies to; what was seen in it is put at
that pixel's place in the merged image, on the electromagnetic scale, and read out as the parametrised showers are. Pions
have either charge, and enter along their line from the interaction point.

A hadronic shower needs a full physics list (`FTFP_BERT`) and Geant4's hadronic data. With `opt0` pions ionise and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from understudy import hcal_geometry as hcal
from understudy.references.geant4 import Geant4
from understudy.references.geant4_stack import Section, Slab, Stack
from understudy.references.guns import ENERGY, MOMENTUM, POSITION
from understudy.references.hcal_pions import PionGun, PionSimulator, PionSource
from understudy.references.hcal_shower import PION_MASS
from understudy.registry import register
from understudy.schema import Array

WINDOW = 21
"""Pixels of the stack's face along x and y, odd."""
ELECTROMAGNETIC = 1 / 0.0368
"""One over the part of an electron's energy that the scintillator sees, of electrons of 10 GeV that enter the iron."""


def stack(ecal: bool = True) -> Stack:
    """The calorimeter; without `ecal` its iron begins at the front face."""
    lead, iron = Slab(material="G4_Pb", thickness=2), Slab(material="G4_Fe", thickness=16)
    passive = Slab(material="G4_PLASTIC_SC_VINYLTOLUENE", thickness=4)
    layer = (iron, passive.model_copy(update={"active": True}))
    sections = (
        *([Section(name="ecal", slabs=(lead, passive), repeat=66)] if ecal else []),
        Section(name="hcal", slabs=layer, repeat=56, cells=(WINDOW, WINDOW), calibration=ELECTROMAGNETIC),
    )
    return Stack(name="lhcb-hcal", size=(WINDOW * hcal.CELL, WINDOW * hcal.CELL), sections=sections)


FRONT = stack().sections[0].thickness
"""From the stack's front face to that of its HCAL [mm]."""


@dataclass(frozen=True)
class Geant4Pions(PionSimulator):
    """The simulator of single pions with showers of Geant4.

    Args:
        physics: a reference physics list, or `opt0` for ionisation alone.
        cut: production cut [mm].
        processes: number of worker processes; None for one per available core.
        progress: called with the number of newly finished events.
    """

    physics: str = "FTFP_BERT"
    cut: float = 0.7
    processes: int | None = None
    progress: Callable[[int], None] | None = field(default=None, compare=False)

    def images(self, position: Array, momentum: Array, generator: np.random.Generator) -> Array:
        """One image per pion, before the read-out, `(n, 52, 64)` [MeV]; the generator draws charges and Geant4's seeds.

        Raises:
            ModuleNotFoundError, FileNotFoundError, ValueError, RuntimeError: as `Geant4.simulate`.
        """
        row, column = np.divmod(hcal.pixel(*position.T), hcal.SHAPE[1])
        centre = np.column_stack([column - (hcal.SHAPE[1] - 1) / 2, row - (hcal.SHAPE[0] - 1) / 2]) * hcal.CELL
        slopes = momentum[:, :2] / momentum[:, 2:]
        conditions = {
            ENERGY.name: np.sqrt((momentum**2).sum(1) + PION_MASS**2),
            MOMENTUM.name: momentum,
            POSITION.name: position - centre - FRONT * slopes,
        }
        positive = generator.random(len(position)) < 0.5
        window = np.zeros((len(position), WINDOW, WINDOW))
        for rows, particle in ((np.flatnonzero(positive), "pi+"), (np.flatnonzero(~positive), "pi-")):
            engine = Geant4(stack(), particle, True, self.physics, self.cut, self.processes, progress=self.progress)
            made = engine.simulate({name: values[rows] for name, values in conditions.items()}, generator)
            window[rows] = made["showers"].reshape(-1, WINDOW, WINDOW).transpose(0, 2, 1)  # rows along y
        reach = WINDOW // 2
        wide = np.zeros((len(position), hcal.SHAPE[0] + 2 * reach, hcal.SHAPE[1] + 2 * reach))
        for image, seen, r, c in zip(wide, window, row, column, strict=True):
            image[r : r + WINDOW, c : c + WINDOW] = seen
        found: Array = wide[:, reach:-reach, reach:-reach] * hcal.pixel_sines() * ~hcal.hole_pixels()
        return found


@register("references", "lhcb-hcal-pions-geant4")
def lhcb_hcal_pions_geant4(
    gun: PionGun = PionGun(),  # noqa: B008
    dead: tuple[tuple[int, int], ...] = hcal.DEAD,
    physics_list: str = "FTFP_BERT",
    cut: PositiveFloat = 0.7,
    processes: PositiveInt | None = None,
) -> PionSource:
    """Single charged pions in an iron-scintillator stack in Geant4, which needs its hadronic data.

    Args:
        gun: which pions.
        dead: (row, column) of dead inner cells.
        physics_list: of Geant4.
        cut: production cut [mm].
        processes: worker processes; one per core if None.
    """
    hcal.alive(dead)
    return PionSource(gun, Geant4Pions(dead=dead, physics=physics_list, cut=cut, processes=processes))
