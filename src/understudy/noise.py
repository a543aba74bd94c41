r"""Electronic noise of calorimeter cells: $E_i \to E_i + \sigma_l\, z$ with $z \sim N(0, 1)$, one $\sigma_l$ for each layer $l$.

A reference that simulates the passage of particles alone has none. The read-out of a real calorimeter adds to every cell,
in every event, a Gaussian of some tens of MeV, and the analysis removes most of it again by thresholds (P. Klein, "WGANs for
simulation of e.m. showers in ATLAS calorimeter", eqs. 1-4). The noise is added before the thresholds, so that what is
learned and judged has both: cells that noise lifts over a threshold, and energies that it smears.

Correlated noise (crosstalk, pile-up) is not described.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, NonNegativeFloat, PositiveFloat, model_validator

from understudy import seeds
from understudy.geometry import Calorimeter
from understudy.schema import Array

BLOCK = 1000
"""Events whose noise comes from one seed; part of what a seed means."""


class NoiseSettings(BaseModel):
    """Standard deviation of the noise in a cell [MeV].

    Args:
        layers: of each layer by name; every layer must be named.
        energy: one for all cells; either this or `layers`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    layers: dict[str, NonNegativeFloat] | None = None
    energy: PositiveFloat | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.layers is None) == (self.energy is None):
            raise ValueError("noise needs either layers (one energy per layer) or energy (one for all cells)")
        return self

    def sigma(self, geometry: Calorimeter | None) -> Array:
        """Standard deviations `(n_cells,)`, or `(1,)` for all cells [MeV]; ValueError if the layers are others or unknown."""
        if self.layers is None:
            return np.array([self.energy], float)
        if geometry is None:
            raise ValueError("noise of each layer needs to know the layers of the response; name its geometry in the recipe")
        return geometry.per_layer(self.layers)


@dataclass(frozen=True, eq=False)
class CellNoise:
    """Adds noise to cells.

    Args:
        sigma: standard deviations `(d,)`, or `(1,)` for all cells [MeV].
        seed: the recipe's.
    """

    sigma: Array
    seed: int

    def __call__(self, cells: Array, sample: str) -> Array:
        """`cells` `(n, d)` [MeV] with noise, float32.

        The noise of a row depends on the seed, the sample and the row's number alone: the first events of a sample have the
        same noise however many follow.

        Args:
            cells: energies.
            sample: what the events are; a second sample of the same length gets other noise.
        """
        noisy = np.empty(cells.shape, np.float32)
        for number, start in enumerate(range(0, len(cells), BLOCK)):
            rows = cells[start : start + BLOCK]
            drawn = seeds.generator(self.seed, "noise", sample, number).standard_normal(rows.shape, dtype=np.float32)
            noisy[start : start + BLOCK] = rows + drawn * self.sigma.astype(np.float32)
        return noisy
