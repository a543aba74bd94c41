r"""A Delphes card as a Simulator of single particles: efficiencies and resolutions, one after the other.

A particle starts in an array of the card's `ParticlePropagator` and goes, in the order of the card's `ExecutionPath`, through
every module that reads an array which it has reached: a track up to the `Merger` where all tracks meet, a photon through the
electromagnetic calorimeter and what reads its energy flow. The modules do what they do in Delphes:

- `Efficiency`: the particle is kept with the probability of the formula.
- `MomentumSmearing`: $p_T$ becomes log-normal with mean $p_T$ and relative width $r$, at most 1.
- `EnergySmearing`: $E$ becomes normal with the width of the formula; what falls to zero or below is lost.
- `TimeSmearing`: changes the time alone, which is not simulated here.
- `SimpleCalorimeter`, `Calorimeter`: $E$ times the photon's fraction becomes log-normal with the width of the formula; what is
  below `EnergyMin` or `EnergySignificanceMin` widths is lost. The towers' granularity is left out: $\eta$ and $\phi$ stay.

Any other module that changes a particle on its way (`TrackCovariance`, `DualReadoutCalorimeter`, ...) is not covered: it is
named, and such a card is refused unless the recipe leaves the module out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from understudy.events import Events
from understudy.references.delphes import RECONSTRUCTED, SCHEMA, TrackSource, log_normal
from understudy.references.formula import Formula
from understudy.references.tcl import Module, Script, Values, names_in, read_card
from understudy.references.track_guns import CONDITIONS, TrackGun
from understudy.registry import register
from understudy.schema import Array, Schema
from understudy.simulator import Conditions

Particle = Literal["electron", "muon", "charged-hadron", "photon"]
ARRAYS = {
    "electron": ("ElectronOutputArray", "electrons"),
    "muon": ("MuonOutputArray", "muons"),
    "charged-hadron": ("ChargedHadronOutputArray", "chargedHadrons"),
    "photon": ("OutputArray", "stableParticles"),
}
"""Where the particle propagator puts each particle: the name of the setting and its default."""
FORMULAE = {
    "Efficiency": ("EfficiencyFormula", "1.0"),
    "MomentumSmearing": ("ResolutionFormula", "0.0"),
    "EnergySmearing": ("ResolutionFormula", "0.0"),
    "TimeSmearing": ("TimeResolution", "1.0e-10"),
    "SimpleCalorimeter": ("ResolutionFormula", "0"),
    "Calorimeter": ("ECalResolutionFormula", "0"),
}
"""The formula of each module that is covered, and what it is where the card does not say it."""
CALORIMETERS = ("SimpleCalorimeter", "Calorimeter")
PHOTON = "22"
HARMLESS = ("TimeOfFlight", "TruthVertexFinder", "ClusterCounting", "ImpactParameterSmearing")
"""Modules that leave transverse momentum, direction and number of particles as they are."""
ENDS = ("IdentificationMap", "PdgCodeFilter", "Isolation")
"""Modules where tracks and towers have become identified objects."""
STABLE = "Delphes/stableParticles"
"""Where every particle begins."""
_READS = re.compile(r"(?<![A-Za-z])(Particle)?InputArray\s")
GEV = 1000.0

_GUN = TrackGun()


@dataclass(frozen=True)
class Card:
    """A card that has been read."""

    script: Script

    @classmethod
    def read(cls, path: str | Path) -> Card:
        """Read a card; errors as of `read_card`, and ValueError where it has no ExecutionPath."""
        script = read_card(path)
        if "ExecutionPath" not in script.values.set:
            raise ValueError(
                f"{path} sets no ExecutionPath, so it is no Delphes card; give a card that says its modules in order"
            )
        return cls(script)

    @cached_property
    def modules(self) -> tuple[Module, ...]:
        """The modules of the execution path, in order; ValueError where one is not defined."""
        names = names_in(self.script.values.set["ExecutionPath"])
        if missing := [name for name in names if name not in self.script.modules]:
            raise ValueError(f"{self.script.path} runs {missing[0]}, which it does not define; add the module or take it out")
        return tuple(self.script.modules[name] for name in names)

    def formula(self, module: Module) -> Formula:
        """The formula of a covered module; ValueError if it is none."""
        key, default = FORMULAE[module.kind]
        return Formula.parse(self.script.read(module).set.get(key, default), f"{self.script.path.name}, {module.name}")

    def formulae(self) -> dict[str, Formula]:
        """The formulae of all covered modules, by the module's name."""
        return {m.name: self.formula(m) for m in self.modules if m.kind in FORMULAE}

    def uncovered(self) -> tuple[str, ...]:
        """Names of the execution path's modules whose kinds are not covered here."""
        return tuple(f"{m.name} ({m.kind})" for m in self.modules if m.kind not in (*FORMULAE, "ParticlePropagator", "Merger"))

    def way(self, particle: Particle, leave_out: Sequence[str] = ()) -> tuple[Module, ...]:
        """The modules that a particle goes through and that change it, in order.

        Args:
            particle: which one.
            leave_out: names or kinds of modules to pass by.

        Raises:
            ValueError: nothing is done to the particle, or a module on its way is not covered.
        """
        reached, found = STABLE, list[Module]()
        readers = [(m, self.script.read(m)) for m in self.modules if _READS.search(m.body)]  # jets' may source what is not there
        towers = {v.set.get("TrackInputArray") for _, v in readers if "ParticleInputArray" in v.set}
        for module, values in readers:
            if particle != "photon" and reached in towers:  # a track's way ends at the calorimeter, whatever branches off before
                break
            outcome = _goes_on(module, values, particle, reached)
            if outcome is None:
                continue
            if outcome == "":
                break
            covered, passed = module.kind in FORMULAE, {module.name, module.kind} & set(leave_out)
            if not covered and not passed and module.kind not in (*HARMLESS, "ParticlePropagator", "Merger"):
                raise ValueError(
                    f"{self.script.path.name}: the {particle} goes through {module.name}, a {module.kind}, which is not covered;"
                    " choose another card, or name it under leave_out to pass it by"
                )
            if covered and not passed:
                found.append(module)
            reached = f"{module.name}/{outcome}"
        if not found:
            raise ValueError(f"{self.script.path.name} does nothing to the {particle}; choose another particle or card")
        return tuple(found)


