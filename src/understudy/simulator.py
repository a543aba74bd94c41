"""The two protocols that everything which makes events obeys.

A `Simulator` answers given conditions; a `Source` makes conditions and responses together. A particle gun plus a
Simulator is a Source. A Delphes card, Geant4, a trained surrogate and an ONNX session are all Simulators, which is why
any two of them can be compared, and why a reference compared with itself gives the noise floor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from understudy.events import Events
from understudy.schema import Schema

Conditions = Mapping[str, Any]


@runtime_checkable
class Simulator(Protocol):
    """Something that answers conditions with a response."""

    @property
    def schema(self) -> Schema:
        """The blocks it asks for (`schema.given`) and answers with."""
        ...

    def simulate(self, conditions: Conditions, generator: np.random.Generator) -> Events:
        """Simulate every row of `conditions` (arrays `(n, *block.shape)` by name) once."""
        ...


@runtime_checkable
class Source(Protocol):
    """Something that makes events, conditions and response together."""

    @property
    def schema(self) -> Schema:
        """The blocks of the events it makes."""
        ...

    def generate(self, n: int, generator: np.random.Generator) -> Events:
        """Make `n` events."""
        ...


class Gun(Protocol):
    """A distribution of conditions."""

    def draw(self, n: int, generator: np.random.Generator) -> dict[str, Any]:
        """Draw `n` sets of conditions by block name."""
        ...


@dataclass(frozen=True)
class GunSource:
    """A Source: conditions drawn by a gun, answered by a simulator."""

    gun: Gun
    simulator: Simulator

    @property
    def schema(self) -> Schema:
        """The simulator's schema."""
        return self.simulator.schema

    def generate(self, n: int, generator: np.random.Generator) -> Events:
        """Draw `n` conditions and simulate them."""
        return self.simulator.simulate(self.gun.draw(n, generator), generator)
