import numpy as np
import pytest

from understudy.validation.moments import moments, tails


def test_moments_and_their_errors_are_those_of_many_samples():
    generator = np.random.default_rng(1)
    found = [moments(generator.exponential(2.0, 500)) for _ in range(400)]
    for name in ("mean", "width"):
        values = np.array([f[name] for f in found])
        assert values.mean() == pytest.approx(2.0, rel=0.02)
        assert np.mean([f[f"{name}_error"] for f in found]) == pytest.approx(values.std(), rel=0.12)


def test_slow_twin_with_weights_and_gaps():
    generator = np.random.default_rng(2)
    v, w = generator.normal(3, 2, 60), generator.normal(1, 0.6, 60)
    v[::9] = np.nan
    rows = [i for i in range(60) if not np.isnan(v[i])]
    total = sum(w[i] for i in rows)
    mean = sum(w[i] * v[i] for i in rows) / total
    variance = sum(w[i] * (v[i] - mean) ** 2 for i in rows) / total
    found = moments(v, w)
    assert found["mean"] == pytest.approx(mean)
    assert found["width"] == pytest.approx(variance**0.5)
    assert found["mean_error"] == pytest.approx(sum(w[i] ** 2 * (v[i] - mean) ** 2 for i in rows) ** 0.5 / total)
    spread = sum(w[i] ** 2 * ((v[i] - mean) ** 2 - variance) ** 2 for i in rows) ** 0.5 / total
    assert found["width_error"] == pytest.approx(spread / (2 * variance**0.5))


def test_nothing_and_constants():
    assert all(np.isnan(x) for x in moments(np.full(4, np.nan)).values())
    assert moments(np.full(4, 7.0)) == {"mean": 7.0, "mean_error": 0.0, "width": 0.0, "width_error": 0.0}
    assert tails(np.full(4, np.nan)) == {}


def test_tails_of_a_uniform_distribution():
    values = np.random.default_rng(3).random(20_000)
    found = tails(values)
    assert set(found) == {"0.1 %", "1 %", "99 %", "99.9 %"}
    for name, q in (("0.1 %", 0.001), ("1 %", 0.01), ("99 %", 0.99), ("99.9 %", 0.999)):
        error = np.sqrt(q * (1 - q) / 20_000)
        assert found[name]["error"] == pytest.approx(error, rel=0.5)
        assert abs(found[name]["value"] - q) < 4 * error


def test_small_samples_have_no_far_tails():
    values = np.random.default_rng(4).random(1500)
    assert set(tails(values)) == {"1 %", "99 %"}
    assert tails(values[:500]) == {}
    assert set(tails(values, np.r_[np.ones(900), np.full(600, 1e-9)])) == set()


def test_integer_weights_are_repetitions_in_the_tails():
    generator = np.random.default_rng(5)
    values, w = generator.normal(size=6000), generator.integers(1, 3, 6000)
    weighted, repeated = tails(values, w.astype(float)), tails(np.repeat(values, w))
    assert weighted["1 %"]["value"] == repeated["1 %"]["value"]
    assert weighted["99 %"]["value"] == repeated["99 %"]["value"]
