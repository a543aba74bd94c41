"""Many samples of one condition, for the study of event variety: from the reference, and from the stand-ins.

Where a reference simulates, it is asked at exactly that condition. Of a file, the events at the nearest conditions are taken,
from all splits, and the stand-ins are asked at each of their conditions as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from understudy import seeds
from understudy.events import Events
from understudy.recipe import Recipe, is_file
from understudy.schema import Schema
from understudy.simulator import Conditions, Simulator
from understudy.splits import Data
from understudy.validation.variety import Variety, name_of, nearest_rows, spread_of, typical_rows

WIDEST = 16
"""Columns of a condition block from which it is an image rather than a condition: a regressor's input has no variety."""


def varieties(recipe: Recipe, simulators: Mapping[str, Simulator], data: Data) -> list[Variety]:
    """The samples that `validation: variety:` of a recipe asks for, at conditions that stand for those of the test split.

    Args:
        recipe: says how many, and which reference simulates them.
        simulators: the stand-ins by the names of their candidates.
        data: the run's events.

    Raises:
        ValueError: the recipe names a reference that is a file, or that needs conditions which the recipe leaves out.
    """
    settings = recipe.validation.variety
    blocks = data.test.schema.given
    if not settings.conditions or not blocks or any(b.kind in ("jagged", "image") or b.width > WIDEST for b in blocks):
        return []
    found: list[Variety] = []
    reference = _simulating(recipe, data)
    for i, row in enumerate(typical_rows(data.test, data.geometry, settings.conditions)):
        rng = [seeds.generator(recipe.seed, "variety", str(i), who) for who in ("reference", *simulators)]
        name = name_of(data.test, row)
        name = name if name not in {v.name for v in found} else f"{name} ({i + 1})"
        one = data.test[row : row + 1].without_response().conditions
        asked = {k: np.repeat(np.asarray(v), settings.events, axis=0) for k, v in one.items()}
        samples = {n: s.simulate(asked, r) for (n, s), r in zip(simulators.items(), rng[1:], strict=True)}
        if reference is not None:
            made = data.preparation(reference.simulator.simulate(asked, rng[0]), reference.geometry, f"variety {i}")
            source = settings.reference or ""
            who = source or "the reference"
            note = f"{len(made)} events of {who} and {settings.events} of each candidate, all at this condition."
            found.append(Variety(name, one, made, samples, note=note, source=source))
            continue
        near = _nearest(data, row, settings.nearest)
        given = near.without_response().conditions
        matched = {n: s.simulate(given, r) for (n, s), r in zip(simulators.items(), rng[1:], strict=True)}
        note = (
            f"The reference cannot be asked, so that its {len(near)} events nearest in the conditions stand in, from all splits"
            f" ({spread_of(near)}); the candidates are asked once at each of these (solid) and {settings.events} times at the one"
            " condition (dashed)."
        )
        found.append(Variety(name, one, near, samples, matched, note))
    return found


def check_variety(recipe: Recipe, data: Data) -> None:
    """Ask the reference that a recipe names for the study for one event, so that it does not fail after the training.

    Raises:
        ValueError: as `varieties`; and whatever the reference raises where it cannot run.
    """
    if recipe.validation.variety.reference is not None and recipe.validation.variety.conditions:
        one = data.test[:1].without_response().conditions
        _simulating(recipe, data).simulator.simulate(one, seeds.generator(recipe.seed, "variety", "check"))


@dataclass(frozen=True)
class Prepared:
    """A reference that answers as a run's events are: simulated, then prepared."""

    reference: Any
    data: Data

    @property
    def schema(self) -> Schema:
        """The blocks of the run's events."""
        return self.data.test.schema

    def simulate(self, conditions: Conditions, generator: np.random.Generator) -> Events:
        """Simulate every row of `conditions` and prepare the answers."""
        made = self.reference.simulator.simulate(conditions, generator)
        return self.data.preparation(made, self.reference.geometry, "analysis")


def askable(recipe: Recipe, data: Data) -> Prepared | None:
    """The recipe's reference where it answers conditions of one's own; None of a file or a source of whole events."""
    try:
        reference = _simulating(recipe, data)
    except ValueError:
        return None
    return None if reference is None else Prepared(reference, data)


def _simulating(recipe: Recipe, data: Data) -> Any:
    """The built reference that answers any condition; None where the recipe has only a file."""
    name, tested = recipe.validation.variety.reference, recipe.validation.reference
    entry = recipe.reference if (name or tested) is None else recipe.reference_called(name or tested)  # type: ignore[arg-type]
    if is_file(entry):
        if name is not None:
            raise ValueError(f"the variety study asks reference {name!r}, which is a file and cannot simulate; name another")
        return None
    reference = entry()
    if getattr(reference, "simulator", None) is None:  # a source of whole events
        if name is None:
            return None
        raise ValueError(f"the variety study asks reference {name!r}, which makes whole events and cannot be asked; name another")
    given = {b.name for b in data.test.schema.given}
    if missing := [b.name for b in reference.simulator.schema.given if b.name not in given]:
        if name is None:
            return None
        raise ValueError(
            f"reference {name!r} needs {', '.join(missing)} for the variety study, which the recipe's conditions leave out"
        )
    return reference


def _nearest(data: Data, row: int, count: int) -> Events:
    """The events of all splits at the conditions nearest to those of a row of the test split."""
    parts = (data.test, data.validation, data.train)
    pool = Events.concatenate([p.without_response() for p in parts])
    rows = nearest_rows(pool, row, count)
    starts = np.cumsum([0, *(len(p) for p in parts)])
    taken = [p[rows[(rows >= low) & (rows < low + len(p))] - low] for p, low in zip(parts, starts[:-1], strict=True)]
    return Events.concatenate([t for t in taken if len(t)])
