"""Calibration samples of the RICH as data have them: signal over combinatorial background, and sWeights to tell them apart.

Each species has a decay channel of its own, in which a mass peaks for signal and falls for background. Background tracks have
other momenta, pseudorapidities and events, and are other particles than the channel says. What is asked of a track is its
channel's species; what it is, `true_species`, travels along with its mass and `is_signal`, so that training with weights can be
judged against pure signal. Mass and everything else are drawn independently for signal and for background: sWeights rely on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from understudy.events import Events
from understudy.references.cherenkov import RICH1, RICH2, SPECIES, Radiator
from understudy.references.mass_fit import MassFit, Peak, fit_mass
from understudy.references.rich import WHICH, RichSimulator, Species, TrackGun
from understudy.registry import register
from understudy.schema import Array, Block, Schema

MASS = Block("mass", "MeV", minimum=0.0)
IS_SIGNAL = Block("is_signal", kind="categorical")
TRUE_SPECIES = Block("true_species", kind="categorical")

Weighting = Literal["sweights", "none", "truth"]

_D0 = Peak(window=(1825.0, 1905.0), mean=1864.84, width=7.0, slope=300.0)
_LAMBDA = Peak(window=(1105.0, 1127.0), mean=1115.683, width=1.2, slope=60.0)
_JPSI = Peak(window=(3010.0, 3180.0), mean=3096.9, width=13.0, slope=600.0)
_B = Peak(window=(5080.0, 5480.0), mean=5279.34, width=35.0, slope=500.0)
CHANNELS: dict[Species, Peak] = {"pion": _D0, "kaon": _D0, "proton": _LAMBDA, "muon": _JPSI, "electron": _B}
"""The decays that each species is taken from: D0 -> K pi, Lambda -> p pi, J/psi -> mu mu, B -> J/psi K with J/psi -> e e."""

_SIGNAL = TrackGun()
_BACKGROUND = TrackGun(
    momentum_slope=1.7,
    pseudorapidity_tilt=0.5,
    mean_tracks=220.0,
    species={"pion": 0.72, "kaon": 0.13, "proton": 0.08, "muon": 0.02, "electron": 0.05},
)


@dataclass(frozen=True)
class RichCalibration:
    """A Source of tracks with DLLs and sWeights.

    Args:
        detector: answers the tracks, asked for what they are.
        signal: draws signal tracks, and how often each channel is.
        background: draws background tracks and what they are.
        channels: mass spectra by species.
        purity: part of the tracks that are signal.
        weights: `sweights`; `truth` (1 for signal, 0 for background) or `none`, to show what they buy.
        particle: the one channel, the species then being no condition; None for those of the signal gun.
    """

    detector: RichSimulator
    signal: TrackGun
    background: TrackGun
    channels: Mapping[Species, Peak]
    purity: float
    weights: Weighting = "sweights"
    particle: Species | None = None

    whole = True
    """A sample is made in one piece: its weights come from a fit to all of it."""

    @property
    def geometry(self) -> None:
        """DLLs sit nowhere."""

    @cached_property
    def schema(self) -> Schema:
        """Conditions and DLLs; mass and truth as auxiliary blocks."""
        own = RichSimulator(self.detector.radiators, self.particle).schema
        return Schema(own.conditions, own.response, (MASS, IS_SIGNAL, TRUE_SPECIES))

    def generate(self, n: int, generator: np.random.Generator) -> Events:
        """`n` tracks of all channels in random order, their masses fitted channel by channel.

        Raises:
            ValueError: a channel's mass fit does not converge or finds no peak.
            ModuleNotFoundError: the extra `sweights` is not installed.
        """
        values, signal = self._tracks(n, generator)
        asked, true = values[WHICH.name], values[TRUE_SPECIES.name]
        answered = self.detector.simulate({**values, WHICH.name: true}, generator)
        weights = self._weights(asked, values[MASS.name], signal)
        conditions = {b.name: values[b.name] for b in self.schema.conditions}
        aux = {b.name: values[b.name] for b in self.schema.aux}
        return Events(self.schema, conditions, answered.response, weights, aux=aux, where="the calibration sample")

    def fits(self, events: Events) -> dict[str, MassFit]:
        """The mass fits of a sample of this source, by species."""
        asked = np.full(len(events), SPECIES.index(self.particle)) if self.particle else events[WHICH.name]
        return {SPECIES[s]: self._fit(s, events[MASS.name][asked == s]) for s in np.unique(asked)}

    def _tracks(self, n: int, rng: np.random.Generator) -> tuple[dict[str, Array], Array]:
        """Conditions, mass and truth of `n` tracks by name, and which are signal."""
        signal = rng.uniform(size=n) < self.purity
        ours, others = self.signal.draw(n, rng), self.background.draw(n, rng)
        asked = np.full(n, SPECIES.index(self.particle)) if self.particle else ours[WHICH.name]
        values = {name: np.where(signal, ours[name], others[name]) for name in ours if name != WHICH.name}
        mass = np.empty(n)
        for s in np.unique(asked):
            peak = self._peak(int(s))
            for of, draw in ((signal, peak.draw_signal), (~signal, peak.draw_background)):
                chosen = of & (asked == s)
                mass[chosen] = draw(int(chosen.sum()), rng)
        true = np.where(signal, asked, others[WHICH.name])
        # float32, as events keep it: the weights belong to these masses
        return values | {
            WHICH.name: asked,
            TRUE_SPECIES.name: true,
            IS_SIGNAL.name: signal,
            MASS.name: mass.astype(np.float32),
        }, signal

    def _weights(self, asked: Array, mass: Array, signal: Array) -> Array | None:
        if self.weights == "none":
            return None
        if self.weights == "truth":
            return signal.astype(float)
        weights = np.empty(len(mass))
        for s in np.unique(asked):
            chosen = asked == s
            weights[chosen] = self._fit(int(s), mass[chosen]).sweights(mass[chosen].astype(float))
        return weights

    def _fit(self, species: int, mass: Array) -> MassFit:
        peak = self._peak(species)
        return fit_mass(np.clip(np.asarray(mass, float), *peak.window), peak, f"the {SPECIES[species]} calibration sample")

    def _peak(self, species: int) -> Peak:
        name: Any = SPECIES[species]
        return self.channels.get(name, CHANNELS[name])


@register("references", "rich-calibration")
def rich_calibration(
    signal: TrackGun = _SIGNAL,
    background: TrackGun = _BACKGROUND,
    particle: Species | None = None,
    purity: Annotated[float, Field(gt=0, lt=1)] = 0.6,
    weights: Weighting = "sweights",
    channels: dict[Species, Peak] = {},  # noqa: B006 - never changed
    radiators: tuple[Radiator, ...] = (RICH1, RICH2),
) -> RichCalibration:
    """Tracks of calibration channels with background under the peak of their mass.

    Args:
        signal: draws the signal tracks; its `species` are the channels.
        background: draws the background tracks; its `species` are what they are.
        particle: one channel for all tracks; the condition `species` is then left out.
        purity: part of the tracks that are signal.
        weights: `sweights`; `truth` (1 for signal, 0 for background) or `none`, to show what they buy.
        channels: mass spectra other than the built-in ones, by species.
        radiators: the gases.
    """
    return RichCalibration(RichSimulator(radiators), signal, background, channels, purity, weights, particle)
