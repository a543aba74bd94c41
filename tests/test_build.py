from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from understudy import journey
from understudy.build import build_stage, training_batch
from understudy.console import Console
from understudy.training.loop import TrainingResult
from understudy.transforms.base import Chain
from understudy.transforms.standardise import Standardise


@pytest.fixture
def stage(recipe, events, surrogate):
    return build_stage(recipe.stages[1], recipe, events.schema, surrogate.geometry, torch.Generator().manual_seed(1))


def test_signed_weights_average_to_one_in_training(stage, events):
    weights = np.where(np.arange(len(events)) % 4 == 0, -0.5, 2.0)
    batch = training_batch(stage, replace(events, weights=weights))
    assert batch.weights.mean().item() == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(batch.weights.numpy(), weights / weights.mean(), rtol=1e-6)


@pytest.mark.parametrize("weight", [-1.0, 0.0])
def test_weights_that_sum_to_nothing_or_less_are_refused(stage, events, weight):
    with pytest.raises(ValueError, match="the training split cannot be fitted: the weights sum to"):
        training_batch(stage, replace(events, weights=np.full(len(events), weight)))


def test_the_fit_of_the_transforms_tells_how_far_it_is(stage, events):
    stage.transforms = Chain([Standardise(), Slow()])
    told = []
    training_batch(stage, events, told.append)
    assert told == [0.75, 1.0]


class Slow(Standardise):
    """Tells twice how far it is."""

    def _fit_watched(self, response, conditions, weights, progress):
        progress(0.5)
        self._fit(response, conditions, weights)
        progress(1.0)


def test_the_seconds_of_a_training_are_those_of_transforms_training_and_calibrations(
    recipe, events, surrogate, tmp_path, monkeypatch
):
    clock = [0.0]

    def fit(*_):
        clock[0] += 7.0

    monkeypatch.setattr(journey.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(journey, "training_batch", fit)
    monkeypatch.setattr(journey, "train_model", lambda *_, **__: TrainingResult(0, 0.0, 5.0, [], None, "cpu"))
    monkeypatch.setattr(journey, "calibrate", lambda *_, **__: 2.0)
    monkeypatch.setattr(journey, "stage_score", lambda *_: None)
    data, place = SimpleNamespace(train=events, geometry=surrogate.geometry), SimpleNamespace(path=tmp_path)
    console = Console(quiet=True)
    result = journey.train_stage(surrogate.last, recipe.stages[-1], recipe, data, place, resume=False, console=console)
    assert result.seconds == 14.0
