"""The events of the comparison and its judges: the same split, projections and tests for whoever takes part."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from peer import BATCH, measure

from understudy import seeds
from understudy.build import validation_settings
from understudy.console import Console
from understudy.deployment.bundle import load_bundle
from understudy.deployment.runtime import OnnxSurrogate
from understudy.events import Events
from understudy.files import atomic_path, make_directory, sha256, write_json
from understudy.journey import resolve
from understudy.recipe import Recipe
from understudy.rundir import RunDirectory, read_manifest
from understudy.splits import Data, prepare
from understudy.threads import threads
from understudy.validation.compare import compare

JUDGES = ("low_level", "high_level", "combined")
KINDS = ("classifier", "classifier_strong")


def load(name: str, file: Path, out: Path, console: Console) -> tuple[Recipe, Data]:
    """A recipe and its events, split as in a run of it.

    Raises:
        ValueError: the recipe's stand-in does not answer conditions with cells.
    """
    recipe = resolve(name, data=file)
    if recipe.invert or any(need.run is None for need in recipe.needs.values()):
        raise ValueError(f"recipe {recipe.name} needs other runs or learns conditions; give one that learns showers by itself")
    place = RunDirectory.open(out / "split", recipe, overwrite=True)
    return recipe, prepare(recipe, place, console)


def write_split(data: Data, path: Path) -> None:
    """What peers may see (`peer.Known`): cells of training and validation events, conditions of all.

    Raises:
        ValueError: the file is there with other events, which earlier answers belong to.
    """
    arrays: dict[str, np.ndarray] = {}
    for part, events in (("train", data.train), ("validation", data.validation), ("test", data.test)):
        given = [b.name for b in events.schema.given]
        arrays |= {f"{part}/{name}": np.asarray(events.conditions[name]) for name in given}
        if part != "test":
            arrays[f"{part}/cells"] = events.packed().astype(np.float32)
    with atomic_path(path) as partial:
        with partial.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        if path.is_file() and sha256(path) != sha256(partial):
            raise ValueError(f"{path.parent} holds a comparison on other events; choose another --out, or remove it")


def answers(path: Path, data: Data) -> tuple[Events, Events]:
    """A peer's showers at the test and training conditions, brought through the reference's thresholds.

    Raises:
        ValueError: they are not one finite shower for each condition.
    """
    with np.load(path, allow_pickle=False) as stored:
        made = {name: stored[name] for name in ("test", "training")}
    for name, events in (("test", data.test), ("training", data.train)):
        if made[name].shape != events.packed().shape or not np.isfinite(made[name]).all():
            raise ValueError(f"{path}: {name!r} must hold {events.packed().shape} finite energies, found {made[name].shape}")
    return projected(data.test, made["test"], data), projected(data.train, made["training"], data)


def projected(events: Events, cells: np.ndarray, data: Data) -> Events:
    """`events` with other cells, brought through the recipe's projections; derived conditions are computed from them."""
    steps = replace(data.preparation, noise=None, select={})  # who learned the noise answers with it, and no event is left out
    made: Events = steps(events.with_response(cells), data.geometry)
    return made


def finished_run(folder: Path, recipe: Recipe, data: Data, out: Path) -> dict[str, Any]:
    """Showers of a finished run's bundle at the same conditions, written as a peer's are; returns what it took.

    Raises:
        ValueError: the run was trained on other events.
    """
    manifest = read_manifest(folder)
    theirs = Recipe.load(folder / "recipe.yaml")
    same = (theirs.split, theirs.hold_out, theirs.seed if theirs.split.seed is None else theirs.split.seed)
    ours = (recipe.split, recipe.hold_out, recipe.seed if recipe.split.seed is None else recipe.split.seed)
    if manifest.get("data", {}).get("sha256") != data.digest or same != ours:
        raise ValueError(f"the run {folder} was trained on other events than those of {data.name} that are compared here")
    standin = load_bundle(folder, threads=1)
    if not isinstance(standin, OnnxSurrogate):
        raise ValueError(f"the bundle of {folder} holds no graphs")
    made = {}
    for part, events in (("test", data.test), ("training", data.train)):
        rng = seeds.generator(recipe.seed, "peers", theirs.name, part)
        made[part] = standin.simulate(events.without_response().conditions, rng).packed()
    given = {b.name: np.asarray(data.test.conditions[b.name])[np.arange(BATCH) % len(data.test)] for b in data.test.schema.given}
    noise = np.random.default_rng(1)
    with threads(1):
        speed = measure(lambda: standin.simulate(given, noise))
    training = manifest["training"]
    facts = {
        "training_wall_s": 60 * training["minutes"],
        "parameters": training["parameters"],
        "settings": {"recipe": theirs.name, "engine": "ONNX Runtime"},
        "versions": manifest["versions"],
        "hardware": manifest["hardware"],
        **speed,
    }
    with atomic_path(out) as partial, partial.open("wb") as file:
        np.savez(file, **made)
    write_json(out.with_suffix(".json"), facts)
    return facts


def judge(recipe: Recipe, data: Data, named: Mapping[str, tuple[Events, Events]], seed: int) -> dict[str, Any]:
    """AUCs with errors and floors of each sample, ordinary judges and those trained on the training events."""
    settings = validation_settings(recipe)
    strong = settings.classifier.model_copy(update={"trained_on": "training"})
    report = compare(
        data.test,
        {name: test for name, (test, _) in named.items()},
        floor=data.floor,
        train=data.train,
        at_training={name: training for name, (_, training) in named.items()},
        geometry=data.geometry,
        settings=settings.model_copy(update={"classifier": strong}),
        seed=seed,
        reference_name=data.name,
    )
    found = {}
    for name, metrics in report.metrics["candidates"].items():
        kept = {kind: {j: metrics[kind][j] for j in JUDGES} for kind in KINDS}
        events = {kind: metrics[kind]["training_events"] for kind in KINDS}
        found[name] = {**kept, "judges_trained_on": events, "scale": metrics["scale"], "sha256": metrics["candidate"]["sha256"]}
    return found


def judged_so_far(path: Path) -> dict[str, Any]:
    """What an earlier call judged, by name of the sample."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def open_folder(out: Path) -> None:
    """The folders of a comparison."""
    for name in ("answers", "venvs"):
        make_directory(out / name)
