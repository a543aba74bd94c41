"""Stand-ins with fitted transforms and random weights, for measurements that do not depend on training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from understudy.build import build_geometry, build_preparation, build_surrogate, training_batch
from understudy.deployment.bundle import write_bundle
from understudy.deployment.export import export_graphs
from understudy.domain import Domain
from understudy.events import Events
from understudy.recipe import Recipe
from understudy.steps import simulating_reference
from understudy.surrogate import Surrogate


def untrained(recipe: Recipe, events: int = 400, reference: str = "parametric") -> tuple[Surrogate, Events]:
    """The recipe's stand-in and the events that its transforms were fitted to; what it needs is built in the same way.

    Args:
        recipe: a recipe with a reference that simulates.
        events: how many events are simulated for the fit.
        reference: which of its references simulates them.
    """
    needs = {name: untrained(Recipe.load(str(need.recipe)), events, reference)[0] for name, need in recipe.needs.items()}
    geometry = build_geometry(recipe)
    source = simulating_reference(recipe, reference)
    made = source.generate(events, np.random.default_rng(recipe.seed))
    prepared = build_preparation(recipe, geometry)(made, source.geometry)
    rng = torch.Generator().manual_seed(recipe.seed)
    surrogate = build_surrogate(recipe, prepared.schema, geometry, Domain.of(prepared), rng, needs)
    for stage in surrogate.stages:
        batch = training_batch(stage, prepared)  # type: ignore[arg-type]
        stage.model.fit(batch.response, batch.conditions, batch.weights, batch.given)  # type: ignore[union-attr, operator]
    return surrogate.eval(), prepared


def untrained_bundle(recipe: Recipe, folder: Path) -> Path:
    """The bundle of such a stand-in in `folder`, exported as a trained one is, without the runs that it needs."""
    alone = recipe.model_copy(update={"needs": {}})
    surrogate, _ = untrained(alone)
    return write_bundle(folder / "bundle", surrogate, alone, export_graphs(surrogate, folder))
