"""The events of a run: read or simulated, prepared, and split into those for training, validation and test.

Simulated events are kept in the run's directory (`reference.h5`, and `floor.h5` for the noise floor), so that a run that is
continued need not simulate them again.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from typing import Any

from understudy import seeds, storage
from understudy.build import build_geometry, build_preparation, check_stages
from understudy.closure import regressors
from understudy.console import Console, Step
from understudy.deployment.bundle import load_needs
from understudy.division import check_hold_out, divide, mark
from understudy.events import Events
from understudy.files import atomic_path, sha256
from understudy.geometry import Calorimeter
from understudy.needs import check_same_events, simulated_before
from understudy.plausible import check_plausible, check_projected
from understudy.prepare import Preparation
from understudy.recipe import Recipe, is_file
from understudy.rundir import RunDirectory
from understudy.schema import Array
from understudy.tested import other_reference, test_events


@dataclass(frozen=True)
class Data:
    """Prepared events, split; and what they came from.

    Args:
        train: what is learned.
        validation: what checkpoints are chosen by.
        test: what is compared with.
        floor: further reference events at the test conditions; None where the reference cannot simulate any.
        preparation: the steps between the reference and these.
        geometry: where the cells sit.
        name: what the reference is called.
        digest: sha256 of the file of reference events.
        held_out: which test events lie inside the region that is never trained on, `(len(test),)`; None without one.
        tested_with: the reference of the test events, where it is another one (`tested.py`).
    """

    train: Events
    validation: Events
    test: Events
    floor: Events | None
    preparation: Preparation
    geometry: Calorimeter | None
    name: str
    digest: str
    held_out: Array | None = None
    tested_with: str | None = None

    def unweighted(self) -> Data:
        """The same with training and validation events that all count alike."""
        train, validation = (replace(events, weights=None) for events in (self.train, self.validation))
        return replace(self, train=train, validation=validation)

    @property
    def response_geometry(self) -> Calorimeter | None:
        """Where the response's numbers sit; None where the cells are not what is learned but what it is learned from."""
        return None if self.preparation.invert else self.geometry


def prepare(recipe: Recipe, place: RunDirectory, console: Console) -> Data:
    """Check the recipe against its reference, read or simulate the events, prepare and split them, and begin the run.

    Raises:
        ValueError: recipe, reference and events do not fit each other, or a continued run began with other events.
    """
    geometry = build_geometry(recipe)
    preparation = build_preparation(recipe, geometry)
    reference = recipe.reference()
    schema, needs = preparation.schema(reference.schema), load_needs(recipe)
    check_hold_out(recipe.hold_out, reference.schema)
    check_stages(recipe, schema, geometry, needs)
    other = other_reference(recipe, preparation, schema)
    regressors(needs, geometry, schema)
    simulates = not is_file(recipe.reference)
    events, digest = (simulated if simulates else from_file)(recipe, reference, place, console)
    with console.step(f"Preparing {len(events):,} events"):
        prepared = preparation(mark(events, recipe.hold_out), reference.geometry)
        if not simulates:
            check_plausible(events, reference.geometry, reference.expected_response, recipe.reference.arguments["path"])
            check_projected(events, prepared, recipe.reference.arguments["path"])
    split = recipe.split
    rng = seeds.generator(recipe.seed if split.seed is None else split.seed, "split")
    parts = divide(prepared, split, rng)
    if not simulates:
        place.begin()
    name = recipe.reference.kind if simulates else storage.title(recipe.reference.arguments["path"])
    place.use_data(name, digest)
    check_same_events(recipe, digest)
    if other is not None:
        parts = replace(parts, test=test_events(recipe, other, preparation, len(parts.test), place, console))
        reference, simulates = other, hasattr(other, "simulator")
    floor = None  # where no new events can be drawn, the comparison halves the test split: training events are no fair floor
    if simulates and not recipe.invert:  # for what is learned from the response, new events would have new conditions
        floor = preparation(floor_events(recipe, reference, parts.test, place, console), reference.geometry, "floor")
    return Data(
        parts.train,
        parts.validation,
        parts.test,
        floor,
        preparation,
        geometry,
        name,
        digest,
        parts.held_out,
        recipe.validation.reference,
    )


def from_file(recipe: Recipe, reference: Any, place: RunDirectory, console: Console) -> tuple[Events, str]:
    """The events of a file, and its sha256."""
    path = recipe.reference.arguments["path"]
    with console.step(f"Reading {path}"):
        events = reference.events()
        return (events if recipe.events is None else events[: recipe.events]), storage.digest(path)


def simulated(recipe: Recipe, reference: Any, place: RunDirectory, console: Console) -> tuple[Events, str]:
    """The events of a simulator, and the sha256 of the file that keeps them; begins the run."""
    if recipe.events is None:
        raise ValueError(
            f"recipe {recipe.name} simulates its reference but does not say how many events; give --events N or the key 'events'"
        )
    kept = place.path / "reference.h5"
    made = None
    known = simulated_before(recipe)
    if known is None and not (place.continues and kept.exists()):
        with console.step(f"Simulating {recipe.events:,} events with {recipe.reference.kind}") as step:
            source = attach_progress(reference, step, recipe.events)
            made = source.generate(recipe.events, seeds.generator(recipe.seed, "reference"))
    place.begin()
    if known is not None:
        with atomic_path(kept) as partial:
            shutil.copyfile(known, partial)
    elif made is not None:
        storage.write(kept, made, geometry=reference.geometry)
    return storage.read(kept), sha256(kept)


def floor_events(recipe: Recipe, reference: Any, test: Events, place: RunDirectory, console: Console) -> Events:
    """New events of a simulator at the conditions of `test`, or at new ones where the recipe does not keep all of them."""
    kept = place.path / "floor.h5"
    if not kept.exists():
        given, rng = test.without_response().conditions, seeds.generator(recipe.seed, "floor")
        with console.step(f"Simulating the test conditions again, for the noise floor ({len(test):,} events)") as step:
            source = attach_progress(reference, step, len(test))
            simulator = getattr(source, "simulator", None)  # a source of whole events has none
            known = simulator is not None and all(b.name in given for b in simulator.schema.given)
            made = simulator.simulate(given, rng) if known else source.generate(len(test), rng)  # type: ignore[union-attr]
        storage.write(kept, made, geometry=reference.geometry)
    return storage.read(kept)


def attach_progress(reference: Any, step: Step, total: int) -> Any:
    """The reference with a slow simulator that tells how far it is, where it can."""
    if not hasattr(getattr(reference, "simulator", None), "progress"):
        return reference
    finished = 0

    def progress(more: int) -> None:
        nonlocal finished
        finished += more
        step.advance(finished, total)

    return replace(reference, simulator=replace(reference.simulator, progress=progress))
