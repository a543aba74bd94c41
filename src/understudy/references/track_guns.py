"""Guns of single particles as a collider experiment counts them: transverse momentum, pseudorapidity, azimuth."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, model_validator

from understudy.schema import Array, Block

PT = Block("pt", "MeV", minimum=0.0)
ETA = Block("eta")
PHI = Block("phi", "rad", kind="periodic", period=2 * math.pi)
CONDITIONS = (PT, ETA, PHI)


class TrackGun(BaseModel):
    """Transverse momenta, pseudorapidities and azimuths, independent of each other.

    Args:
        momentum: lowest and highest momentum [MeV].
        of: whether that is the `transverse` momentum, or the `total` one, $p_T = p / \\cosh\\eta$.
        spectrum: `log` (uniform in the logarithm), `uniform`, or `fixed` (both ends are the same).
        values: momenta [MeV] that are drawn with equal probability, in place of the spectrum.
        eta: lowest and highest pseudorapidity, uniform between.
        phi: lowest and highest azimuth [rad], uniform between.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    momentum: tuple[NonNegativeFloat, NonNegativeFloat] = (100.0, 500_000.0)
    of: Literal["transverse", "total"] = "transverse"
    spectrum: Literal["log", "uniform", "fixed"] = "log"
    values: tuple[NonNegativeFloat, ...] | None = Field(None, min_length=1)
    eta: tuple[float, float] = (-2.5, 2.5)
    phi: tuple[float, float] = (0.0, 2 * math.pi)

    @model_validator(mode="after")
    def _ordered(self) -> TrackGun:
        for name in ("momentum", "eta", "phi"):
            low, high = getattr(self, name)
            if not (math.isfinite(low) and math.isfinite(high) and low <= high):
                raise ValueError(f"the range of {name} must be finite and go upwards, not from {low:g} to {high:g}")
        low, high = self.momentum
        if self.spectrum == "log" and low <= 0:
            raise ValueError(f"momenta uniform in the logarithm cannot start at {low:g} MeV; start above 0")
        if self.spectrum == "fixed" and low != high:
            raise ValueError(f"a fixed momentum needs a range with equal ends, not {low:g} to {high:g} MeV")
        return self

    def draw(self, n: int, generator: np.random.Generator) -> dict[str, Any]:
        """`pt` [MeV], `eta` and `phi` [rad], each `(n,)`."""
        momentum, eta = self._momenta(n, generator), generator.uniform(*self.eta, n)
        pt = momentum / np.cosh(eta) if self.of == "total" else momentum
        return {PT.name: pt, ETA.name: eta, PHI.name: generator.uniform(*self.phi, n)}

    def _momenta(self, n: int, generator: np.random.Generator) -> Array:
        if self.values is not None:
            return np.asarray(generator.choice(np.asarray(self.values), n))
        low, high = self.momentum
        if self.spectrum == "log":
            return np.asarray(np.exp(generator.uniform(np.log(low), np.log(high), n)))
        return generator.uniform(low, high, n)
