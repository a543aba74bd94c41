r"""Proton-proton collisions with a B0 -> D- mu+ nu, D- -> K+ pi- pi- decay (or conjugates), from Pythia 8.

C. Bierlich et al., SciPost Phys. Codebases 8 (2022). Hard $b \bar b$ production at 13 TeV with the default tune, one
collision per event.

*One* B0 (or anti-B0) of the event is forced, the other b hadron decays freely: Pythia is told not to decay B0; then one of
those that fly into the acceptance is drawn at random and renamed into a particle of its own, whose only decay is $D^- \mu^+
\nu$ (V-A matrix element), and that D- another one's whose only decay is $K^+ \pi^- \pi^-$; any other B0 is decayed by
Pythia's own tables. Collisions are symmetric, so an event whose B0 flies backwards is reflected in z. Events are kept if the
three hadrons of the signal fly into the acceptance, 2 < eta < 5; the dipole then sweeps some of the slow ones out.

B0 mixing is left out for the signal. Particles with a proper lifetime beyond `LONGEST` (pions, kaons, muons, neutrons, K_L) are
left as they are, others decay where their lifetime says.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from understudy.schema import Array

ETA = (2.0, 5.0)
"""Pseudorapidities of LHCb's acceptance."""
QUARK_ETA = 1.4
"""Collisions without a b quark beyond this pseudorapidity are not simulated further; their B0 are not in the acceptance."""
LONGEST = 1000.0
"""Proper lifetime [mm/c] beyond which particles do not decay."""
LOWEST = 1.0
"""Longitudinal momentum [GeV] below which particles are left out: none of them reaches the calorimeter behind the magnet."""
REACHING = frozenset({11, 13, 130, 211, 321, 2112, 2212, 3112, 3222, 3122, 3312, 3322, 3334, 310})
"""Sorts of particles (without sign) that make a track or reach the HCAL; photons and neutral pions do neither."""
SIGNAL_B, SIGNAL_D = 9000511, 9000411
"""Pythia's numbers of the B0 and the D+ that are forced to decay as the signal."""

_SETTINGS = (
    "Print:quiet = on",
    "Beams:eCM = 13000.",
    "HardQCD:hardbbbar = on",
    "PhaseSpace:pTHatMin = 0.",
    "ParticleDecays:limitTau0 = on",
    f"ParticleDecays:tau0Max = {LONGEST}",
    "111:mayDecay = off",  # its photons would stop before the HCAL as it does here
    f"{SIGNAL_B}:all = B0signal B0signalbar 1 0 0 5.27972 0. 0. 0. 0.4554",
    f"{SIGNAL_B}:addChannel = 1 1. 22 14 -13 -{SIGNAL_D}",
    f"{SIGNAL_D}:all = D+signal D-signal 1 3 0 1.86966 0. 0. 0. 0.3118",
    f"{SIGNAL_D}:addChannel = 1 1. 0 -321 211 211",
    "Random:setSeed = on",
)


@dataclass(frozen=True)
class Generated:
    """Final-state particles of events that fly forwards; all arrays `(n,)`, those of an event side by side.

    Args:
        event: index of the event.
        pdg: particle number of the Particle Data Group.
        px, py, pz: momentum [MeV].
        x, y, z: where it was made [mm].
        signal: True for K, pi and pi of the signal decay.
    """

    event: Array
    pdg: Array
    px: Array
    py: Array
    pz: Array
    x: Array
    y: Array
    z: Array
    signal: Array

    def __len__(self) -> int:
        return len(self.event)

    def __getitem__(self, rows: Array) -> Generated:
        return Generated(*(getattr(self, f.name)[rows] for f in fields(self)))


def available() -> bool:
    """Whether Pythia 8 is installed."""
    return importlib.util.find_spec("pythia8mc") is not None


def require() -> Any:
    """The module `pythia8mc`; ModuleNotFoundError in one sentence if it is not installed."""
    try:
        return importlib.import_module("pythia8mc")
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "Pythia 8 is not installed; run: pip install 'understudy[pythia]', or take the small stored sample"
            " (particles: stored)"
        ) from None


def generate(n: int, generator: np.random.Generator) -> Generated:
    """`n` events of Pythia; ModuleNotFoundError if it is not installed."""
    module = require()
    pythia = module.Pythia("", False)
    veto = _forward_only(module)
    pythia.setUserHooksPtr(veto)
    for line in (*_SETTINGS, f"Random:seed = {generator.integers(1, 900_000_000)}"):
        if not pythia.readString(line):
            raise RuntimeError(f"Pythia does not understand its setting {line!r}; install the version that this package names")
    if not pythia.init():
        raise RuntimeError("Pythia could not be initialised; run it by hand to see why")
    made: list[Array] = []
    while len(made) < n:
        particles = _event(pythia, generator)
        if particles is not None:
            made.append(particles)
    event = np.repeat(np.arange(n), [len(m) for m in made])
    columns = np.concatenate(made).T
    px, py, pz, x, y, z = columns[1:7]
    return Generated(event, columns[0].astype(int), px, py, pz, x, y, z, columns[7] > 0)


def _forward_only(module: Any) -> Any:
    """A hook that stops collisions at once in which no b quark flies forwards or backwards."""

    class ForwardOnly(module.UserHooks):  # type: ignore[misc]
        def canVetoProcessLevel(self) -> bool:
            return True

        def doVetoProcessLevel(self, process: Any) -> bool:
            return not any(abs(p.eta()) > QUARK_ETA for p in process if p.idAbs() == 5)

    return ForwardOnly()


def _event(pythia: Any, generator: np.random.Generator) -> Array | None:
    """Particles `(n, 8)` of the next collision, or None if it has no signal in the acceptance."""
    data = pythia.particleData
    data.mayDecay(511, False)
    if not pythia.next():
        return None
    event = pythia.event
    inside = [p for p in event if p.idAbs() == 511 and p.isFinal() and ETA[0] < abs(p.eta()) < ETA[1]]
    if not inside:
        return None
    chosen = inside[int(generator.integers(len(inside)))]
    side = 1.0 if chosen.pz() > 0 else -1.0
    chosen.id(SIGNAL_B if chosen.id() > 0 else -SIGNAL_B)
    data.mayDecay(511, True)
    if not pythia.moreDecays():
        return None
    hadrons = _signal(pythia.event)
    if len(hadrons) != 3 or not all(ETA[0] < side * pythia.event[i].eta() < ETA[1] for i in hadrons):
        return None
    return np.array(
        [
            (
                p.id(),
                1e3 * p.px(),
                1e3 * p.py(),
                1e3 * side * p.pz(),
                p.xProd(),
                p.yProd(),
                side * p.zProd(),
                p.index() in hadrons,
            )
            for p in pythia.event
            if p.isFinal() and side * p.pz() > LOWEST and p.idAbs() in REACHING
        ]
    )


def _signal(event: Any) -> set[int]:
    """Indices of the kaon and the pions of the forced D."""
    for i in range(event.size() - 1, 0, -1):
        if event[i].idAbs() == SIGNAL_D:
            return {j for j in event[i].daughterList() if event[j].idAbs() in (211, 321)}
    return set()
