r"""Electromagnetic showers in a sampling calorimeter, from profiles to cells (Grindhammer and Peters, hep-ex/0001020).

A shower starts where its electron enters. The depth is cut into steps; the gamma profile gives the energy $dE_j$ of each,
sampling fluctuations replace it by a gamma variable of the same mean and of variance $c^2\, dE_j$ (so that energies keep
$c / \sqrt{E}$ in any sum of steps), and $N_j$ spots of equal energy carry it to the cells. A photon starts two showers, of
an electron and a positron, at an exponential depth of mean 9/7 radiation lengths.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, NonNegativeFloat, PositiveFloat

from understudy.geometry import Calorimeter
from understudy.references.gflash_medium import SamplingStack
from understudy.references.gflash_profiles import (
    LongitudinalLaw,
    RadialLaw,
    conversion_depths,
    depth_fractions,
    front_fractions,
    pair_shares,
    relative_depth,
    spot_numbers,
    spot_profile,
)
from understudy.references.gflash_spots import SpotCounter, SpotGroups
from understudy.schema import Array

Particle = Literal["electron", "photon"]


class Tuning(BaseModel):
    r"""The few numbers that are fitted to a full simulation; the defaults are the published parametrisation.

    Args:
        response: measured energy per deposited energy.
        sampling_term: c of the sampling fluctuation c / sqrt(E/GeV), [sqrt(GeV)].
        depth_scale: factor on the depth of the maximum.
        depth_shift: added to it [X0].
        shape_shift: added to the shape alpha.
        width_scale: factor on the shower-to-shower fluctuations of the profile; 0 gives every shower the median one.
        core_scale: factor on the core radius.
        tail_scale: factor on the tail radius.
        core_shift: added to the core's weight.
        front: energy [MeV at 1 GeV] that is deposited from where the shower starts as $e^{-t / 2 X_0}$, growing with the square
            root of the energy. The gamma profile, which begins as $t^{\alpha - 1}$, has too little in the first 2 X0, and more
            so at high energy.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    response: PositiveFloat = 1.0
    sampling_term: PositiveFloat = 0.08
    depth_scale: PositiveFloat = 1.0
    depth_shift: float = 0.0
    shape_shift: float = 0.0
    width_scale: NonNegativeFloat = 1.0
    core_scale: PositiveFloat = 1.0
    tail_scale: PositiveFloat = 1.0
    core_shift: float = 0.0
    front: NonNegativeFloat = 0.0


@dataclass(frozen=True)
class Section:
    """A range of depth along the normal of the front face.

    Args:
        depth: thickness [X0].
        layer: name of the layer that reads it out; None where the energy is lost.
        response: measured energy per deposited energy, relative to the tuning's.
        noise: factor on the sampling term.
        ionisation: energy [MeV] that an electron or positron loses here by itself if it started before, less in proportion
            if it started within. It is taken from the shower's energy. The gamma profile, which begins with nothing, lacks
            it where it matters: in the material in front and in a thin first layer.
    """

    depth: float
    layer: str | None = None
    response: float = 1.0
    noise: float = 1.0
    ionisation: float = 0.0


