"""What all candidates of a run answer to the training conditions: what judges learn from that are as strong as they can be."""

from __future__ import annotations

from collections.abc import Mapping

from understudy import seeds
from understudy.console import Console
from understudy.events import Events
from understudy.prepare import FROM_CONDITIONS
from understudy.recipe import Recipe
from understudy.splits import Data
from understudy.surrogate import Surrogate


def at_training(
    recipe: Recipe,
    surrogate: Surrogate,
    baseline: Surrogate | None,
    others: Mapping[str, Surrogate],
    data: Data,
    console: Console,
) -> dict[str, Events] | None:
    """One answer to the conditions of every training event, by the names that the candidates have in the report.

    Args:
        recipe: says whether such judges are asked for (`validation.classifier.trained_on`), and how many events they learn from.
        surrogate: the run's own stand-in.
        baseline: the recipe's baseline, if it has one.
        others: further candidates by name.
        data: the run's events.
        console: shows progress.

    Returns:
        Events by candidate; None where no such judges are asked for, or where what is learned are the conditions themselves.
    """
    settings = recipe.validation.classifier
    if settings.trained_on != "training" or recipe.invert:
        return None
    known = data.train[: settings.strong.events]
    given = known.without_response().conditions
    standins = {recipe.name: (surrogate, given)}
    drawn = [name for name in recipe.derived if name not in FROM_CONDITIONS]
    if drawn and len(recipe.stages) > 1:
        standins[f"{recipe.name} given {', '.join(drawn)}"] = surrogate, known.conditions
    if baseline is not None:
        standins[recipe.baseline_name] = baseline, given
    standins |= {name: (other, given) for name, other in others.items()}
    with console.step(f"Sampling {len(known):,} events at the training conditions"):
        return {
            name: standin.simulate(asked, seeds.generator(recipe.seed, "samples at the training conditions", name))
            for name, (standin, asked) in standins.items()
        }
