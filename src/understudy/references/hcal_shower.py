r"""Hadrons and muons in the LHCb HCAL: a fast parametrisation that deposits energy in spots.

A hadron that flies through the electromagnetic calorimeter (1.1 interaction lengths) and the HCAL (5.6) interacts at a depth $u$
that is distributed as $\exp(-u / \lambda)$, with $\lambda$ = 1.2 nuclear interaction lengths for mesons and 1 for baryons.
Before that, and if it never does, it ionises like a muon. Its energy is shared between an electromagnetic part

$$\langle f_{em} \rangle = 1 - (E / 1\,\mathrm{GeV})^{k - 1}, \quad k = 0.82$$

(D. Groom, NIM A 572 (2007) 633), which fluctuates as a beta distribution, and a hadronic one. Both are deposited behind the
interaction with gamma-distributed depths, $t^{\alpha - 1} e^{-\beta t}$: the electromagnetic one in radiation lengths with
$\alpha = 0.6165 + 0.3193 \ln E$ and $\beta = 0.2198$, the hadronic one in interaction lengths with the same $\alpha$ and
$\beta = 0.9099 - 0.0237 \ln E$ (R. K. Bock, T. Hansl-Kozanecka, T. P. Shah, NIM 186 (1981) 533; E in GeV). Radial distances
follow $f(r) = 2 r R^2 / (r^2 + R^2)^2$ (G. Grindhammer, M. Rudowicz, S. Peters, NIM A 290 (1990) 469) with a narrow $R$ for
the electromagnetic part and one that grows with depth for the hadronic part.

What is deposited in front of the HCAL, behind it or beside it is lost. The sum of the rest has the resolution of the test beam,
$\sigma_E / E = 69\,\% / \sqrt{E} \oplus 9\,\%$, gamma-distributed; as the measured resolution contains the fluctuations of
$f_{em}$, these here change the shape of a shower and not its sum. Transverse energy is a cell's energy times the sine of the
polar angle of its centre. The numbers for lateral size and spots are choices of ours, of the size of what is published.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from understudy import hcal_geometry as hcal
from understudy.schema import Array

MESON, BARYON, MUON = 0, 1, 2
"""Sorts of particles that reach the HCAL."""
PION_MASS = 139.57039
"""Mass of the charged pion [MeV] (PDG)."""

ECAL_LENGTH, HCAL_LENGTH = 1.1, 5.6
"""Nuclear interaction lengths of the electromagnetic calorimeter (25 radiation lengths) and of the HCAL."""
INTERACTION_LENGTH = hcal.DEPTH / HCAL_LENGTH
"""One nuclear interaction length of the HCAL [mm]."""
_ECAL_X0, _HCAL_X0 = 25.0 / ECAL_LENGTH, INTERACTION_LENGTH / 22.0
"""Radiation lengths in an interaction length of the two calorimeters; one of the HCAL is 22 mm."""


@dataclass(frozen=True)
class Particles:
    """Particles at the HCAL's face; all arrays `(n,)`.

    Args:
        event: index of the event that the particle belongs to.
        x, y: where it meets the face [mm].
        slope_x, slope_y: `dx/dz` and `dy/dz` there.
        energy: what it can deposit [MeV]: total energy of mesons and muons, kinetic energy of baryons.
        sort: `MESON`, `BARYON` or `MUON`.
    """

    event: Array
    x: Array
    y: Array
    slope_x: Array
    slope_y: Array
    energy: Array
    sort: Array

    def __len__(self) -> int:
        return len(self.event)

    def __getitem__(self, rows: Array | slice) -> Particles:
        return Particles(*(getattr(self, f.name)[rows] for f in fields(self)))


@dataclass(frozen=True)
class Spots:
    """Deposits: the particle each comes from, its place and depth in the HCAL [mm], and its energy [MeV]; all `(spots,)`."""

    particle: Array
    x: Array
    y: Array
    depth: Array
    energy: Array


@dataclass(frozen=True)
class HadronShowers:
    """The parametrisation.

    Args:
        sampling: stochastic term of the resolution at 1 GeV.
        constant: constant term.
        meson_length: mesons' interaction length in nuclear ones.
        ionisation: most probable energy that a muon leaves in the whole HCAL [MeV].
        straggling: width of the Landau-like (Moyal) distribution of that energy, relative to it.
        em_radius: radius R of the electromagnetic part [mm].
        radius: radius R of the hadronic part where it begins [mm].
        widening: growth of R with the distance from the interaction.
        em_spots, spots: number of deposits of the two parts.
        concentration: of the beta distribution of the electromagnetic fraction; its variance is f (1 - f) / (1 + concentration).
    """

    sampling: float = 0.69
    constant: float = 0.09
    meson_length: float = 1.2
    ionisation: float = 1400.0
    straggling: float = 0.10
    em_radius: float = 14.0
    radius: float = 30.0
    widening: float = 0.10
    em_spots: int = 8
    spots: int = 24
    concentration: float = 6.0

    def starts(self, sort: Array, generator: np.random.Generator) -> Array:
        """Depth of the first interaction in nuclear interaction lengths from the electromagnetic calorimeter's front."""
        length = np.where(sort == BARYON, 1.0, self.meson_length)
        return np.where(sort == MUON, np.inf, generator.exponential(length))

    def em_fraction(self, energy: Array, generator: np.random.Generator) -> Array:
        """The electromagnetic fraction of showers of `energy` [MeV]."""
        mean = np.clip(mean_em_fraction(energy), 1e-3, 1 - 1e-3)
        return np.asarray(generator.beta(mean * self.concentration, (1 - mean) * self.concentration))

    def smear(self, energy: Array, generator: np.random.Generator) -> Array:
        """Factors of mean 1 and the calorimeter's resolution at `energy` [MeV] deposited in it, gamma-distributed."""
        variance = self.sampling**2 / np.maximum(energy / 1000.0, 1e-3) + self.constant**2
        return np.asarray(generator.gamma(1 / variance) * variance)

    def deposit(self, particles: Particles, generator: np.random.Generator) -> Spots:
        """The spots of all particles, those of an event in no particular order; what misses the HCAL is left out."""
        start = self.starts(particles.sort, generator)
        rows, depth, energy = self._tracks(particles, start, generator)
        lost = np.bincount(rows, energy, len(particles))
        place = np.zeros((2, len(rows)))
        showering = np.flatnonzero(start < ECAL_LENGTH + HCAL_LENGTH)
        left = np.maximum(particles.energy[showering] - lost[showering], 0.0)
        shower_rows, shower_depth, shower_energy, shower_place = self._showers(start[showering], left, generator)
        rows = np.concatenate([rows, showering[shower_rows]])
        depth, energy = np.concatenate([depth, shower_depth]), np.concatenate([energy, shower_energy])
        place = np.concatenate([place, shower_place], axis=1)
        x = particles.x[rows] + particles.slope_x[rows] * depth + place[0]
        y = particles.y[rows] + particles.slope_y[rows] * depth + place[1]
        return Spots(rows, x, y, depth, energy)

    def _tracks(self, particles: Particles, start: Array, generator: np.random.Generator) -> tuple[Array, Array, Array]:
        """Row, depth [mm] and energy of what particles leave by ionisation, in four pieces along their path in the HCAL."""
        path = np.clip(start - ECAL_LENGTH, 0.0, HCAL_LENGTH) / HCAL_LENGTH
        rows = np.flatnonzero(path > 0)
        moyal = -np.log(generator.standard_normal(len(rows)) ** 2) - np.log(2) - np.euler_gamma  # mean zero
        left = self.ionisation * path[rows] * np.maximum(1 + self.straggling * moyal, 0.3)
        left = np.minimum(left, particles.energy[rows])
        depth = (np.arange(4) + 0.5) / 4 * path[rows, None] * hcal.DEPTH
        return np.repeat(rows, 4), depth.ravel(), np.repeat(left / 4, 4)

    def _showers(self, start: Array, energy: Array, generator: np.random.Generator) -> tuple[Array, Array, Array, Array]:
        """Row, depth [mm], energy and offset `(2, spots)` [mm] of what showers leave in the HCAL."""
        fraction = self.em_fraction(energy, generator)
        log = np.log(np.maximum(energy / 1000.0, 0.5))
        shape = 0.6165 + 0.3193 * log
        radiation = generator.gamma(shape[:, None] * np.ones(self.em_spots)) / 0.2198
        hadronic = generator.gamma(shape[:, None] * np.ones(self.spots)) / (0.9099 - 0.0237 * log)[:, None]
        depth = np.concatenate([after_radiation_lengths(start[:, None], radiation), start[:, None] + hadronic], axis=1)
        share = np.concatenate(
            [
                fraction[:, None] * _shares((len(start), self.em_spots), 1.0, generator),
                (1 - fraction)[:, None] * _shares((len(start), self.spots), 0.7, generator),
            ],
            axis=1,
        )
        inside = (depth > ECAL_LENGTH) & (depth < ECAL_LENGTH + HCAL_LENGTH)
        deposited = np.where(inside, energy[:, None] * share, 0.0)
        deposited *= self.smear(deposited.sum(1), generator)[:, None]
        size = np.concatenate(
            [np.full(radiation.shape, self.em_radius), self.radius + self.widening * INTERACTION_LENGTH * hadronic], axis=1
        )
        rows, columns = np.nonzero(inside)
        radius = radial(size[rows, columns], generator.random(len(rows)))
        phi = generator.uniform(0, 2 * np.pi, len(rows))
        offset = radius * np.stack([np.cos(phi), np.sin(phi)])
        return rows, (depth[rows, columns] - ECAL_LENGTH) * INTERACTION_LENGTH, deposited[rows, columns], offset


