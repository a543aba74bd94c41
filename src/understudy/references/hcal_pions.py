r"""Single charged pions in the LHCb HCAL: projected position and transverse energy in, merged image out.

The condition `et` is `real_ET`, the transverse energy from the tracker: the pion's energy times the sine of the polar angle
at which the interaction point sees the impact point. The tracker measures momenta with $\sigma_p / p = 0.5\,\%$ at low
momentum, 1 % at 200 GeV. The simulator is asked at what was measured, and draws the true energy around it with that
resolution; beside the calorimeter's own resolution the difference to the exact inverse does not matter. Pions fly straight
from the interaction point.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, PositiveFloat, model_validator

from understudy import geometry as geometries
from understudy import hcal_geometry as hcal
from understudy.events import Events
from understudy.geometry import Calorimeter
from understudy.references.guns import MOMENTUM, POSITION
from understudy.references.hcal_shower import MESON, PION_MASS, HadronShowers, Particles, images, read_out
from understudy.registry import register
from understudy.schema import Array, Block, Schema
from understudy.simulator import Conditions, GunSource

ET = Block("et", "MeV", minimum=0.0)
"""Transverse energy from the tracker."""


class PionGun(BaseModel):
    """Pions with logarithmically uniform transverse energy, uniform in pseudorapidity and azimuth, that hit the calorimeter.

    Args:
        et_range: lowest and highest transverse energy [MeV].
        eta_range: lowest and highest pseudorapidity.
        momentum_range: lowest and highest momentum [MeV]; others are drawn again.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    et_range: tuple[PositiveFloat, PositiveFloat] = (100.0, 12000.0)
    eta_range: tuple[PositiveFloat, PositiveFloat] = (1.9, 4.6)
    momentum_range: tuple[PositiveFloat, PositiveFloat] = (2000.0, 250000.0)

    @model_validator(mode="after")
    def _ordered(self) -> PionGun:
        for name in ("et_range", "eta_range", "momentum_range"):
            low, high = getattr(self, name)
            if not low < high:
                raise ValueError(f"{name} must go upwards, not from {low:g} to {high:g}")
        steepest = 1 / np.cosh(self.eta_range[0])
        if self.momentum_range[0] * steepest < self.et_range[0] / 50 or self.momentum_range[1] < self.et_range[0]:
            raise ValueError("the ranges of momentum, pseudorapidity and transverse energy hardly overlap; widen one of them")
        return self

    def draw(self, n: int, generator: np.random.Generator) -> dict[str, Any]:
        """`position` `(n, 2)` [mm] and `et` `(n,)` [MeV]."""
        position, et = np.empty((0, 2)), np.empty(0)
        while len(et) < n:
            trial = 2 * (n - len(et)) + 100
            drawn = np.exp(generator.uniform(np.log(self.et_range[0]), np.log(self.et_range[1]), trial))
            eta, phi = generator.uniform(*self.eta_range, trial), generator.uniform(-np.pi, np.pi, trial)
            r, momentum = hcal.Z_FACE / np.sinh(eta), drawn * np.cosh(eta)
            x, y = r * np.cos(phi), r * np.sin(phi)
            keep = hcal.accepted(x, y) & (momentum > self.momentum_range[0]) & (momentum < self.momentum_range[1])
            position = np.concatenate([position, np.stack([x, y], 1)[keep]])[:n]
            et = np.concatenate([et, drawn[keep]])[:n]
        return {POSITION.name: position, ET.name: et}


