"""From a recipe's words to objects: preparation, stages, surrogate.

`build_surrogate` gives the untrained chain; its weights and fitted constants come from training or from a bundle.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from understudy import geometry as geometries
from understudy.canonical import CanonicalFrame
from understudy.domain import Domain
from understudy.events import Events
from understudy.geometry import Calorimeter
from understudy.models.base import Batch
from understudy.noise import CellNoise
from understudy.prepare import Preparation
from understudy.propagation import Propagation
from understudy.recipe import Recipe, StageRecipe
from understudy.schema import Schema
from understudy.signed import expected_weights, has_negative
from understudy.surrogate import DETECTED, RESPONSE, Stage, Surrogate, as_tensors
from understudy.transforms.base import Chain, Progress, Projection, Tensors, check_sample, in_pieces
from understudy.transforms.features import FeatureEncoder
from understudy.transforms.projections import Threshold
from understudy.validation.settings import ValidationSettings


def build_geometry(recipe: Recipe, folder: str | Path = ".") -> Calorimeter | None:
    """The stand-in's geometry, or None."""
    return None if recipe.geometry is None else geometries.load(recipe.geometry, folder)


def build_projections(recipe: Recipe, geometry: Calorimeter | None) -> list[Projection]:
    """The recipe's thresholds and caps."""
    return [entry(geometry=geometry) for entry in recipe.projections]


def build_preparation(recipe: Recipe, geometry: Calorimeter | None) -> Preparation:
    """The steps from the reference's events to those that are learned."""
    noise = None if recipe.noise is None else CellNoise(recipe.noise.sigma(geometry), recipe.seed)
    projections = build_projections(recipe, geometry)
    words = recipe.propagate
    load = None if words is None else functools.partial(_propagator, recipe, words.need)
    propagation = None if words is None or load is None else Propagation(words, load, recipe.seed)
    return Preparation(geometry, recipe.conditions, projections, recipe.derived, recipe.select, noise, recipe.invert, propagation)


def _propagator(recipe: Recipe, need: str) -> Surrogate:
    """The trained stand-in of single tracks that a recipe propagates by."""
    from understudy.deployment.bundle import load_needs  # which builds surrogates by this module

    return load_needs(recipe)[need]


def validation_settings(recipe: Recipe) -> ValidationSettings:
    """How the recipe's stand-in is judged: where noise is on, the resolution is fitted with a noise term."""
    return recipe.validation if recipe.noise is None else recipe.validation.model_copy(update={"noise_term": True})


def build_stage(
    stage: StageRecipe,
    recipe: Recipe,
    schema: Schema,
    geometry: Calorimeter | None,
    rng: torch.Generator | None = None,
    needs: Mapping[str, Surrogate] = MappingProxyType({}),
) -> Stage:
    """One untrained stage; `rng` draws the initial weights, `needs` are the trained stand-ins that it builds on."""
    encoder = FeatureEncoder(stage.features, schema)
    transforms = Chain([entry(geometry=geometry, schema=schema) for entry in stage.transforms])
    model = stage.model(
        feature_size=encoder.size,
        feature_names=encoder.names,
        response_size=transforms.output_size(_width(stage, schema)),
        rng=rng,
        needs=needs,
        geometry=geometry if stage.produces == RESPONSE else None,
        schema=schema,
        transforms=transforms,
        produces=stage.produces,
        words=(words := shared_words(stage, recipe)),
    )
    projections = build_projections(recipe, geometry) if stage.produces == RESPONSE and not recipe.invert else []
    frame = build_frame(stage, schema, geometry)
    calibrations = build_calibrations(stage, schema, geometry, projections, encoder, rng)
    built = Stage(stage.produces, encoder, transforms, model, projections, frame, calibrations)
    built.words = words
    return built


def _width(stage: StageRecipe, schema: Schema) -> int:
    """Numbers per event of what a stage produces."""
    if stage.produces == DETECTED:
        return 1
    return schema.response_width if stage.produces == RESPONSE else schema.block(stage.produces).width


def build_calibrations(
    stage: StageRecipe,
    schema: Schema,
    geometry: Calorimeter | None,
    projections: Sequence[Projection],
    encoder: FeatureEncoder,
    rng: torch.Generator | None = None,
) -> list[nn.Module]:
    """A stage's calibrations, not fitted; they keep hit cells above the thresholds among `projections`."""
    response = stage.produces == RESPONSE
    numbers = [b.name for b in schema.conditions if b.width == 1 and b.kind == "continuous"]
    cuts = [p.cut for p in projections if isinstance(p, Threshold) and bool((p.cut > 0).any())]
    return [
        entry(
            blocks=schema.response if response else (schema.block(stage.produces),),
            geometry=geometry if response else None,
            feature_size=encoder.size,
            energy="incident_energy" if "incident_energy" in numbers else None,
            floor=functools.reduce(torch.maximum, cuts) if cuts else None,
            rng=rng,
        )
        for entry in stage.calibration
    ]