def mean_em_fraction(energy: Array) -> Array:
    """Mean electromagnetic fraction of a hadronic shower of `energy` [MeV]; none below 1 GeV."""
    return np.asarray(1 - np.maximum(energy / 1000.0, 1.0) ** (0.82 - 1.0))


def after_radiation_lengths(start: Array, lengths: Array) -> Array:
    """Depth (in interaction lengths) that lies `lengths` radiation lengths behind `start`: both calorimeters are passed."""
    front = np.minimum(lengths, np.maximum(ECAL_LENGTH - start, 0.0) * _ECAL_X0)
    return np.asarray(start + front / _ECAL_X0 + (lengths - front) / _HCAL_X0)


def radial(size: Array, u: Array) -> Array:
    """The radius within which f(r) = 2 r R^2 / (r^2 + R^2)^2 has the fraction `u`; half of it is within R."""
    return np.asarray(size * np.sqrt(u / (1 - u)))


def images(spots: Spots, particles: Particles, events: int) -> Array:
    """Transverse energy in each pixel before the read-out, `(events, 52, 64)` [MeV]; the hole has none."""
    at = hcal.pixel(spots.x, spots.y)
    seen = at >= 0
    index = particles.event[spots.particle[seen]] * hcal.N_PIXELS + at[seen]
    sines = hcal.pixel_sines().ravel()
    total = np.bincount(index, spots.energy[seen] * sines[at[seen]], events * hcal.N_PIXELS)
    return total.reshape(events, *hcal.SHAPE) * ~hcal.hole_pixels()


def read_out(image: Array, alive: Array, cap: float = hcal.CAP, threshold: float = hcal.COUNT) -> Array:
    """What the read-out reports of images `(..., 52, 64)` [MeV], float32; `alive` are the pixels that can report."""
    cells = [np.where(c < threshold, 0.0, np.minimum(c, cap)) for c in hcal.real_cells(np.where(alive, image, 0.0))]
    return np.asarray(hcal.merge(cells[0].astype(np.float32), cells[1].astype(np.float32)))


def _shares(shape: tuple[int, int], concentration: float, generator: np.random.Generator) -> Array:
    """Shares that add up to one in each row, fluctuating."""
    draws = generator.gamma(concentration, size=shape) + 1e-12
    return np.asarray(draws / draws.sum(1, keepdims=True))
