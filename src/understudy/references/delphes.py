r"""The electron of Delphes: tracking efficiency and momentum smearing (de Favereau et al., arXiv:1307.6346).

An electron of transverse momentum $p_T$ and pseudorapidity $\eta$ is found with the probability $\epsilon(p_T, |\eta|)$, which is
constant in regions. If it is, its transverse momentum becomes

$$p_T' = p_T\, e^{b z - b^2/2}, \qquad b^2 = \ln(1 + r^2), \quad r = \min\Big(\sqrt{c^2 + k^2 p_T^2},\ 1\Big), \ z \sim N(0, 1),$$

a log-normal number of mean $p_T$ and width $r p_T$; $\eta$ and $\phi$ stay as they are. Constants are those of the built-in card
(Appendix B of the Cambridge report on conditional WGAN-GP of Delphes, with the minus signs of the exponents that the print
has lost; the CMS card of Delphes has the same). What is not found has no reconstructed values: its mask is False, they are NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from understudy.events import Events
from understudy.references.track_guns import CONDITIONS, ETA, PHI, PT, TrackGun
from understudy.registry import register
from understudy.schema import Array, Block, Schema
from understudy.simulator import Conditions, GunSource

RECONSTRUCTED = tuple(Block(f"reconstructed_{b.name}", b.unit, b.kind, period=b.period) for b in (PT, ETA, PHI))
"""Without bounds: a stand-in that gives a negative momentum is to be seen."""
SCHEMA = Schema(CONDITIONS, RECONSTRUCTED)

PT_EDGES = np.array([100.0, 1000.0, 100_000.0], np.float32)
"""Transverse momenta [MeV] up to which the regions of the efficiency reach."""
ETA_EDGES = np.array([0.5, 1.5, 2.5], np.float32)
"""$|\\eta|$ up to which the regions reach; the efficiency does not know the first one."""
EFFICIENCY = np.array(
    [[0.0, 0.73, 0.95, 0.99], [0.0, 0.73, 0.95, 0.99], [0.0, 0.50, 0.83, 0.90], [0.0, 0.0, 0.0, 0.0]], np.float32
)
"""By region of $|\\eta|$ and of the transverse momentum."""
CONSTANT = np.array([0.03, 0.05, 0.15, 0.0], np.float32)
"""$c$ by region of $|\\eta|$."""
SLOPE = np.array([1.3e-6, 1.7e-6, 3.1e-6, 0.0], np.float32)
"""$k$ by region of $|\\eta|$ [1/MeV]."""
ROWS = 32_768
"""Electrons that are worked on together: they stay in the cache."""

_GUN = TrackGun()


def regions(pt: Array, eta: Array) -> tuple[Array, Array]:
    """Numbers of the regions of $|\\eta|$ and of the transverse momentum [MeV], both `(n,)`; a region holds its upper end."""
    size = np.abs(eta)
    across = (size > ETA_EDGES[0]).view(np.uint8) + (size > ETA_EDGES[1]) + (size > ETA_EDGES[2])
    along = (pt > PT_EDGES[0]).view(np.uint8) + (pt > PT_EDGES[1]) + (pt > PT_EDGES[2])
    return across, along


def efficiency(pt: Array, eta: Array) -> Array:
    """The probability that an electron is found, `(n,)`."""
    across, along = regions(pt, eta)
    return np.asarray(EFFICIENCY.ravel().take(4 * across + along))


def resolution(pt: Array, eta: Array) -> Array:
    """The relative width $r$ of the reconstructed transverse momentum, at most 1, `(n,)`."""
    across, along = regions(pt, eta)
    r = np.sqrt(np.square(CONSTANT.take(across)) + np.square(SLOPE.take(across) * pt))
    return np.asarray(np.where(along > 0, np.minimum(r, 1.0), 0.0))


def log_normal(mean: Array, relative: Array, z: Array) -> Array:
    """A log-normal number of that mean and relative width for each normal number `z`, all `(n,)`."""
    square = np.log1p(np.square(relative))
    return np.asarray(mean * np.exp(np.sqrt(square) * z - 0.5 * square))


@dataclass(frozen=True)
class DelphesElectron:
    """A Simulator: `pt`, `eta`, `phi` of an electron to what is reconstructed."""

    geometry: None = None

    @property
    def schema(self) -> Schema:
        """Conditions and reconstructed values."""
        return SCHEMA

    def simulate(self, conditions: Conditions, generator: np.random.Generator) -> Events:
        """One answer per row of `conditions`; the mask is False for electrons that are not found.

        Raises:
            ValueError: a condition is missing, has the wrong shape, is not finite, or a transverse momentum is negative.
        """
        asked = Events(SCHEMA, {b.name: conditions[b.name] for b in CONDITIONS if b.name in conditions}, where="the electrons")
        pt, eta, phi = (np.asarray(asked[b.name], np.float32) for b in CONDITIONS)
        n = len(pt)
        made, found = np.empty((3, n), np.float32), np.empty(n, bool)
        for start in range(0, n, ROWS):
            rows = slice(start, start + ROWS)
            u = generator.random(len(pt[rows]), dtype=np.float32)
            z = generator.standard_normal(len(u), dtype=np.float32)
            found[rows], made[0, rows] = answer(pt[rows], eta[rows], u, z)
            lost = ~found[rows]
            made[1, rows], made[2, rows] = eta[rows], phi[rows]
            made[:, rows][:, lost] = np.nan
        return asked.with_response({b.name: made[i] for i, b in enumerate(RECONSTRUCTED)}, mask=found)


def answer(pt: Array, eta: Array, u: Array, z: Array) -> tuple[Array, Array]:
    """Whether electrons are found, for uniform `u`, and their transverse momentum, for normal `z`; all `(n,)`, float32.

    The same as `efficiency`, `resolution` and `log_normal`, with the regions looked up once.
    """
    across, along = regions(pt, eta)
    square = np.square(SLOPE.take(across) * pt)
    square += np.square(CONSTANT).take(across)
    np.minimum(square, 1.0, out=square)
    square *= along > 0
    np.log1p(square, out=square)
    b = np.sqrt(square)
    b *= z
    square *= 0.5
    b -= square
    np.exp(b, out=b)
    b *= pt
    return u < EFFICIENCY.ravel().take(4 * across + along), b


@dataclass(frozen=True)
class TrackSource(GunSource):
    """Particles of a gun, answered by formulae."""

    @property
    def geometry(self) -> None:
        """A track has no cells."""
        return None


@register("references", "delphes")
def delphes_electron(gun: TrackGun = _GUN) -> TrackSource:
    """Electrons in the built-in card.

    Args:
        gun: their momenta and directions.
    """
    return TrackSource(gun, DelphesElectron())
