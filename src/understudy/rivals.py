"""Stand-ins of needed runs that answer the same questions: a teacher is compared beside its student, in one report."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.deployment.bundle import load_needs
from understudy.deployment.timing import measure_timing
from understudy.needs import bundle_of
from understudy.recipe import Recipe
from understudy.rundir import read_json
from understudy.schema import Block
from understudy.splits import Data
from understudy.surrogate import Surrogate


@dataclass(frozen=True)
class Rival:
    """A trained stand-in, and where its bundle lies."""

    surrogate: Surrogate
    bundle: Path

    def cost(self, conditions: Mapping[str, Any]) -> dict[str, Any]:
        """Its times, measured here and now at given `conditions` by name, and what its training took, for `compare`."""
        timing = measure_timing(self.surrogate, self.bundle / "surrogate.onnx", conditions)
        return {"timing": timing, "training": read_json(self.bundle / "metrics.json").get("training")}


def rivals(recipe: Recipe, data: Data, taken: Collection[str] = ()) -> dict[str, Rival]:
    """Those of a recipe's needs that give the response of its own stand-in for the same given conditions and cells.

    Args:
        recipe: its needs fulfilled.
        data: the run's events.
        taken: names of other candidates; a need that is called so is told apart.

    Returns:
        By the names of their candidates, which are those of the needs.
    """
    schema = data.test.schema
    found: dict[str, Rival] = {}
    for name, surrogate in load_needs(recipe).items():
        theirs = surrogate.schema
        alike = _said(theirs.response) == _said(schema.response) and _said(theirs.given) == _said(schema.given)
        if alike and surrogate.geometry == data.geometry:
            found[f"{name} (needed)" if name in taken else name] = Rival(surrogate, bundle_of(recipe.needs[name]))
    return found


def _said(blocks: Collection[Block]) -> dict[str, tuple[tuple[int, ...], str]]:
    return {b.name: (b.shape, b.unit) for b in blocks}