def _goes_on(module: Module, values: Values, particle: Particle, reached: str) -> str | None:
    """The output array in which a particle leaves a module; empty where its way ends, None where it does not come by."""
    if "ParticleInputArray" in values.set:
        if particle != "photon" or values.set["ParticleInputArray"] != reached or photon_fraction(values) == 0:
            return None
        key = "EFlowPhotonOutputArray" if "EFlowPhotonOutputArray" in values.set else "EFlowTowerOutputArray"
        return values.set.get(key, "eflowPhotons")
    inputs = {values.set.get("InputArray", "")} | {words[0] for words in values.added.get("InputArray", [])}
    if module.kind == "ParticlePropagator":
        return values.set.get(*ARRAYS[particle]) if reached == STABLE or reached in inputs else None
    if reached not in inputs or (particle == "photon" and module.kind == "Merger"):
        return None
    if module.kind == "PhotonConversions":
        return values.set.get("OutputArray", "stableParticles") if particle == "photon" else None
    if reached == STABLE:
        return None
    return "" if module.kind in ENDS else values.set.get("OutputArray", "stableParticles")


def photon_fraction(values: Values) -> float:
    """The part of a photon's energy that a calorimeter sees: what it says of photons, or else of all particles."""
    said = {words[0]: words[1] for words in values.added.get("EnergyFraction", []) if len(words) > 1}
    return float(said.get(PHOTON, said.get("0", "0")).split()[0])


@dataclass
class Particles:
    """Particles on their way: `(n,)` each, GeV; what is not alive any more keeps its last values."""

    pt: Array
    eta: Array
    phi: Array
    alive: Array

    @property
    def energy(self) -> Array:
        """$p_T \\cosh\\eta$, of a particle without mass."""
        return np.asarray(self.pt * np.cosh(self.eta))


