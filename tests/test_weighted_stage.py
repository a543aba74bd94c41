"""How a stage counts weighted events: in training, in what it keeps, and in the score of checkpoints."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sweighted import SCHEMA, contaminated, pure
from understudy.build import build_stage, training_batch
from understudy.prepare import Preparation
from understudy.recipe import Recipe
from understudy.scoring import binned_distance, stage_score
from understudy.splits import Data

WORDS = {
    "name": "weighted",
    "reference": {"kind": "file", "path": "nowhere.h5"},
    "stages": [
        {
            "features": {"x": "standardise"},
            "transforms": ["standardise"],
            "model": {"kind": "energy-score", "network": {"kind": "dense", "layers": 1, "width": 8}},
        }
    ],
}


@pytest.fixture(scope="module")
def events():
    return contaminated(6000, np.random.default_rng(1))


def stage(weights="signed"):
    recipe = Recipe.from_dict({**WORDS, "stages": [{**WORDS["stages"][0], "weights": weights}]})
    return build_stage(recipe.stages[0], recipe, SCHEMA, None, torch.Generator().manual_seed(1))


def test_expected_weights_are_not_negative_and_transforms_are_fitted_with_them(events):
    signed, expected = stage(), stage("expected")
    first = training_batch(signed, events)
    second = training_batch(expected, events, None, "expected", 3)
    assert float(first.weights.min()) < 0
    assert float(second.weights.min()) >= 0
    assert float(second.weights.mean()) == pytest.approx(1.0, abs=1e-4)
    torch.testing.assert_close(first.response, second.response, rtol=0.1, atol=0.1)
    w, x = second.weights[:, None], second.response
    mean = (w * x).sum(0) / w.sum()
    torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-4)


def test_weights_that_cancel_are_refused(events):
    with pytest.raises(ValueError, match="the training split cannot be fitted: the weights sum to"):
        training_batch(stage(), replace(events, weights=events.weights - 1))
    data = Data(events, replace(events, weights=events.weights - 1), events, None, Preparation(), None, "toy", "")
    built = stage()
    training_batch(built, events)
    with pytest.raises(ValueError, match="the validation split cannot be fitted: the weights sum to"):
        stage_score(built, data, 1)


def test_the_score_counts_weights_and_leaves_them_aside_where_asked(events):
    clean = pure(6000, np.random.default_rng(2))
    data = Data(events, events, clean, None, Preparation(), None, "toy", "")
    assert data.unweighted().train.weights is None
    assert data.unweighted().test is clean
    built = stage()
    training_batch(built, events)
    scores = [stage_score(built, d, 1)(built.model)["score"] for d in (data, data.unweighted())]
    assert scores[0] != pytest.approx(scores[1])


def test_the_distance_in_bins_is_that_of_the_signal(events):
    y, x, w = (torch.tensor(np.asarray(a, np.float32)) for a in (events["y"], events["x"], events.weights))
    signal = torch.tensor(np.asarray(events["is_signal"]) == 1)
    shift = torch.where(signal[:, None], 0.0, 3.0)  # what is drawn differs under the background alone
    assert binned_distance(y, y + shift, x, weights=w) < 0.3
    assert binned_distance(y, y + shift, x) > 0.4
    even = torch.ones(len(y))
    assert binned_distance(y, y + 1, x, weights=even) == pytest.approx(binned_distance(y, y + 1, x), rel=1e-4)
