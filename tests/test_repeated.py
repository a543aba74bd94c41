"""A run asks its reference and its stand-ins again and again at single conditions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from small import small
from understudy import storage
from understudy.build import build_geometry, build_preparation
from understudy.events import Events
from understudy.recipe import Recipe
from understudy.references.hcal_events import HcalEvents
from understudy.repeated import askable, check_variety, varieties
from understudy.schema import Block
from understudy.splits import Data

VARIETY = {"events": 60, "conditions": 2, "nearest": 50}


def recipe_with(**changes: Any) -> Recipe:
    data = small(**{k: v for k, v in changes.items() if k != "variety"})
    data["validation"] = data["validation"] | {"variety": VARIETY | changes.get("variety", {})}
    return Recipe.from_dict(data)


def data_of(recipe: Recipe, reference: Any) -> Data:
    geometry = build_geometry(recipe)
    preparation = build_preparation(recipe, geometry)
    made = preparation(reference.generate(300, np.random.default_rng(1)), reference.geometry)
    parts = made.split((0.5, 0.2, 0.3), np.random.default_rng(2))
    return Data(*parts, None, preparation, geometry, "reference", "")


class Perfect:
    """The reference itself, prepared: what a perfect stand-in answers."""

    def __init__(self, reference: Any, data: Data) -> None:
        self.reference, self.data, self.schema = reference, data, data.test.schema

    def simulate(self, conditions: Any, generator: np.random.Generator) -> Events:
        return self.data.preparation(self.reference.simulator.simulate(conditions, generator), self.reference.geometry)


def test_a_reference_that_simulates_is_asked_at_one_condition() -> None:
    recipe = recipe_with()
    reference = recipe.reference()
    data = data_of(recipe, reference)
    found = varieties(recipe, {"perfect": Perfect(reference, data)}, data)
    assert len(found) == 2
    assert len({v.name for v in found}) == 2
    for variety in found:
        for events in (variety.reference, variety.candidates["perfect"]):
            assert len(events) == 60
            for name, values in variety.conditions.items():
                assert (np.asarray(events.conditions[name]) == np.asarray(values)).all()
        assert not variety.matched
        assert not np.array_equal(variety.reference.packed(), variety.candidates["perfect"].packed())
    again = varieties(recipe, {"perfect": Perfect(reference, data)}, data)
    assert np.array_equal(found[0].reference.packed(), again[0].reference.packed())


def test_of_a_file_the_nearest_events_stand_in(tmp_path: Path) -> None:
    simulating = recipe_with()
    reference = simulating.reference()
    path = tmp_path / "events.h5"
    storage.write(path, reference.generate(60, np.random.default_rng(0)), geometry=reference.geometry)
    recipe = recipe_with(reference={"kind": "file", "path": str(path)}, events=None)
    data = data_of(simulating, reference)
    found = varieties(recipe, {"perfect": Perfect(reference, data)}, data)[0]
    assert len(found.reference) == len(found.matched["perfect"]) == 50
    for name in ("incident_energy", "position"):
        assert np.array_equal(found.reference.conditions[name], found.matched["perfect"].conditions[name])
    energy = np.asarray(found.reference.conditions["incident_energy"])
    everything = np.concatenate([np.asarray(p.conditions["incident_energy"]) for p in (data.train, data.test, data.validation)])
    assert np.log(energy).std() < 0.6 * np.log(everything).std()
    assert "its 50 events nearest in the conditions" in found.note


def test_zero_conditions_are_no_study() -> None:
    recipe = recipe_with(variety={"conditions": 0, "reference": "geant4"})
    data = data_of(recipe, recipe.reference())
    assert varieties(recipe, {}, data) == []
    check_variety(recipe, data)


def test_images_as_conditions_are_no_study() -> None:
    recipe = recipe_with()
    data = data_of(recipe, recipe.reference())
    wide = Block("image", "MeV", shape=(89,))
    seen = replace(data, test=data.test.with_condition(wide, data.test.packed()))
    assert varieties(recipe, {}, seen) == []


def test_a_reference_that_is_no_simulator_is_refused(tmp_path: Path) -> None:
    file = {"kind": "file", "path": str(tmp_path / "no.h5")}
    recipe = recipe_with(alternatives={"kept": file}, variety={"reference": "kept"})
    data = data_of(recipe, recipe.reference())
    for call in (lambda: varieties(recipe, {}, data), lambda: check_variety(recipe, data)):
        with pytest.raises(ValueError, match="reference 'kept', which is a file and cannot simulate"):
            call()


def test_a_reference_of_whole_events_cannot_be_asked() -> None:
    recipe = recipe_with()
    data = data_of(recipe, recipe.reference())
    assert askable(recipe, data) is not None
    whole = recipe_with(reference={"kind": "lhcb-hcal-events", "particles": "stored"}, geometry="lhcb-hcal")
    assert isinstance(whole.reference(), HcalEvents)
    assert askable(whole, data) is None
    named = recipe_with(alternatives={"events": {"kind": "lhcb-hcal-events"}}, variety={"reference": "events"})
    with pytest.raises(ValueError, match="reference 'events', which makes whole events and cannot be asked"):
        check_variety(named, data)


def test_an_unknown_reference_is_refused() -> None:
    recipe = recipe_with(variety={"reference": "nobody"})
    with pytest.raises(ValueError, match="no reference 'nobody'"):
        check_variety(recipe, data_of(recipe, recipe.reference()))


def test_a_reference_that_needs_what_the_recipe_leaves_out() -> None:
    recipe = recipe_with()
    data = data_of(recipe, recipe.reference())
    less = Data(*(e.select_conditions(["incident_energy"]) for e in (data.train, data.validation, data.test)), None,
                data.preparation, data.geometry, "reference", "")  # fmt: skip
    named = recipe_with(
        alternatives={"again": {"kind": "parametric-atlas", "geometry": "atlas-em-89"}}, variety={"reference": "again"}
    )
    with pytest.raises(ValueError, match="'again' needs position for the variety study"):
        varieties(named, {}, less)
    found = varieties(recipe, {}, less)
    assert "nearest in the conditions" in found[0].note
