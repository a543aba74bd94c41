"""Training, validation and test events: what a held-out region and a limited number of training events do to them."""

from __future__ import annotations

import numpy as np
import pytest

from small import small
from understudy import storage
from understudy.console import Console
from understudy.division import check_hold_out, divide, mark
from understudy.events import Events
from understudy.needs import SHARED, alike, check_same_events
from understudy.prepare import Preparation
from understudy.recipe import Need, Recipe, Split
from understudy.rundir import RunDirectory
from understudy.schema import Block, Schema
from understudy.splits import prepare

SCHEMA = Schema((Block("energy", "MeV"), Block("angle", "rad"), Block("impact", "mm", shape=(2,))), (Block("answer"),))
REGION = {"energy": (40.0, 60.0), "angle": (0.0, 0.5)}


def toy(n: int = 2000) -> Events:
    rng = np.random.default_rng(3)
    given = {"energy": np.arange(n) / n * 100, "angle": rng.random(n), "impact": rng.random((n, 2))}
    return Events(SCHEMA, given, {"answer": np.arange(n)})


def rows(events: Events) -> set[int]:
    return {int(row) for row in events["answer"]}


def parts(ranges=None, n=2000, **split):
    found = divide(mark(toy(n), ranges or {}), Split(**split), np.random.default_rng(7))
    return found, rows(found.train), rows(found.validation), rows(found.test)


def test_without_new_keys_the_division_is_that_of_the_events_themselves():
    found, *_ = parts(group=10)
    expected = toy().split((0.7, 0.1, 0.2), np.random.default_rng(7), 10)
    for mine, theirs in zip((found.train, found.validation, found.test), expected, strict=True):
        np.testing.assert_array_equal(mine["answer"], theirs["answer"])
        assert mine.schema == SCHEMA
    assert found.held_out is None


def test_a_held_out_region_is_only_tested_and_the_rest_stays_where_it_was():
    _, *before = parts(group=10)
    found, *after = parts(REGION, group=10)
    events = toy()
    inside = {i for i in range(2000) if 40 <= events["energy"][i] <= 60 and events["angle"][i] <= 0.5}
    assert [a & inside for a in after] == [set(), set(), inside]
    assert [a - inside for a in after] == [b - inside for b in before]
    np.testing.assert_array_equal(found.held_out, [int(row) in inside for row in found.test["answer"]])
    assert found.test.schema == SCHEMA


def test_fewer_training_events_are_a_part_of_more_and_come_in_whole_groups():
    _, every, validation, test = parts(group=10)
    _, many, same_validation, same_test = parts(group=10, train_events=400)
    _, few, *_ = parts(group=10, train_events=100)
    assert (validation, test) == (same_validation, same_test)
    assert few < many < every
    assert (len(few), len(many)) == (100, 400)
    assert len({row // 10 for row in few}) == 10
    mean = np.mean(list(many))  # drawn from everywhere, though the file is sorted by energy
    assert mean == pytest.approx(np.mean(list(every)), abs=4 * np.std(list(every)) / np.sqrt(40))


def test_training_events_are_counted_outside_the_held_out_region():
    found, train, *_ = parts(REGION, train_events=300)
    assert len(train) == 300
    assert not ((found.train["energy"] > 40) & (found.train["energy"] < 60) & (found.train["angle"] < 0.5)).any()


def test_the_region_is_known_where_a_preparation_leaves_its_condition_out():
    prepared = Preparation(conditions=["impact"], select={"impact": (0.1, 0.9)})(mark(toy(), REGION))
    found = divide(prepared, Split(), np.random.default_rng(7))
    events = toy()
    inside = [40 <= events["energy"][int(i)] <= 60 and events["angle"][int(i)] <= 0.5 for i in found.test["answer"]]
    np.testing.assert_array_equal(found.held_out, inside)
    assert list(found.test.conditions) == ["impact"]
    assert not found.test.aux


def test_bad_divisions():
    with pytest.raises(ValueError, match="0 events lie inside the region of 'hold_out', and at least 100"):
        parts({"energy": (500.0, 600.0)})
    with pytest.raises(ValueError, match="leaves fewer than 100 test events outside it"):
        parts({"energy": (0.0, 85.0)})
    with pytest.raises(ValueError, match="leaves no training events outside it; give it narrower ranges"):
        parts({"energy": (0.0, 100.0)})
    with pytest.raises(ValueError, match="'split' asks for 1401 training events, but its fractions leave 1400"):
        parts(train_events=1401)
    with pytest.raises(
        ValueError, match="'hold_out' names 'impact'; the reference gives these numbers as conditions: energy, angle"
    ):
        check_hold_out({"impact": (0.0, 1.0)}, SCHEMA)
    with pytest.raises(ValueError, match="the range of 'incident_energy' goes from 12000 to 8000"):
        Recipe.from_dict(small(hold_out={"incident_energy": [12000, 8000]}))
    with pytest.raises(ValueError, match="train_events"):
        Recipe.from_dict(small(split={"train_events": 0}))


def test_a_run_is_divided_as_its_recipe_says(tmp_path):
    words = small(events=900)
    reference = Recipe.from_dict(words).reference()
    storage.write(tmp_path / "e.h5", reference.generate(900, np.random.default_rng(1)), geometry=reference.geometry)
    low, high = 15_000.0, 30_000.0
    changes = {"hold_out": {"incident_energy": [low, high]}, "split": {**words["split"], "train_events": 50}}
    recipe = Recipe.from_dict({**words, **changes}).using(data=tmp_path / "e.h5")
    data = prepare(recipe, RunDirectory(tmp_path / "run", recipe), Console(quiet=True))
    energy = data.test["incident_energy"]
    np.testing.assert_array_equal(data.held_out, (energy >= low) & (energy <= high))
    assert len(data.train) == 50
    assert data.held_out.sum() >= 100
    for part in (data.train, data.validation):
        assert not ((part["incident_energy"] >= low) & (part["incident_energy"] <= high)).any()
    wrong = Recipe.from_dict({**words, "hold_out": {"total_energy": [low, high]}}).using(data=tmp_path / "e.h5")
    with pytest.raises(ValueError, match="'hold_out' names 'total_energy'; the reference gives"):
        prepare(wrong, RunDirectory(tmp_path / "wrong", wrong), Console(quiet=True))


@pytest.mark.parametrize("change", [{"hold_out": {"incident_energy": [1e4, 2e4]}}, {"split": {"train_events": 100}}])
def test_what_a_run_needs_shares_its_training_events(change, bundle, tmp_path):
    theirs, mine = Recipe.load(bundle / "recipe.yaml"), Recipe.from_dict(small(**change))
    assert {key: getattr(alike(theirs, mine), key) for key in SHARED} == {key: getattr(mine, key) for key in SHARED}
    needing = theirs.model_copy(
        update={"needs": {"first": Need(run=str(bundle))}, **{k: getattr(mine, k) for k in change if k == "hold_out"}}
    )
    if "split" in change:
        needing = needing.model_copy(update={"split": theirs.split.model_copy(update=change["split"])})
    with pytest.raises(ValueError, match="which had other training events"):
        check_same_events(needing, "0")