@dataclass(frozen=True)
class PionSimulator:
    """A Simulator: `position` and `et` of charged pions to `cells`, with the true momentum as `aux["momentum"]`.

    Args:
        showers: the parametrisation.
        dead: (row, column) of dead inner cells.
        cap, threshold: of the read-out [MeV].
    """

    showers: HadronShowers = field(default_factory=HadronShowers)
    dead: tuple[tuple[int, int], ...] = hcal.DEAD
    cap: float = hcal.CAP
    threshold: float = hcal.COUNT

    @cached_property
    def geometry(self) -> Calorimeter:
        """The merged image."""
        return geometries.builtin("lhcb-hcal")

    @property
    def schema(self) -> Schema:
        """Position [mm] and transverse energy [MeV] in; the merged image [MeV] out."""
        return Schema((POSITION, ET), (hcal.CELLS,), (MOMENTUM,))

    def simulate(self, conditions: Conditions, generator: np.random.Generator, chunk: int = 2000) -> Events:
        """One pion per row of `conditions`.

        Raises:
            ValueError: a condition is missing or wrong, or a pion misses the calorimeter or flies into the beam hole.
        """
        given = Schema((POSITION, ET))
        names = [b.name for b in given.conditions if b.name in conditions]
        asked = Events(given, {n: conditions[n] for n in names}, where="the conditions of a single pion")
        position, et = np.asarray(asked[POSITION.name], float), np.asarray(asked[ET.name], float)
        check_on_face(position)
        energy = et / hcal.sine(*position.T)
        energy = energy / np.maximum(1 + track_resolution(energy) * generator.standard_normal(len(energy)), 0.5)
        direction = np.column_stack([position, np.full(len(position), hcal.Z_FACE)])
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        momentum = np.sqrt(np.maximum(energy**2 - PION_MASS**2, 0.0))[:, None] * direction
        cells = np.empty((len(energy), hcal.N_PIXELS), np.float32)
        alive = hcal.alive(self.dead)
        for start in range(0, len(energy), chunk):
            rows = slice(start, start + chunk)
            image = self.images(position[rows], momentum[rows], generator)
            cells[rows] = read_out(image, alive, self.cap, self.threshold).reshape(len(image), -1)
        return Events(self.schema, asked.conditions, {hcal.CELLS.name: cells}, aux={MOMENTUM.name: momentum})

    def images(self, position: Array, momentum: Array, generator: np.random.Generator) -> Array:
        """One image per pion, before the read-out, `(n, 52, 64)` [MeV].

        Args:
            position: `(n, 2)` at the HCAL's face [mm].
            momentum: `(n, 3)` [MeV].
            generator: draws the showers.
        """
        x, y = position.T
        energy = np.sqrt((momentum**2).sum(1) + PION_MASS**2)
        pions = Particles(np.arange(len(x)), x, y, x / hcal.Z_FACE, y / hcal.Z_FACE, energy, np.full(len(x), MESON))
        return images(self.showers.deposit(pions, generator), pions, len(x))


@dataclass(frozen=True)
class PionSource(GunSource):
    """Single pions of a gun."""

    gun: PionGun = field(default_factory=PionGun)
    simulator: PionSimulator = field(default_factory=PionSimulator)

    @property
    def geometry(self) -> Calorimeter:
        """The merged image."""
        return self.simulator.geometry


@register("references", "lhcb-hcal-pions")
def lhcb_hcal_pions(
    gun: PionGun = PionGun(),  # noqa: B008
    dead: tuple[tuple[int, int], ...] = hcal.DEAD,
    sampling: PositiveFloat = 0.69,
    constant: PositiveFloat = 0.09,
) -> PionSource:
    """Single charged pions in the LHCb HCAL, parametrised.

    Args:
        gun: which pions.
        dead: (row, column) of dead inner cells.
        sampling: stochastic term of the energy resolution at 1 GeV.
        constant: constant term of the energy resolution.
    """
    hcal.alive(dead)
    return PionSource(gun, PionSimulator(HadronShowers(sampling, constant), dead))


def track_resolution(energy: Array) -> Array:
    """Relative resolution of the tracker at `energy` [MeV]: 0.5 %, and 1 % at 200 GeV."""
    return 0.005 + 0.005 * np.asarray(energy, float) / 200000.0


def check_on_face(position: Array) -> None:
    """ValueError unless every position `(n, 2)` [mm] lies on the calorimeter and outside its beam hole."""
    missed = np.flatnonzero(~hcal.accepted(*position.T))
    if missed.size:
        x, y = position[missed[0]]
        raise ValueError(
            f"event {missed[0]} points to x = {x:.0f} mm, y = {y:.0f} mm, beside the calorimeter or into its beam hole;"
            f" it covers |x| < {hcal.SHAPE[1] * hcal.CELL / 2:.0f} mm, |y| < {hcal.SHAPE[0] * hcal.CELL / 2:.0f} mm"
            f" without |x|, |y| < {hcal.HOLE[0] * hcal.CELL / 2:.0f} mm"
        )
