"""Negative weights in training: their expectation."""

import numpy as np
import pytest

from sweighted import contaminated, pure
from understudy.signed import expected_weights, has_negative


def test_expected_weights_are_not_negative_and_have_the_sums_of_the_signed_ones():
    events = contaminated(20_000, np.random.default_rng(1))
    features = np.column_stack([events["x"], events["y"]])
    w, found = events.weights, expected_weights(features, events.weights, seed=2)
    assert has_negative(w)
    assert not has_negative(found)
    assert found.mean() == pytest.approx(w.mean())
    assert found @ found < 0.8 * (w @ w)  # a smaller variance
    error = np.sqrt(w @ w) / w.sum()
    for function in (features[:, 0], features[:, 1] ** 2, features[:, 1] > 2):
        signed, smooth = (v @ function / v.sum() for v in (w, found))
        assert smooth == pytest.approx(signed, abs=3 * error * function.std())
    truth = pure(100_000, np.random.default_rng(3))["y"][:, 0]
    assert found @ (features[:, 1] > 2) / found.sum() == pytest.approx((truth > 2).mean(), abs=0.01)
    assert (features[:, 1] > 2).mean() > (truth > 2).mean() + 0.3  # what the background would make of it


def test_few_events_have_their_negative_weights_set_to_zero():
    w = np.array([2.0, -1.0, 1.0])
    np.testing.assert_allclose(expected_weights(np.zeros((3, 1)), w, 1), [4 / 3, 0, 2 / 3])


def test_weights_that_cancel_are_refused():
    with pytest.raises(ValueError, match="the weights of 2 events sum to -1; what they leave is no distribution"):
        expected_weights(np.zeros((2, 1)), np.array([1.0, -2.0]), 1)
