"""Precision, recall, density, coverage and the Frechet distance against loops, closed forms and cases that are known."""

import numpy as np
import pytest

from understudy.validation.neighbourhoods import by_event, frechet, frechet_with_error, neighbourhoods


def rng(seed=0):
    return np.random.default_rng(seed)


def slowly(x, y, k):
    """The definitions, event by event."""

    def ball(sample, i):
        return sorted(np.linalg.norm(sample[i] - other) for other in sample)[k]

    inside = np.array([[np.linalg.norm(a - b) < ball(x, i) for b in y] for i, a in enumerate(x)])
    recalled = [any(np.linalg.norm(a - b) < ball(y, j) for j, b in enumerate(y)) for a in x]
    covered = [min(np.linalg.norm(a - b) for b in y) < ball(x, i) for i, a in enumerate(x)]
    return {
        "precision": inside.any(0).mean(),
        "recall": np.mean(recalled),
        "density": inside.sum() / (k * len(y)),
        "coverage": np.mean(covered),
    }


def test_they_are_what_they_are_defined_to_be():
    x, y = rng().normal(size=(25, 3)), rng(1).normal(0.5, 1.2, (18, 3))
    found = neighbourhoods(x, y, rng(2), k=3, replicas=10)
    for name, value in slowly(x, y, 3).items():
        assert found[name].value == pytest.approx(value)


def test_equal_distributions_have_the_expected_coverage_and_density():
    x, y = rng().normal(size=(2, 1000, 2))
    found = neighbourhoods(x, y, rng(2))
    expected = 1 - np.prod([(999 - i) / (1999 - i) for i in range(5)])
    assert found["coverage"].value == pytest.approx(expected, abs=4 * found["coverage"].error)
    assert found["density"].value == pytest.approx(1, abs=5 * found["density"].error)


def test_a_collapsed_sample_is_precise_and_covers_nothing():
    x = rng().normal(size=(500, 2))
    y = 0.1 * rng(1).normal(size=(500, 2))
    found = neighbourhoods(x, y, rng(2))
    assert found["precision"].value > 0.95
    assert found["coverage"].value < 0.2
    assert found["recall"].value < 0.2


def test_the_frechet_distance_of_normal_samples_is_the_closed_form_of_their_moments():
    x = rng().normal(size=(4000, 2)) * [1.0, 2.0]
    y = rng(1).normal(size=(4000, 2)) * [3.0, 2.0] + [0.0, 4.0]
    found = frechet_with_error(x, y, rng(2), 20)
    assert found.value == pytest.approx(16 + (3 - 1) ** 2, abs=5 * found.error)
    assert frechet(x, x) == pytest.approx(0, abs=1e-9)


def test_too_few_events():
    with pytest.raises(ValueError, match="samples of 4 and 50 events have no 5 neighbours each"):
        by_event(rng().normal(size=(4, 2)), rng().normal(size=(50, 2)))
