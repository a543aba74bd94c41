"""Stand-ins with fitted transforms and random weights, for measurements that do not depend on training."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from understudy.build import build_geometry, build_preparation, build_surrogate, training_batch
from understudy.calibrate import calibrate
from understudy.console import Console
from understudy.deployment.bundle import write_bundle
from understudy.deployment.export import export_graphs
from understudy.domain import Domain
from understudy.events import Events
from understudy.recipe import Recipe
from understudy.steps import simulating_reference
from understudy.surrogate import Stage, Surrogate
from understudy.training.settings import TrainingSettings

SHORT = TrainingSettings(epochs=1, batch_size=100, score_every=1, threads=1)


def untrained(recipe: Recipe, events: int = 400, reference: str | None = "parametric") -> tuple[Surrogate, Events]:
    """The recipe's stand-in and the events that its transforms were fitted to; what it needs is built in the same way.

    Args:
        recipe: a recipe with a reference that simulates.
        events: how many events are simulated for the fit.
        reference: which of its references simulates them; the first that does if None.
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
        _calibrated(stage, prepared, recipe.seed)  # type: ignore[arg-type]
    return surrogate.eval(), prepared


def _calibrated(stage: Stage, events: Events, seed: int) -> None:
    """Fit the stage's calibrations for one pass: their time does not depend on what they have learned either."""
    for calibration in stage.calibrations:
        calibration.training_settings = SHORT  # type: ignore[assignment]
    half = len(events) // 2
    data = SimpleNamespace(train=events[:half], validation=events[half:])
    with tempfile.TemporaryDirectory() as folder:
        calibrate(stage, data, lambda _number: Console(quiet=True).training(""), seed=seed, directory=Path(folder))  # type: ignore[arg-type]


def untrained_bundle(recipe: Recipe, folder: Path, reference: str | None = "parametric") -> Path:
    """The bundle of such a stand-in in `folder`, exported as a trained one is, without the runs that it needs."""
    alone = recipe.model_copy(update={"needs": {}})
    surrogate, events = untrained(alone, reference=reference)
    return write_bundle(folder / "bundle", surrogate, alone, export_graphs(surrogate, folder), asked=events)
