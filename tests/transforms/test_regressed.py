"""Columns regressed on each other along a position, cell by cell."""

import numpy as np
import pytest
import torch

from understudy.transforms.regressed import FARTHEST, Regressed, interpolate, regression


def sample(n, seed=1, cells=2):
    """Two columns: a broad one, and one that is known from it to one part in ten thousand, with a slope that follows position."""
    rng = np.random.default_rng(seed)
    position, cell = rng.uniform(1, 3, n), rng.integers(0, cells, n)
    first = 5 * position + np.exp(position) * rng.standard_normal(n)
    second = (1 + cell) * position * first + 1e-4 * rng.standard_normal(n)
    return np.stack([first, second], 1), position, cell


def fitted(x, position, cell, cells=2, weights=None, gone=None, nodes=12):
    filler = np.random.default_rng(9).standard_normal(x.shape)
    gone = np.zeros(x.shape, bool) if gone is None else gone
    weights = np.ones(len(x)) if weights is None else weights
    map_ = Regressed(nodes, 32)
    map_.fit(x, filler, gone, position, cell, cells, weights)
    return map_, filler, gone


def scores(map_, x, filler, gone, position, cell):
    return map_(*(torch.tensor(v) for v in (x, filler, gone, position, cell)))


def test_what_is_left_is_normal_and_comes_back():
    x, position, cell = sample(12_000)
    map_, filler, gone = fitted(x, position, cell)
    z = scores(map_, x, filler, gone, position, cell)
    assert z.mean(0).abs().max() < 0.03
    assert (z.std(0) - 1).abs().max() < 0.03
    assert abs(float(torch.corrcoef(z.T)[0, 1])) < 0.06
    back = map_.inverse(z, torch.tensor(position), torch.tensor(cell))
    assert (back - torch.tensor(x)).abs().max() < 2e-4


def test_it_takes_the_shape_that_the_sample_has_not_that_of_the_cell_beside():
    x, position, cell = sample(12_000)
    map_, filler, gone = fitted(x, position, cell)
    z = scores(map_, x, filler, gone, position, 1 - cell)
    assert z[:, 1].abs().median() > 5  # the slope is another's


def test_a_cell_of_few_events_takes_what_all_have():
    x, position, cell = sample(5000)
    cell = np.where(np.arange(5000) < 10, 2, cell)
    map_, *_ = fitted(x, position, cell, cells=4)
    assert torch.equal(map_.table[2], map_.table[3])
    assert not torch.equal(map_.table[2], map_.table[0])
    assert bool(map_.table.isfinite().all())
    assert bool(map_.quantiles.isfinite().all())


def test_a_column_that_is_gone_has_the_fillers_score():
    x, position, cell = sample(4000)
    gone = np.stack([position < 2, np.zeros(4000, bool)], 1)
    map_, filler, _ = fitted(x, position, cell, gone=gone)
    z = scores(map_, x, filler, gone, position, cell).numpy()
    np.testing.assert_array_equal(z[gone[:, 0], 0], filler[gone[:, 0], 0])
    back = map_.inverse(torch.tensor(z), torch.tensor(position), torch.tensor(cell)).numpy()
    np.testing.assert_allclose(back[:, 1], x[:, 1], atol=1e-4)


def test_the_regression_is_that_of_a_design_matrix():
    """The slow twin: all hats times all columns in one matrix, weighted once with the widths that were found."""
    x, position, _ = sample(3000)
    place, w = (position - 1) / 2 * 7, np.random.default_rng(3).uniform(0.5, 2, 3000)
    before = np.stack([np.ones(3000), x[:, 0]], 1)
    target = x[:, 0] ** 2 + 3 * position
    coefficients, width = regression(target, before, place, w, 8)
    hats = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(8)))
    np.testing.assert_allclose(interpolate(place, 8).toarray(), hats, atol=1e-12)
    design = np.concatenate([hats * column[:, None] for column in before.T], 1)
    found, before_last = None, np.ones(3000)
    for _ in range(3):
        root = np.sqrt(w) / before_last
        found = np.linalg.lstsq(design * root[:, None], target * root, rcond=None)[0]
        left = np.abs(target - design @ found)
        before_last = np.exp(hats @ np.log((hats.T @ (w * left)) / (hats.T @ w)))
    np.testing.assert_allclose(coefficients.T.flatten(), found, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.exp(hats @ width), before_last, rtol=1e-4)


def test_signed_weights_subtract_a_background():
    x, position, cell = sample(6000)
    other = np.stack([x[:2000, 0], 0.5 * x[:2000, 0] + 1], 1)
    both, weights = np.concatenate([x, other, other]), np.concatenate([np.ones(6000), np.ones(2000), -np.ones(2000)])
    place, where = np.concatenate([position, *[position[:2000]] * 2]), np.concatenate([cell, *[cell[:2000]] * 2])
    map_, *_ = fitted(both, place, where, weights=weights, nodes=6)
    alone, *_ = fitted(x, position, cell, nodes=6)
    torch.testing.assert_close(map_.table[..., :-1], alone.table[..., :-1], rtol=5e-2, atol=5e-2)


@pytest.mark.parametrize("where", [-1e4, -5.0, 0.3, 7.0, 1e6])
def test_far_out_the_scores_grow_as_the_logarithm_and_come_back(where):
    x, position, cell = sample(4000)
    map_, filler, gone = fitted(x, position, cell)
    x[0] = where * np.abs(x[0]) + 1
    z = scores(map_, x[:1], filler[:1], gone[:1], position[:1], cell[:1])
    assert z.abs().max() < FARTHEST
    back = map_.inverse(z, torch.tensor(position[:1]), torch.tensor(cell[:1]))
    np.testing.assert_allclose(back.numpy(), x[:1], rtol=1e-4)
