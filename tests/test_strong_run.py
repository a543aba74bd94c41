"""A run whose judges learn from the training events, with a region of energies that was never trained on."""

from __future__ import annotations

import numpy as np
import pytest

from small import small_recipe
from understudy import storage
from understudy.console import Console
from understudy.journey import train, validate
from understudy.recipe import Recipe
from understudy.rundir import RunDirectory
from understudy.splits import prepare
from understudy.training_answers import at_training


@pytest.mark.filterwarnings("ignore::understudy.domain.OutOfDomainWarning")  # 200 training events leave some outside
def test_a_run_reports_strong_judges_and_the_region_beside_the_ordinary_numbers(tmp_path, monkeypatch):
    words = small_recipe(events=900).to_dict()
    words["validation"] |= {"variety": {"conditions": 0}}
    words["validation"]["classifier"] |= {"trained_on": "training", "strong": {"epochs": 1, "iterations": 3}}
    words["split"] |= {"train_events": 200}
    reference = Recipe.from_dict(words).reference()
    storage.write(tmp_path / "e.h5", made := reference.generate(900, np.random.default_rng(1)), geometry=reference.geometry)
    words["hold_out"] = {"incident_energy": [float(q) for q in np.quantile(made["incident_energy"], [0.4, 0.6])]}
    recipe = Recipe.from_dict(words).using(data=tmp_path / "e.h5")
    console, place = Console(quiet=True), RunDirectory(tmp_path / "run", recipe)
    data = prepare(recipe, place, console)
    trained = train(recipe, data, place, resume=False, console=console)
    answers = at_training(recipe, trained.surrogate, trained.baseline, {}, data, console)
    for events in answers.values():
        np.testing.assert_array_equal(events["incident_energy"], data.train["incident_energy"])
    again = at_training(recipe, trained.surrogate, trained.baseline, {}, data, console)
    for name, events in answers.items():
        np.testing.assert_array_equal(events.packed(), again[name].packed())
    monkeypatch.setattr("understudy.journey.measure_timing", lambda *arguments: None)
    monkeypatch.setattr("understudy.validation.report.write_report", lambda report, folder, history: folder)
    graph = type("Graph", (), {"path": None})()
    metrics = validate(recipe, trained, data, place, [graph], console).metrics
    assert set(answers) == set(metrics["candidates"])
    for comparison in metrics["candidates"].values():
        assert comparison["classifier_strong"]["training_events"] == 400
        assert comparison["classifier_strong"]["tested_events"] == 2 * len(data.test)
    assert metrics["hold_out"]["inside"]["events"] == data.held_out.sum()
    assert metrics["settings"]["classifier"]["trained_on"] == "training"


def test_nothing_is_sampled_where_no_such_judges_are_asked_for(surrogate):
    recipe = small_recipe()
    assert at_training(recipe, surrogate, None, {}, None, Console(quiet=True)) is None