def shared_words(stage: StageRecipe, recipe: Recipe) -> dict[str, Any]:
    """What the recipe says that a stage and another one that learns from it must have in common."""
    own, whole = stage.model_dump(mode="json"), recipe.model_dump(mode="json", include={"geometry", "noise", "projections"})
    return {key: own[key] for key in ("features", "transforms", "canonicalise")} | whole


def build_frame(stage: StageRecipe, schema: Schema, geometry: Calorimeter | None) -> CanonicalFrame | None:
    """The canonical frame that a stage asks for; ValueError where geometry or conditions do not have its symmetries."""
    if stage.canonicalise is None:
        return None
    elements = stage.canonicalise.elements(geometry)
    return CanonicalFrame(elements, geometry, schema)  # type: ignore[arg-type]


def build_surrogate(
    recipe: Recipe,
    schema: Schema,
    geometry: Calorimeter | None,
    domain: Domain,
    rng: torch.Generator | None = None,
    needs: Mapping[str, Surrogate] = MappingProxyType({}),
) -> Surrogate:
    """The recipe's stages, untrained; `rng` draws the initial weights, `needs` are the trained stand-ins they build on."""
    stages = [build_stage(stage, recipe, schema, geometry, rng, needs) for stage in recipe.stages]
    return Surrogate(schema, stages, geometry, domain)


def check_stages(
    recipe: Recipe, schema: Schema, geometry: Calorimeter | None, needs: Mapping[str, Surrogate] = MappingProxyType({})
) -> None:
    """ValueError or KeyError unless every stage and the baseline can be built for prepared events of `schema`."""
    for stage in (*recipe.stages, *([] if recipe.baseline is None else [recipe.baseline])):
        build_stage(stage, recipe, schema, geometry, torch.Generator().manual_seed(recipe.seed), needs)
        if stage.augment is not None:
            stage.augment.check(geometry, schema)


def learned_from(stage: Stage, events: Events) -> Events:
    """The events that a stage learns from: those that were detected, or all where it learns which were."""
    return events if events.mask is None or stage.produces == DETECTED else events[events.mask]


def target_of(stage: Stage, events: Events) -> Tensor:
    """What a stage learns to produce, physical values `(n, d)`; ValueError where it is to learn what all events are."""
    if stage.produces == DETECTED:
        if events.mask is None:
            raise ValueError(
                "a stage produces 'detected', but the reference has no mask that says which events are; leave the stage out"
            )
        return torch.tensor(events.mask, dtype=torch.float32).unsqueeze(1)
    if stage.produces == RESPONSE:
        return torch.tensor(events.packed())
    return torch.tensor(np.asarray(events.conditions[stage.produces])).reshape(len(events), -1)


def training_batch(
    stage: Stage, events: Events, progress: Progress | None = None, weights: str = "signed", seed: int = 0
) -> Batch:
    """Fit a stage's encoder and transforms to the training split and return it as the model sees it, in the stage's frame.

    Args:
        stage: the stage.
        events: the training split.
        progress: told the part of the transforms' fit that is done, 0 to 1.
        weights: how the model counts events, see `StageRecipe`.
        seed: of the regression of `expected` weights.
    """
    events = learned_from(stage, events)
    conditions: Tensors = as_tensors({k: v for k, v in events.conditions.items() if k != stage.produces})
    w = None
    if events.weights is not None:  # divided by their mean, a negative sum would look like a positive one
        w = torch.tensor(events.weights)
        check_sample("the training split", len(events), w)
        w = (w / w.mean()).to(torch.float32)
    element, conditions = stage.canonical(conditions)
    target = stage.turned(target_of(stage, events), element)
    taken = stage.model.take_over(stage.encoder, stage.transforms)
    if not taken:
        stage.encoder.fit(conditions, w)
    with torch.no_grad():
        features = stage.encoder(conditions)
    if weights == "expected" and w is not None and has_negative(w.numpy()):  # before the transforms: they are the smoother for it
        looked_at = torch.cat([target, target.sign() * target.abs().log1p(), features], 1)
        w = torch.tensor(expected_weights(looked_at.numpy(), w.numpy(), seed), dtype=torch.float32)
    if not taken:
        stage.transforms.fit(target, conditions, w, progress)
    with torch.no_grad():
        response = in_pieces(stage.transforms, target, conditions)
    return Batch(response, features, w, torch.arange(len(events)), conditions)
