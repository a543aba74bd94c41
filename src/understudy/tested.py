"""Test events from another reference than the training events.

    validation: {reference: lhcb-rich, events: 100000}

What is learned may be contaminated, weighted or scarce where what is to be met is known to be pure: a stand-in that learned from
background-subtracted calibration data is judged on signal alone. The reference is one of the recipe's `alternatives`, has the
same given conditions and response, and is prepared in the same way; its events are none that anything was trained on. The test
split of the recipe's own reference is then left aside.
"""

from __future__ import annotations

from typing import Any

from understudy import seeds, storage
from understudy.console import Console
from understudy.events import Events
from understudy.prepare import Preparation
from understudy.recipe import Recipe
from understudy.rundir import RunDirectory
from understudy.schema import Schema


def other_reference(recipe: Recipe, preparation: Preparation, schema: Schema) -> Any:
    """The reference that `validation.reference` names, built; None where the recipe's own gives the test events.

    Args:
        recipe: the recipe.
        preparation: what is done to the events of either reference.
        schema: of the prepared training events.

    Raises:
        ValueError: the reference is unknown or its events do not fit, or a region is held out, or conditions are learned.
    """
    name = recipe.validation.reference
    if name is None:
        return None
    if recipe.hold_out or recipe.invert:
        odd = "hold_out" if recipe.hold_out else "invert"
        raise ValueError(f"validation.reference takes test events from {name!r}, which does not go with {odd!r}; leave one out")
    reference = recipe.reference_called(name)()
    theirs = preparation.schema(reference.schema)
    for part in ("given", "response"):
        mine, other = ({b.name: (b.shape, b.unit) for b in getattr(s, part)} for s in (schema, theirs))
        if mine != other:
            word = "conditions" if part == "given" else "response"
            raise ValueError(
                f"the test events of {name!r} have the {word} {', '.join(other)} where the training events have"
                f" {', '.join(mine)}; name a reference of the same conditions and response"
            )
    return reference


def test_events(
    recipe: Recipe, reference: Any, preparation: Preparation, count: int, place: RunDirectory, console: Console
) -> Events:
    """The test events, prepared; they are kept in the run's directory (`test.h5`).

    Args:
        recipe: says how many (`validation.events`).
        reference: what `other_reference` gave.
        preparation: what is done to them.
        count: how many, where the recipe does not say.
        place: the run's directory.
        console: shows progress.
    """
    kept = place.path / "test.h5"
    if not kept.exists():
        n, name = recipe.validation.events or count, recipe.validation.reference
        with console.step(f"Test events from {name} ({n:,})"):
            made = reference.generate(n, seeds.generator(recipe.seed, "test events"))
            storage.write(kept, made, geometry=reference.geometry)
    return preparation(storage.read(kept), reference.geometry, "test")