@dataclass(frozen=True)
class ShowerEngine:
    """Makes showers in the cells of a calorimeter.

    Args:
        calorimeter: the cells.
        stack: the sampling structure; its radiation length turns depth into distance for inclined showers.
        sections: the depth ranges from the front face on.
        tuning: fitted numbers.
        particle: `electron` or `photon`.
        step: largest depth step [X0].
        block: number of spots (about) held in memory at a time. Events of one block share their random numbers, so the
            same generator, conditions and block give the same bytes; another block gives another sample.
        mm: length [mm] of one unit of the layers' axes.

    Raises:
        ValueError: a section names a layer that the calorimeter does not have.
    """

    calorimeter: Calorimeter
    stack: SamplingStack
    sections: tuple[Section, ...]
    tuning: Tuning = field(default_factory=Tuning)
    particle: Particle = "electron"
    step: float = 0.5
    block: int = 200_000
    mm: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        for section in self.sections:
            if section.layer is not None:
                self.calorimeter.layer(section.layer)

    @cached_property
    def longitudinal(self) -> LongitudinalLaw:
        """The tuned law of the depth profile."""
        t = self.tuning
        return LongitudinalLaw(self.stack, t.depth_scale, t.depth_shift, t.shape_shift, t.width_scale)

    @cached_property
    def radial(self) -> RadialLaw:
        """The tuned law of the radial profile."""
        return RadialLaw(self.stack, self.tuning.core_scale, self.tuning.tail_scale, self.tuning.core_shift)

    @cached_property
    def edges(self) -> Array:
        """Depths [X0] of the steps' ends, `(s + 1,)`."""
        ends = np.cumsum([0.0, *(s.depth for s in self.sections)])
        parts = [np.linspace(a, b, c + 1)[1:] for a, b, c in zip(ends[:-1], ends[1:], self._steps, strict=True)]
        return np.concatenate([[0.0], *parts])

    @cached_property
    def _counters(self) -> dict[str, SpotCounter]:
        return {layer.name: SpotCounter(layer, self.mm) for layer in self.calorimeter.layers}

    @cached_property
    def _steps(self) -> list[int]:
        return [1 if s.layer is None else max(1, round(s.depth / self.step)) for s in self.sections]

    @cached_property
    def _section_of_step(self) -> Array:
        return np.repeat(np.arange(len(self.sections)), self._steps)

    def shower(self, energy: Array, position: Array, slope: Array, generator: np.random.Generator) -> Array:
        """One shower per row.

        Args:
            energy: total energies [MeV], `(n,)`, not negative.
            position: where the particles enter the front face [mm], `(n, 2)`.
            slope: dx/dz and dy/dz, `(n, 2)`. Spots are displaced in the plane of the cells, which for slopes below 0.2
                makes showers wider by less than 2 %.
            generator: source of all randomness.

        Returns:
            Measured energies `(n, n_cells)` [MeV], float32.
        """
        cells = np.zeros((len(energy), self.calorimeter.n_cells), np.float32)
        for rows in self._blocks(np.asarray(energy, float)):
            self._fill(cells[rows], energy[rows], position[rows], slope[rows], generator)
        return cells

    def _blocks(self, energy: Array) -> Iterator[slice]:
        """Consecutive events with about `block` spots together."""
        spots = spot_numbers(energy, self.tuning.sampling_term) + len(self.edges)
        number = (np.cumsum(spots) // self.block).astype(int)
        cuts = [0, *(np.flatnonzero(np.diff(number)) + 1), len(energy)]
        return (slice(int(a), int(b)) for a, b in pairwise(cuts) if b > a)

    def _tracks(self, energy: Array, generator: np.random.Generator) -> tuple[Array, Array, Array]:
        """Energy [MeV], starting depth [X0] and event of every electron and positron that starts a shower."""
        n = len(energy)
        if self.particle == "electron":
            return energy, np.zeros(n), np.arange(n)
        start = conversion_depths(n, generator)
        share = pair_shares(n, generator)
        return np.concatenate([share * energy, (1.0 - share) * energy]), np.tile(start, 2), np.tile(np.arange(n), 2)

    def _fill(self, cells: Array, energy: Array, position: Array, slope: Array, generator: np.random.Generator) -> None:
        track_energy, start, event = self._tracks(energy, generator)
        T, alpha = self.longitudinal.draw(track_energy, generator)
        stretch = np.sqrt(1.0 + (slope[event] ** 2).sum(1))
        t = self.edges * stretch[:, None] - start[:, None]
        ionisation = self._ionisation(track_energy, t)
        left = track_energy - ionisation.sum(1)
        front = np.minimum(self.tuning.front * np.sqrt(track_energy / 1000.0), left)
        mean = (left - front)[:, None] * depth_fractions(T, alpha, t) + front[:, None] * front_fractions(t) + ionisation
        deposited = self._fluctuate(mean, generator)
        numbers = spot_numbers(track_energy, self.tuning.sampling_term)
        spots = np.rint(numbers[:, None] * depth_fractions(*spot_profile(self.stack, T, alpha), t))
        spots = np.where(deposited > 0, np.maximum(spots, 1), 0).astype(np.int64)
        middle = 0.5 * (t[:, 1:] + t[:, :-1])
        tau = relative_depth(middle, T, alpha, self.longitudinal.medians(track_energy)[1])
        core, tail, weight = self.radial(track_energy[:, None], tau)
        in_core = generator.binomial(spots, weight)
        distance = 0.5 * (self.edges[1:] + self.edges[:-1]) * self.stack.X0
        for number, section in enumerate(self.sections):
            if section.layer is None:
                continue
            s = self._section_of_step == number
            gain = self.tuning.response * section.response
            groups = SpotGroups(
                counts=np.stack([in_core[:, s], spots[:, s] - in_core[:, s]]).ravel(),
                radius=np.stack([core[:, s], tail[:, s]]).ravel(),
                energy=np.tile((gain * deposited[:, s] / np.maximum(spots[:, s], 1)).ravel(), 2),
                x=np.tile((position[event, :1] + slope[event, :1] * distance[s]).ravel(), 2),
                y=np.tile((position[event, 1:] + slope[event, 1:] * distance[s]).ravel(), 2),
                event=np.tile(np.repeat(event, s.sum()), 2),
            )
            cells[:, self.calorimeter.slices[section.layer]] += self._counters[section.layer].drop(groups, len(energy), generator)

    def _ionisation(self, energy: Array, t: Array) -> Array:
        """Energy [MeV] that each track loses by itself in each step, `(m, s)`; together no more than it has."""
        full = np.array([s.ionisation / n for s, n in zip(self.sections, self._steps, strict=True)])[self._section_of_step]
        passed = np.clip(t[:, 1:], 0.0, None) - np.clip(t[:, :-1], 0.0, None)
        loss: Array = full * passed / np.diff(t, axis=1)
        return np.asarray(loss * np.minimum(1.0, energy / np.maximum(loss.sum(1), 1e-9))[:, None])

    def _fluctuate(self, energy: Array, generator: np.random.Generator) -> Array:
        """Sampling fluctuations of the energies [MeV] of the steps, `(m, s)`: gamma variables of variance c^2 E."""
        noise = np.array([s.noise for s in self.sections])[self._section_of_step]
        quantum = 1000.0 * (self.tuning.sampling_term * noise) ** 2
        return np.asarray(generator.standard_gamma(np.maximum(energy, 0.0) / quantum) * quantum)
