import numpy as np
import pytest

from understudy.validation.structure import CellMoments, compare_structure, correlation_difference, structure_errors


def sample(n=500, d=7, seed=1):
    generator = np.random.default_rng(seed)
    return (generator.gamma(2.0, 50.0, (n, d)) @ (np.eye(d) + 0.3 * generator.random((d, d)))).astype(np.float32)


def test_agree_with_numpy():
    cells = sample()
    moments = CellMoments.of(cells)
    np.testing.assert_allclose(moments.mean, cells.astype(float).mean(0))
    np.testing.assert_allclose(moments.variance, cells.astype(float).var(0))
    np.testing.assert_allclose(moments.correlation, np.corrcoef(cells.astype(float).T), rtol=1e-9)


def test_chunks_and_sums_of_samples_are_the_whole(monkeypatch):
    cells, weights = sample(), np.random.default_rng(2).normal(1, 1, 500)
    whole = CellMoments.of(cells, weights)
    monkeypatch.setattr("understudy.validation.structure.CHUNK", 64)
    chunked = CellMoments.of(cells, weights)
    added = CellMoments.of(cells[:123], weights[:123]) + CellMoments.of(cells[123:], weights[123:])
    for other in (chunked, added):
        np.testing.assert_allclose(other.mean, whole.mean, rtol=1e-10)
        np.testing.assert_allclose(other.scatter, whole.scatter, rtol=1e-8, atol=1e-6)


def test_integer_weights_are_repetitions():
    cells, weights = sample(60), np.random.default_rng(3).integers(0, 4, 60)
    a, b = CellMoments.of(cells, weights), CellMoments.of(np.repeat(cells, weights, axis=0))
    np.testing.assert_allclose(a.mean, b.mean)
    np.testing.assert_allclose(a.correlation, b.correlation)


def test_large_offsets_do_not_cancel():
    cells = np.random.default_rng(4).normal(size=(10_000, 2)) + 1e7
    np.testing.assert_allclose(CellMoments.of(cells).variance, cells.var(0), rtol=1e-9)


def test_closed_forms():
    z = np.random.default_rng(5).normal(size=(20_000, 2))
    rho = CellMoments.of(np.stack([z[:, 0], 0.6 * z[:, 0] + 0.8 * z[:, 1], -z[:, 0]], 1)).correlation
    assert rho[0, 1] == pytest.approx(0.6, abs=0.02)
    assert rho[0, 2] == pytest.approx(-1.0)


def test_a_constant_cell_has_no_correlation():
    cells = sample()
    frozen = cells.astype(float)
    frozen[:, 2] = 1e4 + 1e-6 * cells[:, 3]  # constant but for rounding
    moments = CellMoments.of(frozen)
    rho = moments.correlation
    assert rho[2, 2] == 1
    assert not np.delete(rho[2], 2).any()
    expected = 2 * (np.delete(CellMoments.of(cells).correlation[2], 2) ** 2).sum() / 49
    assert correlation_difference(CellMoments.of(cells), moments) == pytest.approx(expected, rel=1e-6)
    assert correlation_difference(moments, moments) == 0


def test_variances_without_correlations():
    cells = sample()
    moments = CellMoments.of(cells, correlations=False)
    assert moments.scatter.shape == (7,)
    np.testing.assert_allclose(moments.variance, CellMoments.of(cells).variance)
    np.testing.assert_allclose((moments + moments).variance, moments.variance)
    with pytest.raises(ValueError, match="taken without correlations"):
        moments.correlation  # noqa: B018


def test_summary_shows_missing_variety():
    cells = sample(4000)
    mean = cells.mean(0)
    result = compare_structure(CellMoments.of(cells), CellMoments.of(mean + 0.5 * (cells - mean)))
    assert result["variance_ratio"] == pytest.approx(0.25, rel=1e-3)
    assert result["correlation_mse"] == pytest.approx(0, abs=1e-9)
    assert result["mean_difference"] == pytest.approx(0, abs=1e-5)
    shifted = compare_structure(CellMoments.of(cells), CellMoments.of(1.01 * cells))
    assert shifted["mean_difference"] == pytest.approx(0.01, rel=1e-3)


def test_bad_input():
    with pytest.raises(ValueError, match=r"cells of shape \(0, 3\) have no moments"):
        CellMoments.of(np.zeros((0, 3)))
    with pytest.raises(ValueError, match="weights sum to 0"):
        CellMoments.of(np.ones((2, 3)), np.array([1.0, -1.0]))
    with pytest.raises(ValueError, match="correlations of 7 and 3 cells cannot be compared"):
        correlation_difference(CellMoments.of(sample()), CellMoments.of(sample(d=3)))
    with pytest.raises(ValueError, match="cannot be added"):
        CellMoments.of(sample()) + CellMoments.of(sample(d=3))


@pytest.mark.parametrize("paired", [False, True])
def test_jackknife_errors_are_the_spread_of_repeated_samples(paired):
    mixing = np.eye(7) + 0.3 * np.random.default_rng(0).random((7, 7))
    found, errors = [], []
    for k in range(60):
        generator = np.random.default_rng(100 + k)
        first, second, third = generator.gamma(2.0, 50.0, (3, 400, 7)) @ mixing
        a, b = first, 0.7 * (first if paired else second) + 0.5 * third
        b[:, 0] *= generator.gamma(4.0, 0.25, 400)
        found.append(list(compare_structure(CellMoments.of(a), CellMoments.of(b)).values()))
        errors.append(list(structure_errors((a, None), (b, None), paired).values()))
    ratio = np.sqrt(np.mean(np.square(errors), axis=0)) / np.std(found, axis=0, ddof=1)
    assert (abs(np.log(ratio)) < np.log([1.5, 1.5, 2.0])).all(), ratio  # the last is a median, of which it is less sure


def test_jackknife_needs_groups_with_moments():
    cells = sample(50)
    with pytest.raises(ValueError, match="10 groups"):
        structure_errors((cells[:9], None), (cells, None))
    weights = np.ones(50)
    weights[::10] = -1.0
    assert all(np.isnan(e) for e in structure_errors((cells, weights), (cells, None)).values())
