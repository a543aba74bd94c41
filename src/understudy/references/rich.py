r"""Ring-imaging Cherenkov detectors: tracks to differences of log-likelihood between particle hypotheses.

A track radiates in each gas that it crosses; photons arrive at the Cherenkov angle of its true mass, smeared by the resolution,
their number Poisson-distributed. Photons of other tracks hit the plane uniformly, so that their density grows with the angle;
their number grows with that of the event's tracks. With the angles $\theta_i$ the likelihood of a hypothesis $h$ is, relative
to a particle below threshold, which is none but background,
$$\ln\frac{L_h}{L_\mathrm{bt}} = \sum_i \ln\left(1 + \frac{\mu_h\,G(\theta_i-\theta_h;\sigma)}{b(\theta_i)}\right) - \mu_h .$$
Each DLL is the difference to the pion's.

The experiment maximises one global likelihood of all tracks of an event; here each track's own likelihood stands in for it, with
the other tracks' light as a background of known density. A hypothesis below threshold in every gas is the hypothesis
`below threshold`, so their DLLs are equal; a track outside all acceptances has DLLs of 0.

Sources: R. Forty and O. Schneider, LHCb-98-040 (the likelihood); M. Adinolfi et al., arXiv:1211.6759 (yields and resolutions);
D. Derkach et al., arXiv:1903.11788 (DLLs from a track's momentum, pseudorapidity and the number of tracks).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, model_validator

from understudy.events import Events
from understudy.references.cherenkov import MASSES, RICH1, RICH2, SPECIES, Radiator
from understudy.registry import register
from understudy.schema import Array, Block, Schema
from understudy.simulator import Conditions, GunSource

Species = Literal["pion", "kaon", "proton", "muon", "electron"]

MOMENTUM = Block("momentum", "MeV", minimum=0.0)
PSEUDORAPIDITY = Block("pseudorapidity")
N_TRACKS = Block("n_tracks", minimum=0.0)
WHICH = Block("species", kind="categorical")
DLL = Block("dll", shape=(5,), columns=("DLLk", "DLLp", "DLLmu", "DLLe", "DLLbt"))
TRACKS_AT_ONCE = 4096
"""Tracks whose photons are in memory together; part of what a seed fixes."""


class TrackGun(BaseModel):
    """Tracks of a spectrometer and the number of tracks in their events.

    Args:
        momentum_range: lowest and highest momentum [MeV].
        momentum_slope: the density of momenta falls as its negative power: 1 is uniform in the logarithm, 0 uniform.
        pseudorapidity_range: lowest and highest pseudorapidity.
        pseudorapidity_tilt: slope of its density, from -1 (none at the upper end) over 0 (uniform) to 1.
        mean_tracks: mean number of tracks in an event, of a Gamma distribution of shape 4 (half of its mean is its spread).
        species: relative numbers of each particle.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    momentum_range: tuple[PositiveFloat, PositiveFloat] = (3000.0, 150000.0)
    momentum_slope: float = 1.0
    pseudorapidity_range: tuple[float, float] = (2.0, 5.0)
    pseudorapidity_tilt: Annotated[float, Field(ge=-1, le=1)] = 0.0
    mean_tracks: PositiveFloat = 160.0
    species: dict[Species, NonNegativeFloat] = dict.fromkeys(SPECIES, 1.0)  # type: ignore[arg-type]

    @model_validator(mode="after")
    def _checked(self) -> TrackGun:
        for name, (low, high) in (("momentum", self.momentum_range), ("pseudorapidity", self.pseudorapidity_range)):
            if not low <= high:
                raise ValueError(f"the range of {name} goes from {low:g} to {high:g}; give the lower end first")
        if not sum(self.species.values()) > 0:
            raise ValueError("the relative numbers of species add up to 0; give one of them a number above 0")
        return self

    def draw(self, n: int, generator: np.random.Generator) -> dict[str, Any]:
        """`momentum` [MeV], `pseudorapidity`, `n_tracks` and `species`, each `(n,)`."""
        share = np.array([self.species.get(name, 0.0) for name in SPECIES])  # type: ignore[call-overload]
        return {
            MOMENTUM.name: _power(generator.uniform(size=n), self.momentum_range, self.momentum_slope),
            PSEUDORAPIDITY.name: _tilted(generator.uniform(size=n), self.pseudorapidity_range, self.pseudorapidity_tilt),
            N_TRACKS.name: np.maximum(np.rint(generator.gamma(4.0, self.mean_tracks / 4.0, n)), 1.0),
            WHICH.name: generator.choice(len(SPECIES), n, p=share / share.sum()),
        }


def _power(u: Array, ends: tuple[float, float], slope: float) -> Array:
    """Uniform numbers to a density that falls as the power `slope` between `ends`."""
    low, high = ends
    if abs(slope - 1) < 1e-9:
        return np.asarray(low * (high / low) ** u)
    k = 1 - slope
    return np.asarray((low**k + u * (high**k - low**k)) ** (1 / k))


def _tilted(u: Array, ends: tuple[float, float], tilt: float) -> Array:
    """Uniform numbers to the density `1 + tilt x`, with x from -1 to 1 between `ends`."""
    low, high = ends
    x = 2 * u - 1 if tilt == 0 else (np.sqrt((1 - tilt) ** 2 + 4 * tilt * u) - 1) / tilt
    return np.asarray(low + (high - low) * (x + 1) / 2)


