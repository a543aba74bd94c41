"""Understudy: learned stand-ins for particle-detector simulation.

from understudy import Recipe, run, load_bundle, compare, Events

run("quickstart", out="runs/quickstart")
surrogate = load_bundle("runs/quickstart/bundle")
showers = surrogate.simulate({"incident_energy": energies, "position": positions}, generator)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from understudy.deployment.bundle import load_bundle
    from understudy.events import Block, Events, Schema
    from understudy.geometry import Calorimeter, Layer
    from understudy.journey import run
    from understudy.recipe import Recipe
    from understudy.simulator import GunSource, Simulator, Source
    from understudy.surrogate import Surrogate
    from understudy.validation.compare import compare
    from understudy.validation.report import Report

_HOMES = {
    "Block": "schema",
    "Calorimeter": "geometry",
    "Events": "events",
    "GunSource": "simulator",
    "Layer": "geometry",
    "Recipe": "recipe",
    "Report": "validation.report",
    "Schema": "schema",
    "Simulator": "simulator",
    "Source": "simulator",
    "Surrogate": "surrogate",
    "compare": "validation.compare",
    "load_bundle": "deployment.bundle",
    "run": "journey",
}
"""Where each public name lives; it is imported at first use, so that `import understudy` stays quick."""

__all__ = [
    "Block",
    "Calorimeter",
    "Events",
    "GunSource",
    "Layer",
    "Recipe",
    "Report",
    "Schema",
    "Simulator",
    "Source",
    "Surrogate",
    "compare",
    "load_bundle",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'understudy' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"understudy.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
