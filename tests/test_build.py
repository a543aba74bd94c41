from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from understudy.build import build_stage, training_batch


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