@dataclass(frozen=True)
class RichSimulator:
    """A Simulator: `momentum`, `pseudorapidity`, `n_tracks` and `species` to `dll`, the five DLLs relative to the pion.

    Args:
        radiators: the gases.
        particle: the one species of all tracks, which is then no condition; None to be given it.
    """

    radiators: Sequence[Radiator] = (RICH1, RICH2)
    particle: Species | None = None

    @property
    def geometry(self) -> None:
        """DLLs sit nowhere."""

    @cached_property
    def schema(self) -> Schema:
        """Conditions and DLLs."""
        given = (MOMENTUM, PSEUDORAPIDITY, N_TRACKS)
        return Schema(given if self.particle else (*given, WHICH), (DLL,))

    def simulate(self, conditions: Conditions, generator: np.random.Generator) -> Events:
        """The DLLs of one track per row of `conditions`; blocks that the schema does not name are left out.

        Raises:
            ValueError: a condition is missing, has the wrong shape or is NaN, a momentum is not above 0, or a species is unknown.
        """
        names = [b.name for b in self.schema.conditions if b.name in conditions]
        asked = Events(self.schema, {n: conditions[n] for n in names}, where="the conditions of the RICH")
        momentum, n = np.asarray(asked[MOMENTUM.name], float), len(asked)
        species = np.full(n, SPECIES.index(self.particle)) if self.particle else asked[WHICH.name]
        if (bad := np.flatnonzero(momentum <= 0)).size:
            raise ValueError(f"the momentum of track {bad[0]} is {momentum[bad[0]]:g} MeV; it must be above 0")
        if (bad := np.flatnonzero(species >= len(SPECIES))).size:
            known = ", ".join(f"{i} {name}" for i, name in enumerate(SPECIES))
            raise ValueError(f"track {bad[0]} has species {species[bad[0]]}, which is none of {known}")
        eta, tracks = np.asarray(asked[PSEUDORAPIDITY.name], float), np.asarray(asked[N_TRACKS.name], float)
        found = np.empty((n, DLL.width), np.float32)
        for first in range(0, n, TRACKS_AT_ONCE):
            part = slice(first, first + TRACKS_AT_ONCE)
            likelihood = self.log_likelihood(momentum[part], eta[part], tracks[part], species[part], generator)
            found[part] = differences(likelihood)
        return asked.with_response({DLL.name: found})

    def log_likelihood(self, momentum: Array, eta: Array, tracks: Array, species: Array, rng: np.random.Generator) -> Array:
        """Log-likelihood of every hypothesis of `SPECIES` relative to `below threshold`, `(5, n)`; all arguments `(n,)`."""
        return np.asarray(sum(_one_radiator(r, momentum, eta, tracks, species, rng) for r in self.radiators))


def differences(likelihood: Array) -> Array:
    """`(5, n)` log-likelihoods relative to `below threshold` to `(n, 5)` DLLs relative to the pion."""
    pion, *others = likelihood
    return np.stack([*(other - pion for other in others), -pion], axis=1)


def _one_radiator(gas: Radiator, momentum: Array, eta: Array, tracks: Array, species: Array, rng: np.random.Generator) -> Array:
    """One radiator's part of the log-likelihoods, `(5, n)`: all tracks' photons in one flat array."""
    n, seen = len(momentum), gas.sees(eta)
    theta = gas.angle(momentum, MASSES[:, None])
    mu = np.where(seen, gas.expected(momentum, MASSES[:, None]), 0.0)
    rate = np.where(seen, gas.background * tracks, 0.0)
    own, other = rng.poisson(mu[species, np.arange(n)]), rng.poisson(rate)
    track = np.concatenate([np.repeat(np.arange(n), own), np.repeat(np.arange(n), other)])
    angle = np.empty(len(track), np.float32)
    smeared = theta[species, np.arange(n)][track[: own.sum()]] + gas.resolution * rng.standard_normal(own.sum())
    angle[: own.sum()] = np.abs(smeared)
    angle[own.sum() :] = gas.window * np.sqrt(rng.uniform(size=other.sum()))
    scaled = angle / np.float32(gas.resolution)
    density = rate.astype(np.float32)[track] * np.maximum(angle, 1e-6) * np.float32(2 / gas.window**2)
    peak = (1 / (np.sqrt(2 * np.pi) * gas.resolution)) / density
    total = np.empty((len(MASSES), n))
    for h, (centre, mean) in enumerate(zip((theta / gas.resolution).astype(np.float32), mu.astype(np.float32), strict=True)):
        gauss = np.exp(-0.5 * np.square(scaled - centre[track]))
        total[h] = np.bincount(track, np.log1p(mean[track] * gauss * peak), minlength=n) - mu[h]
    return total


@dataclass(frozen=True)
class RichSource(GunSource):
    """Tracks of a gun and their DLLs."""

    gun: TrackGun
    simulator: RichSimulator

    @property
    def geometry(self) -> None:
        """DLLs sit nowhere."""


@register("references", "lhcb-rich")
def lhcb_rich(
    gun: TrackGun = TrackGun(),  # noqa: B008 - frozen
    particle: Species | None = None,
    radiators: tuple[Radiator, ...] = (RICH1, RICH2),
) -> RichSource:
    """Tracks in the two RICH detectors of LHCb.

    Args:
        gun: momenta, pseudorapidities, numbers of tracks and species.
        particle: one species for all tracks; the condition `species` is then left out.
        radiators: the gases.
    """
    if not radiators:
        raise ValueError("a RICH needs at least one radiator")
    return RichSource(gun, RichSimulator(radiators, particle))
