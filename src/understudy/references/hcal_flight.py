r"""From the collision to the HCAL's face: LHCb's dipole, tracks, and what each sort of particle can deposit.

Particles fly straight to the centre of the magnet at z = 5.2 m, where those of charge q get $\Delta p_x = 1.2\,q$ GeV/c at the
same |p| (4 Tm; a thin lens), and straight on to the face at 13.33 m. What is made behind the magnet gets no kick.

Charged particles give a track (x, y, et) with an efficiency that rises with momentum, if they were made in front of the
tracking stations: the momentum is smeared by 0.5 to 1 %, the place by a few millimetres, and the energy is that of a pion,
since no particle is identified; transverse energy is that energy times the sine of the polar angle of the impact point.
Electrons stop before the HCAL but have tracks; neutral hadrons deposit but have none; muons have tracks and ionise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from understudy import hcal_geometry as hcal
from understudy.references.hcal_pions import track_resolution
from understudy.references.hcal_pythia import Generated
from understudy.references.hcal_shower import BARYON, MESON, MUON, PION_MASS, Particles
from understudy.schema import Array

KICK = 1200.0
"""Change of the horizontal momentum of a particle of unit charge in the dipole [MeV]."""
MAGNET = 5200.0
"""Where the dipole's field is centred [mm]."""

_MASS = {11: 0.511, 13: 105.66, 211: 139.57, 321: 493.68, 130: 497.61, 310: 497.61, 2112: 939.57, 2212: 938.27}
_HYPERON = 1250.0
"""Mass taken for the few hyperons that live long enough [MeV]."""
_NEUTRAL = (130, 310, 2112, 3122, 3322)
_NEGATIVE = (11, 13, 3112, 3312, 3334)
"""Sorts whose particle (not antiparticle) has negative charge."""


@dataclass(frozen=True)
class Tracking:
    """What the tracker makes of charged particles.

    Args:
        efficiency: at high momentum.
        turn_on: momentum [MeV] at which 63 % of that efficiency is reached.
        lowest: particles below are not found [MeV].
        place: resolution of the impact point [mm].
        latest: particles made behind this z have no track [mm].
    """

    efficiency: float = 0.96
    turn_on: float = 1500.0
    lowest: float = 2000.0
    place: float = 4.0
    latest: float = 2000.0


@dataclass(frozen=True)
class Flight:
    """Generated particles where they meet the face; all arrays `(n,)`, rows of `Generated`.

    Args:
        x, y: where [mm].
        slope_x, slope_y: in which direction.
        arrives: whether they get there and hit the calorimeter.
    """

    x: Array
    y: Array
    slope_x: Array
    slope_y: Array
    arrives: Array


def charge(pdg: Array) -> Array:
    """Electric charges of particles by their numbers, `(n,)`."""
    kind = np.abs(pdg)
    sign = np.where(np.isin(kind, _NEGATIVE), -np.sign(pdg), np.sign(pdg))
    return np.where(np.isin(kind, _NEUTRAL), 0, sign)


def mass(pdg: Array) -> Array:
    """Masses [MeV], `(n,)`."""
    kind = np.abs(pdg)
    return np.select([kind == k for k in _MASS], list(_MASS.values()), _HYPERON)


def fly(made: Generated, kick: float = KICK) -> Flight:
    """Bring particles to the face; `kick` is the dipole's for unit charge [MeV]."""
    before = made.z < MAGNET
    px = made.px + np.where(before, kick * charge(made.pdg), 0.0)
    pz2 = made.px**2 + made.pz**2 - px**2
    forward = (made.pz > 0) & (pz2 > 0) & (made.z < hcal.Z_FACE)
    pz = np.sqrt(np.where(forward, pz2, 1.0))
    old = np.where(forward, made.pz, 1.0)
    turn = np.where(before, MAGNET, made.z)
    x = made.x + made.px / old * (turn - made.z) + px / pz * (hcal.Z_FACE - turn)
    y = made.y + made.py / old * (turn - made.z) + made.py / pz * (hcal.Z_FACE - turn)
    return Flight(x, y, px / pz, made.py / pz, forward & hcal.accepted(x, y))


def depositing(made: Generated, flight: Flight) -> Particles:
    """The particles that reach the HCAL and can leave something there."""
    kind = np.abs(made.pdg)
    rows = np.flatnonzero(flight.arrives & (kind != 11))
    energy = np.sqrt(made.px**2 + made.py**2 + made.pz**2 + mass(made.pdg) ** 2)
    baryon = kind > 2000
    energy = np.where(baryon, energy - mass(made.pdg), energy)
    sort = np.where(kind == 13, MUON, np.where(baryon, BARYON, MESON))
    whole = Particles(made.event, flight.x, flight.y, flight.slope_x, flight.slope_y, energy, sort)
    return whole[rows]


def tracks(made: Generated, flight: Flight, tracking: Tracking, generator: np.random.Generator) -> tuple[Array, Array]:
    """Rows of the particles that give a track, and the tracks (x, y, et) `(tracks, 3)` [mm, mm, MeV]."""
    momentum = np.sqrt(made.px**2 + made.py**2 + made.pz**2)
    chance = tracking.efficiency * (1 - np.exp(-momentum / tracking.turn_on)) * (momentum > tracking.lowest)
    found = generator.random(len(made)) < np.where(made.z < tracking.latest, chance, 0.0)
    rows = np.flatnonzero(found & flight.arrives & (charge(made.pdg) != 0))
    measured = momentum[rows] * (1 + track_resolution(momentum[rows]) * generator.standard_normal(len(rows)))
    x = flight.x[rows] + tracking.place * generator.standard_normal(len(rows))
    y = flight.y[rows] + tracking.place * generator.standard_normal(len(rows))
    et = np.hypot(measured, PION_MASS) * hcal.sine(x, y)
    on = hcal.accepted(x, y)
    return rows[on], np.stack([x, y, et], 1)[on]


def true_et(made: Generated, flight: Flight) -> Array:
    """Transverse energy of particles at the face without smearing [MeV], as a pion's."""
    momentum = np.sqrt(made.px**2 + made.py**2 + made.pz**2)
    return np.asarray(np.hypot(momentum, PION_MASS) * hcal.sine(flight.x, flight.y))