@dataclass(frozen=True)
class Step:
    """One module: its formula and what it does with the value."""

    module: Module
    formula: Formula
    settings: Values

    def __call__(self, particles: Particles, generator: np.random.Generator) -> None:
        """Change those that are alive; every particle is given random numbers, so that the others' do not depend on it."""
        p, kind = particles, self.module.kind
        calorimeter = kind in CALORIMETERS
        if calorimeter:
            fraction = photon_fraction(self.settings)
            p.pt = p.pt * fraction
        value = np.zeros(len(p.pt))
        known = {"eta": p.eta, "energy": p.energy} | (
            {"pt": np.zeros_like(p.pt), "phi": np.zeros_like(p.pt)} if calorimeter else {"pt": p.pt, "phi": p.phi}
        )
        value[p.alive] = self.formula(**{k: v[p.alive] for k, v in known.items()})
        if kind == "Efficiency":
            p.alive = p.alive & (generator.random(len(p.pt)) <= value)
        elif kind == "MomentumSmearing":
            p.pt = log_normal(p.pt, np.minimum(value, 1.0), generator.standard_normal(len(p.pt)))
        elif kind == "EnergySmearing":
            energy = p.energy + np.abs(value) * generator.standard_normal(len(p.pt))
            p.alive, p.pt = p.alive & (energy > 0), np.maximum(energy, 0) / np.cosh(p.eta)
        elif calorimeter:
            self._deposit(p, value, generator)

    def _deposit(self, p: Particles, sigma: Array, generator: np.random.Generator) -> None:
        energy = p.energy
        relative = np.divide(sigma, energy, out=np.zeros_like(energy), where=energy > 0)
        p.pt = log_normal(p.pt, relative, generator.standard_normal(len(p.pt)))
        seen, sigma = p.energy, np.zeros_like(energy)
        sigma[p.alive] = self.formula(
            **{"pt": 0 * seen[p.alive], "phi": 0 * seen[p.alive], "eta": p.eta[p.alive], "energy": seen[p.alive]}
        )
        lowest, significance = (float(self.settings.set.get(k, 0)) for k in ("EnergyMin", "EnergySignificanceMin"))
        p.alive = p.alive & (seen > 0) & (seen >= lowest) & (seen >= significance * sigma)


@dataclass(frozen=True)
class CardSimulator:
    """A Simulator: what a card makes of single particles."""

    steps: tuple[Step, ...]
    geometry: None = None

    @property
    def schema(self) -> Schema:
        """Conditions and reconstructed values, as of the built-in electron."""
        return SCHEMA

    def simulate(self, conditions: Conditions, generator: np.random.Generator) -> Events:
        """One answer per row of `conditions`; the mask is False for particles that are lost.

        Raises:
            ValueError: a condition is missing, has the wrong shape, is not finite, or a transverse momentum is negative; or a
                formula has no finite value there.
        """
        asked = Events(SCHEMA, {b.name: conditions[b.name] for b in CONDITIONS if b.name in conditions}, where="the particles")
        pt, eta, phi = (np.asarray(asked[b.name], np.float64) for b in CONDITIONS)
        particles = Particles(pt / GEV, eta, phi, pt > 0)
        for step in self.steps:
            step(particles, generator)
        made = np.stack([particles.pt * GEV, eta, phi])
        made[:, ~particles.alive] = np.nan
        return asked.with_response({b.name: made[i] for i, b in enumerate(RECONSTRUCTED)}, mask=particles.alive)


@register("references", "delphes-card")
def delphes_card(
    card: str, particle: Particle = "electron", gun: TrackGun = _GUN, leave_out: tuple[str, ...] = ()
) -> TrackSource:
    """Single particles in a Delphes card.

    Args:
        card: the card's file; what it sources lies beside it.
        particle: `electron`, `muon`, `charged-hadron` or `photon`.
        gun: their momenta and directions.
        leave_out: names or kinds of modules that are not covered and are to be passed by.

    Raises:
        FileNotFoundError: no such card, or a file that it sources is missing.
        ValueError: the card cannot be read, or the particle meets a module that is not covered.
    """
    read = Card.read(card)
    steps = tuple(Step(m, read.formula(m), read.script.read(m)) for m in read.way(particle, leave_out))
    return TrackSource(gun, CardSimulator(steps))
