"""A signal under a background, with sWeights from a mass: what any weighted number of it should be is known from the signal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from understudy.events import Array, Block, Events, Schema

SCHEMA = Schema((Block("x"),), (Block("y", shape=(2,)),), (Block("mass", "MeV"), Block("is_signal")))
LOW, HIGH = 1800.0, 1930.0


def signal(x: Array, rng: np.random.Generator) -> Array:
    """The response of the signal at x, `(n, 2)`."""
    first = 0.5 * x + rng.standard_normal(len(x))
    return np.column_stack([first, 0.5 * first + 0.6 * rng.standard_normal(len(x)) * np.exp(0.2 * x)])


def pure(n: int, rng: np.random.Generator) -> Events:
    """Signal alone, without weights."""
    x = rng.standard_normal(n)
    aux = {"mass": np.full(n, 1865.0), "is_signal": np.ones(n)}
    return Events(SCHEMA, {"x": x}, {"y": signal(x, rng)}, aux=aux)


@dataclass(frozen=True)
class Mass:
    """Normal signal over an exponential background; the densities are known, so that the sWeights are."""

    signals: float
    backgrounds: float

    def densities(self, mass: Array) -> Array:
        shape = np.exp(-(mass - LOW) / 100.0) / (100 * (1 - np.exp(-(HIGH - LOW) / 100)))
        return np.stack([stats.norm.pdf(mass, 1865.0, 8.0), shape])

    def weights(self, mass: Array) -> Array:
        """Pivk and Le Diberder, eq. 11 and 13."""
        f, yields = self.densities(mass), np.array([self.signals, self.backgrounds])
        total = yields @ f
        covariance = np.linalg.inv(np.einsum("in,jn->ij", f / total, f / total))
        return (covariance @ f)[0] / total


def contaminated(n: int, rng: np.random.Generator, part: float = 0.5) -> Events:
    """`n` events of which `part` are signal, the others have larger x and a response of their own; with sWeights."""
    is_signal = rng.random(n) < part
    x = np.where(is_signal, rng.standard_normal(n), 0.8 + 0.7 * rng.standard_normal(n))
    other = np.column_stack([2.5 + 0.4 * rng.standard_normal(n), -1 + 0.4 * rng.standard_normal(n)])
    background = LOW - 100 * np.log(1 - rng.random(n) * (1 - np.exp(-(HIGH - LOW) / 100)))
    mass = np.where(is_signal, 1865 + 8 * rng.standard_normal(n), background)
    y = np.where(is_signal[:, None], signal(x, rng), other)
    weights = Mass(part * n, (1 - part) * n).weights(mass)
    return Events(SCHEMA, {"x": x}, {"y": y}, weights=weights, aux={"mass": mass, "is_signal": is_signal})
