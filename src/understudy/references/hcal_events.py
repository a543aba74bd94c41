"""Whole events in the LHCb HCAL: a Source of tracks, their image, and the calorimeter's merged image.

Particles come from Pythia 8 (`hcal_pythia`) or, where it is not installed, from a small stored sample of its events; they fly
to the calorimeter (`hcal_flight`) and shower there (`hcal_shower`). Models see tracks; who they are, and which of them belong
to the signal, travels in `aux` or not at all.

The stored sample has few events. Each is used many times, with new tracks and showers, and in its four images under two
symmetries: up is down, and a collision of the conjugate particles is reflected in x. It is there to try things out.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat

from understudy import geometry as geometries
from understudy import hcal_geometry as hcal
from understudy.events import Events
from understudy.geometry import Calorimeter
from understudy.references import hcal_pythia
from understudy.references.hcal_flight import KICK, Flight, Tracking, depositing, fly, tracks, true_et
from understudy.references.hcal_pythia import Generated
from understudy.references.hcal_shower import HadronShowers, images, read_out
from understudy.registry import register
from understudy.schema import Array, Block, Schema

SIGNAL = Block("signal", "mm, mm, MeV", kind="jagged", shape=(3,), columns=("x", "y", "et"))
"""K, pi and pi of the signal decay that hit the calorimeter, as they truly are."""
SIGNAL_ET = Block("signal_et", "MeV", minimum=0.0)
"""Sum of their transverse energies."""
N_TRACKS = Block("n_tracks", kind="categorical")
"""Number of tracks of an event."""
STORED = "hcal_particles.npz"
"""The stored sample, beside this module."""
SUBSET = 250
"""Events simulated at a time."""


@dataclass(frozen=True)
class HcalEvents:
    """A Source of whole events.

    Args:
        particles: `pythia`, `stored`, or `auto`: Pythia where it is installed.
        kick: the dipole's change of momentum [MeV]; 0 without field.
        tracking: what the tracker makes of charged particles.
        showers: what the calorimeter makes of hadrons and muons.
        dead: (row, column) of dead inner cells.
    """

    particles: Literal["auto", "pythia", "stored"] = "auto"
    kick: float = KICK
    tracking: Tracking = field(default_factory=Tracking)
    showers: HadronShowers = field(default_factory=HadronShowers)
    dead: tuple[tuple[int, int], ...] = hcal.DEAD
    simulator: None = None
    """No simulator: nobody can be asked for the calorimeter's answer to given tracks alone."""

    @property
    def geometry(self) -> Calorimeter:
        """The merged image."""
        return geometries.builtin("lhcb-hcal")

    @property
    def schema(self) -> Schema:
        """Tracks and their image in, the calorimeter's image out; the signal as aux."""
        return Schema((hcal.TRACKS, hcal.TRACKER_IMAGE), (hcal.CELLS,), (SIGNAL, SIGNAL_ET, N_TRACKS))

    def generate(self, n: int, generator: np.random.Generator) -> Events:
        """Make `n` events.

        Raises:
            ModuleNotFoundError: Pythia is asked for and not installed.
        """
        made = self._made(n, generator)
        parts = []
        for first in range(0, n, SUBSET):
            last = min(first + SUBSET, n)
            low, high = np.searchsorted(made.event, [first, last])
            part = made[np.arange(low, high)]
            parts.append(self.detect(replace(part, event=part.event - first), last - first, generator))
        return parts[0] if len(parts) == 1 else Events.concatenate(parts)

    def _made(self, n: int, generator: np.random.Generator) -> Generated:
        if self.particles == "pythia" or (self.particles == "auto" and hcal_pythia.available()):
            return hcal_pythia.generate(n, generator)
        if self.particles == "auto":
            warnings.warn(
                "Pythia 8 is not installed: the small stored sample of its events is used, each of them many times;"
                " run: pip install 'understudy[pythia]'",
                stacklevel=2,
            )
        return stored(n, generator)

    def detect(self, made: Generated, n: int, generator: np.random.Generator) -> Events:
        """What tracker and calorimeter make of the particles of `n` events."""
        flight = fly(made, self.kick)
        rows, found = tracks(made, flight, self.tracking, generator)
        counts = np.bincount(made.event[rows], minlength=n)
        listed = jagged(found, counts)
        arriving = depositing(made, flight)
        image = images(self.showers.deposit(arriving, generator), arriving, n)
        cells = read_out(image, hcal.alive(self.dead), hcal.CAP, hcal.COUNT).reshape(n, -1)
        signal, total = _signal(made, flight, n)
        conditions = {hcal.TRACKS.name: listed, hcal.TRACKER_IMAGE.name: hcal.tracker_image(listed)}
        aux = {SIGNAL.name: signal, SIGNAL_ET.name: total, N_TRACKS.name: counts}
        return Events(self.schema, conditions, {hcal.CELLS.name: cells}, aux=aux, where="simulated HCAL events")


def _signal(made: Generated, flight: Flight, n: int) -> tuple[Any, Array]:
    """The signal hadrons on the calorimeter as lists, and the sums of their transverse energies."""
    rows = np.flatnonzero(made.signal & flight.arrives)
    et = true_et(made, flight)[rows]
    counts = np.bincount(made.event[rows], minlength=n)
    return jagged(np.stack([flight.x[rows], flight.y[rows], et], 1), counts), np.bincount(made.event[rows], et, n)


def jagged(items: Array, counts: Array) -> Any:
    """Items `(total, 3)` as one list per event, as an awkward array; events without items have an empty list."""
    import awkward

    return awkward.unflatten(awkward.from_numpy(np.asarray(items, np.float32).reshape(-1, 3)), counts)


@cache
def _stored() -> Generated:
    with np.load(str(files("understudy.references") / STORED), allow_pickle=False) as kept:
        counts = kept["counts"].astype(int)
        px, py, pz = (kept[k].astype(float) for k in ("px", "py", "pz"))
        x, y, z = (kept[k].astype(float) * 0.1 for k in ("x", "y", "z"))  # stored in tenths of a millimetre
        event = np.repeat(np.arange(len(counts)), counts)
        return Generated(event, kept["pdg"].astype(int), px, py, pz, x, y, z, kept["signal"])


def stored(n: int, generator: np.random.Generator) -> Generated:
    """`n` events out of the stored sample, each at random in one of its four symmetric images."""
    sample = _stored()
    total = int(sample.event[-1]) + 1
    order = np.concatenate([generator.permutation(total) for _ in range(-(-n // total))])[:n]
    first = np.searchsorted(sample.event, np.arange(total + 1))
    counts = np.diff(first)[order]
    rows = np.concatenate([np.arange(first[k], first[k + 1]) for k in order])
    up, across = (np.repeat(generator.integers(0, 2, n) * 2 - 1, counts) for _ in range(2))
    taken = sample[rows]
    pdg = np.where((across < 0) & ~np.isin(np.abs(taken.pdg), (130, 310)), -taken.pdg, taken.pdg)
    event = np.repeat(np.arange(n), counts)
    return Generated(
        event, pdg, taken.px * across, taken.py * up, taken.pz, taken.x * across, taken.y * up, taken.z, taken.signal
    )


@register("references", "lhcb-hcal-events")
def lhcb_hcal_events(
    particles: Literal["auto", "pythia", "stored"] = "auto",
    kick: NonNegativeFloat = KICK,
    efficiency: PositiveFloat = Tracking.efficiency,
    dead: tuple[tuple[int, int], ...] = hcal.DEAD,
    sampling: PositiveFloat = HadronShowers.sampling,
    constant: PositiveFloat = HadronShowers.constant,
) -> HcalEvents:
    """Whole events with a B0 -> D- mu+ nu decay in the LHCb HCAL.

    Args:
        particles: `pythia`, `stored`, or `auto`: Pythia where it is installed.
        kick: the dipole's change of momentum [MeV].
        efficiency: of the tracker at high momentum, at most 1.
        dead: (row, column) of dead inner cells.
        sampling: stochastic term of the energy resolution at 1 GeV.
        constant: constant term of the energy resolution.
    """
    if efficiency > 1:
        raise ValueError(f"the tracking efficiency is {efficiency:g}; it can be at most 1")
    hcal.alive(dead)
    showers = HadronShowers(sampling, constant)
    return HcalEvents(particles, kick, Tracking(efficiency), showers, tuple(map(tuple, dead)))  # type: ignore[arg-type]
