"""How residuals of cells that may be empty follow from normal scores."""

import numpy as np
import pytest
import torch
from scipy.special import ndtr

from understudy.transforms import residual_tables as rt
from understudy.transforms.residual_tables import (
    AT,
    BELIEVED,
    BINS,
    CAP,
    KNOTS,
    ROW,
    Residuals,
    Sharing,
    interpolated,
    nearest,
    place,
    solved,
)

SHAPES = {
    "normal": lambda z: z,
    "wide and shifted": lambda z: np.sinh(z / 1.5) + 0.4,
    "skew": lambda z: 2 * np.expm1(z / 2),
    "narrow": lambda z: 0.8 * z - 0.2,
}


def cells_of(shape, b, seed=0):
    """Residuals of a known distribution, empty below the limit of each."""
    r = shape(np.random.default_rng(seed).standard_normal(len(b)))
    return Residuals(r, b, r <= -b, np.ones(len(b)))


def read(table, b, z):
    """Residuals of one event's cells from a table of all bins."""
    b = torch.tensor(b)[None]
    row, towards = place(b)
    return interpolated(torch.tensor(table).reshape(-1), row, towards, b, torch.tensor(z)[None])[0].numpy()


def same(table):
    """One table in every bin."""
    return np.tile(table, (BINS, 1))


def agree(made, true, within):
    """Whether as much of `made` lies below each quantile of `true` as should: up to four standard errors, and `within`."""
    at = np.array([0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.97])
    found = (made[:, None] <= np.quantile(true, at)).mean(0)
    np.testing.assert_array_less(np.abs(found - at), within + 4 * np.sqrt(at * (1 - at) * (1 / len(made) + 1 / len(true))))


@pytest.mark.parametrize("b", [(-1.6, -1.4), (-0.1, 0.1), (1.0, 1.2), (-1.0, 2.5)], ids=str)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_what_one_table_says_of_fresh_scores_is_what_cells_do(shape, b):
    rng = np.random.default_rng(1)
    true = cells_of(shape, rng.uniform(*b, 60_000))
    limit = rng.uniform(*b, 60_000)
    u = read(same(true.table()), limit, rng.standard_normal(60_000)) + limit
    assert (u <= 0).mean() == pytest.approx(true.empty.mean(), abs=0.01)
    hit = ~true.empty
    agree(u[u > 0], true.residual[hit] + true.limit[hit], 0.005)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_cells_of_all_limits_do_as_their_own_bins(shape):
    rng = np.random.default_rng(2)
    b = rng.uniform(-2.0, 7.0, 200_000)
    true = cells_of(shape, b)
    found = rt.tables(true, nearest(torch.tensor(b)).numpy(), True)
    r = read(found, b, rng.standard_normal(len(b)))
    for low, high in [(-1.5, -1.2), (-0.2, 0.2), (0.9, 1.3), (1.9, 2.3), (4.5, 5.5)]:
        here = (low < b) & (b < high)
        filled, hit = here & (r > -b), here & ~true.empty
        assert filled.sum() / here.sum() == pytest.approx(hit.sum() / here.sum(), abs=0.02)
        agree((r + b)[filled], (true.residual + b)[hit], 0.02)


@pytest.mark.parametrize(
    "rises", [lambda t: t, lambda t: np.expm1(t / 2), lambda t: t + t**2 / 4, np.sqrt], ids=["1", "e", "2", "r"]
)
@pytest.mark.parametrize("offset", [-0.7, 0.0, 0.5])
def test_a_map_of_this_form_is_found_from_cells_with_very_different_limits(rises, offset):
    rng = np.random.default_rng(3)
    b = rng.uniform(-1.0, 2.5, 100_000)
    t = rng.standard_normal(100_000) + b + offset
    table = Residuals(rises(np.maximum(t, 0)) - b, b, t <= 0, np.ones(100_000)).table()
    assert table[KNOTS] == pytest.approx(offset, abs=0.03)
    inside = AT < 4
    np.testing.assert_allclose(table[:KNOTS][inside], rises(AT[inside]), rtol=0.05, atol=0.02)


def test_as_much_weight_lies_above_a_height_as_above_its_knot():
    rng = np.random.default_rng(4)
    n = 2000
    b, w = rng.uniform(-1, 2, n), rng.uniform(0.2, 2.0, n)
    c = cells_of(SHAPES["skew"], b)
    table = Residuals(c.residual, c.limit, c.empty, w).table()
    assert sum(w * ndtr(b + table[KNOTS])) == pytest.approx(sum(w[~c.empty]), rel=1e-4)
    u = np.where(c.empty, -np.inf, c.residual + b)
    for knot in range(1, KNOTS):
        expected = sum(w * ndtr(b + table[KNOTS] - AT[knot]))
        if expected > 2 * rt.EDGE:
            assert sum(w[u > table[knot]]) == pytest.approx(expected, abs=w.max() + 1e-3 * w.sum())


def test_weights_repeat_residuals():
    rng = np.random.default_rng(5)
    cells, times = cells_of(SHAPES["skew"], rng.uniform(-1, 2.5, 4000)), 1 + np.arange(4000) % 2
    weighed = Residuals(cells.residual, cells.limit, cells.empty, times.astype(float)).table()
    repeated = cells.where(np.repeat(np.arange(4000), times)).table()
    seen = AT < 4
    np.testing.assert_allclose(weighed[:KNOTS][seen], repeated[:KNOTS][seen], atol=0.01)
    assert weighed[KNOTS] == pytest.approx(repeated[KNOTS], abs=1e-6)


def test_negative_weights_take_residuals_away():
    rng = np.random.default_rng(6)
    cells = cells_of(SHAPES["normal"], rng.uniform(-1, 2.5, 4000))
    plain = cells.table()
    background = cells_of(lambda z: 1 + 2 * z, rng.uniform(-1, 2.5, 4000), seed=7)
    parts = [cells, background, background]
    joined = [np.concatenate([getattr(part, name) for part in parts]) for name in ("residual", "limit", "empty")]
    found = Residuals(*joined, np.repeat([1.0, 1.0, -1.0], 4000)).table()
    unweighted = Residuals(*joined, np.ones(12_000)).table()
    seen = AT < 4
    np.testing.assert_allclose(found[:KNOTS][seen], plain[:KNOTS][seen], atol=0.02)
    assert found[KNOTS] == pytest.approx(plain[KNOTS], abs=0.01)
    assert np.abs(unweighted - plain)[:KNOTS][seen].max() > 0.5


def test_more_weight_taken_away_than_there_is_says_nothing():
    cells = cells_of(SHAPES["normal"], np.full(500, 1.0))
    assert Residuals(cells.residual, cells.limit, cells.empty, -np.ones(500)).table() is None
    assert Residuals(cells.residual, cells.limit, cells.empty, np.where(cells.empty, -1.0, 1.0)).table() is None


@pytest.mark.parametrize("many", [rt.FEWEST, 130, 3000])
@pytest.mark.parametrize("b", [-1.0, 0.5, 3.0, 20.0])
@pytest.mark.parametrize("values", ["smooth", "equal", "whole", "far"])
def test_heights_rise_everywhere_and_are_never_below_an_empty_cell(many, b, values):
    u = np.random.default_rng(8).exponential(1.0, many) + 1e-3
    u = {"smooth": u, "equal": np.full(many, 1.5), "whole": np.ceil(u), "far": u**6}[values]
    shift = min(b, CAP)
    r, empty = np.concatenate([u - shift, np.full(many // 2, -shift - 1)]), np.arange(many + many // 2) >= many
    for some in (slice(None), slice(many)):  # with empty cells, and without
        cells = Residuals(r[some], np.full(len(r[some]), b), empty[some], np.ones(len(r[some])))
        table = cells.table()
        assert np.isfinite(table).all()
        assert (np.diff(table[:KNOTS]) > 0).all()
        assert abs(table[KNOTS]) <= rt.MOST_SHIFTED
    limited = Residuals(r, np.full(len(r), b), empty, np.ones(len(r))).table()
    assert limited[0] == 0.0
    assert (np.diff(limited[:KNOTS])[-3:] > 0.9 * rt.LEAST_SLOPE * np.diff(AT)[-3:]).all()


def test_shifts_have_a_bound():
    b = np.full(1000, -6.0)
    cells = Residuals(np.random.default_rng(9).exponential(1.0, 1000) + 6, b, np.arange(1000) >= 900, np.ones(1000))
    assert cells.table()[KNOTS] == rt.MOST_SHIFTED
    other = Residuals(cells.residual, -b, np.arange(1000) >= 100, np.ones(1000))
    assert other.table()[KNOTS] == -rt.MOST_SHIFTED


def test_too_few_residuals_make_no_table():
    cells = cells_of(SHAPES["normal"], np.full(rt.FEWEST, 30.0))
    assert cells.table() is not None
    assert cells.where(np.arange(rt.FEWEST - 1)).table() is None


def test_where_nothing_is_known_residuals_are_the_scores():
    b = np.linspace(-8, 60, 200)
    z = np.random.default_rng(10).normal(0, 4, 200)
    nothing = cells_of(SHAPES["wide and shifted"], np.full(rt.FEWEST - 1, 5.0))
    for limits in (True, False):
        found = rt.tables(nothing, np.full(rt.FEWEST - 1, 10), limits)
        np.testing.assert_array_equal(found, same(BELIEVED))
        shift = np.minimum(b, CAP)
        np.testing.assert_allclose(read(found, b, z), np.where(z + shift < 0, z + shift - b, z), atol=1e-12)


def test_cells_that_are_never_empty_follow_one_distribution_from_end_to_end():
    shape = SHAPES["skew"]
    b = np.random.default_rng(11).uniform(5, 50, 50_000)
    found = rt.tables(cells_of(shape, b), nearest(torch.tensor(b)).numpy(), False)
    assert (found == found[0]).all()
    z = np.linspace(-2.5, 2.5, 51)
    np.testing.assert_allclose(read(found, np.full(51, 10.0), z), shape(z), atol=0.1)


def test_bins_with_few_residuals_take_what_more_cells_say():
    n = 1000
    cells = cells_of(lambda z: 2 * z, np.full(n, 1.0))
    bins = np.full(n, 10)
    alone = rt.tables(cells, bins, True)
    np.testing.assert_array_equal(alone, same(cells.table()))  # all other bins are joined to the only one that has any
    common = same(BELIEVED) * 3
    found = rt.tables(cells, bins, True, common)
    np.testing.assert_array_equal(found[10], alone[10])
    np.testing.assert_array_equal(np.delete(found, 10, 0), np.delete(common, 10, 0))
    some = cells.where(np.flatnonzero(~cells.empty)[: rt.ENOUGH - 1])
    np.testing.assert_array_equal(rt.tables(some, bins[: rt.ENOUGH - 1], True, common), common)


def test_neighbours_are_joined_until_they_have_enough():
    rng = np.random.default_rng(12)
    n = 20 * BINS
    cells = Residuals(rng.normal(size=n), np.full(n, 2.0), np.zeros(n, bool), np.ones(n))
    bins = rng.permutation(np.repeat(np.arange(BINS), 20))
    found = rt.tables(cells, bins, True)
    runs = [(k, k + 3) for k in range(0, 27, 3)] + [(27, 32)]  # 20 each: three make 60, and what is left joins the last
    for first, after in runs:
        expected = cells.where(np.concatenate([np.flatnonzero(bins == k) for k in range(first, after)])).table()
        np.testing.assert_allclose(found[first:after], np.tile(expected, (after - first, 1)), rtol=1e-9, atol=1e-9)


def slow_residual(table, row, towards, b, z):
    """Between knots and tables, one number at a time."""
    mixed = [table[row][k] + towards * (table[row + 1][k] - table[row][k]) for k in range(ROW)]
    shift = min(b, CAP)
    t = z + shift + mixed[KNOTS]
    if t <= 0:
        return mixed[0] + t - b
    knot = max((k for k in range(KNOTS - 1) if AT[k] <= t), default=0)
    slope = (mixed[knot + 1] - mixed[knot]) / (AT[knot + 1] - AT[knot])
    return mixed[knot] + slope * (t - AT[knot]) - shift


@pytest.mark.parametrize("shared", [True, False])
def test_tables_are_read_between_knots_and_bins_and_read_back(shared):
    rng = np.random.default_rng(13)
    n, d, rows = 7, 60, 2 * BINS
    events = 1 if shared else n
    heights = np.cumsum(rng.uniform(0.05, 1.0, (events, rows, KNOTS)) * np.diff(AT, prepend=-0.1), axis=2)
    table = np.concatenate([heights, rng.uniform(-2, 2, (events, rows, 1))], axis=2)
    row, towards = rng.integers(0, rows - 1, (n, d)), rng.uniform(0, 1, (n, d))
    b, z = rng.uniform(-6, 10, (n, d)), rng.normal(0, 5, (n, d))
    t = z + np.minimum(b, CAP)
    assert (t < -2).any()
    assert (t > rt.FARTHEST + 2).any()
    expected = [
        [slow_residual(table[i * (not shared)], row[i, j], towards[i, j], b[i, j], z[i, j]) for j in range(d)] for i in range(n)
    ]
    flat = torch.tensor(table.reshape(-1) if shared else table.reshape(n, -1))
    given = flat, torch.tensor(row).double(), torch.tensor(towards), torch.tensor(b)
    found = interpolated(*given, torch.tensor(z))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(solved(*given, found).numpy(), z, rtol=1e-9, atol=1e-9)


def test_measured_tables_are_read_back_in_single_precision_too():
    rng = np.random.default_rng(14)
    b = rng.uniform(-3, 12, 30_000)
    true = cells_of(SHAPES["wide and shifted"], b)
    table = torch.tensor(rt.tables(true, nearest(torch.tensor(b)).numpy(), True)).float().reshape(-1)
    limit = torch.tensor(b).float().reshape(30, -1)
    row, towards = place(limit)
    z = torch.tensor(rng.normal(0, 2, limit.shape)).float()
    r = interpolated(table, row, towards, limit, z)
    np.testing.assert_allclose(interpolated(table, row, towards, limit, solved(table, row, towards, limit, r)), r, atol=1e-4)
    at_threshold = solved(table, row, towards, limit, -limit)
    assert torch.isfinite(at_threshold).all()
    empty = limit < CAP
    known = torch.lerp(table.view(BINS, ROW)[row.long(), KNOTS], table.view(BINS, ROW)[row.long() + 1, KNOTS], towards)
    limited = (table.view(BINS, ROW)[row.long(), 0] == 0) & (table.view(BINS, ROW)[row.long() + 1, 0] == 0) & empty
    np.testing.assert_allclose(at_threshold[limited], (-limit - known)[limited], atol=1e-4)


def test_flat_parts_of_a_table_are_read_back_in_single_precision():
    """Many equal residuals: heights that differ by less than rounding left the way back without a slope."""
    r = np.concatenate([np.full(300, -1.35), np.linspace(-1.3, 3, 300)])
    cells = Residuals(r, np.full(600, 5.0), np.zeros(600, bool), np.ones(600))
    table = torch.tensor(np.tile(cells.table(), (BINS, 1)).reshape(-1), dtype=torch.float32)
    limit = torch.full((1, 200), 5.0)
    residual = torch.linspace(-6.0, 3.5, 200)[None]
    row, towards = place(limit)
    assert bool(solved(table, row, towards, limit, residual).isfinite().all())


def test_bins_are_even_in_the_area_hyperbolic_sine():
    b = torch.tensor([-1e6, -6.0, -1.0, 0.0, 1e-4, 3.0, 40.0, 1e6], dtype=torch.float64)
    lower, towards = place(b)
    expected = np.clip((np.arcsinh(b.numpy()) - rt.LOW) / rt.WIDTH, 0, BINS - 1)
    np.testing.assert_allclose((lower + towards).numpy(), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(nearest(b).numpy(), np.round(expected))
    assert int(lower.max()) == BINS - 2


def test_bins_of_a_feature_without_events_come_last_and_centres_rise():
    first = np.repeat([0.0, 1.0], [950, 50])
    sharing = Sharing(first, np.zeros(2, int), np.zeros(2, bool), np.ones(2, bool))
    r = np.random.default_rng(15).standard_normal((1000, 2))
    told = []
    found, centres = sharing.tables(r, np.full((1000, 2), 20.0), np.zeros((1000, 2), bool), np.ones(1000), 6, told.append)
    assert found.shape == (6, 1, BINS, ROW)
    assert np.isfinite(found).all()
    assert (np.diff(centres) > 0).all()
    assert centres[0] < 0.2
    assert (found[-1] == found[-2]).all()
    assert told[-1] == 1.0


def test_groups_and_bins_of_the_first_feature_have_their_own_tables():
    rng = np.random.default_rng(16)
    first = np.repeat([1.0, 2.0], 12_000)
    b = rng.uniform(-0.5, 2.0, (24_000, 3))
    spread = np.where(first[:, None] > 1.5, 1.5, 0.7) * [1.0, 2.0, 1.0]
    r = spread * rng.standard_normal((24_000, 3))
    empty = r <= -b
    r[:, 2], empty[:, 2] = 1e6, False  # a cell that never varies has no say
    sharing = Sharing(first, np.array([0, 1, 0]), np.array([True, True, False]), np.array([True, True, False]))
    found, centres = sharing.tables(r, b, empty, np.ones(24_000), 2, lambda part: None)
    np.testing.assert_allclose(centres, [1.0, 2.0])
    for e in range(2):
        for group in range(2):  # away from the lowest and highest bins, which neighbour ones without events
            here = (first == e + 1) & (b[:, group] > 0.0) & (b[:, group] < 1.2)
            limit, true, hit = b[here, group], r[here, group], ~empty[here, group]
            u = read(found[e, group], limit, rng.standard_normal(len(limit))) + limit
            assert (u > 0).mean() == pytest.approx(hit.mean(), abs=0.03)
            agree(u[u > 0], (true + limit)[hit], 0.015)


def test_few_events_of_a_bin_of_the_first_feature_take_the_tables_of_all():
    rng = np.random.default_rng(17)
    first = np.sort(np.r_[np.zeros(2000), np.ones(rt.ENOUGH // 2)])
    b = np.full((len(first), 1), 1.0)
    r = 2 * rng.standard_normal(b.shape)
    sharing = Sharing(first, np.zeros(1, int), np.ones(1, bool), np.ones(1, bool))
    found, _ = sharing.tables(r, b, r <= -b, np.ones(len(first)), 30, lambda part: None)
    whole = Residuals(r[:, 0], b[:, 0], r[:, 0] <= -1, np.ones(len(first))).table()
    np.testing.assert_allclose(found[-1, 0], same(whole), rtol=1e-9, atol=1e-9)
    assert (found[0, 0] != found[-1, 0]).any()


def test_gradients_reach_scores_and_are_finite_also_at_the_threshold():
    b = torch.tensor([[0.5, 0.5, 0.5, -1.0, 1.0]], dtype=torch.float64)
    row, towards = place(b)
    table = torch.tensor(same(BELIEVED)).reshape(-1)
    z = torch.tensor([[-0.5, -1.2, 0.7, 1.4, 3.0]], dtype=torch.float64, requires_grad=True)  # the first is just empty: t = 0
    found = interpolated(table, row, towards, b, z)
    (slope,) = torch.autograd.grad(found.sum(), z)
    torch.testing.assert_close(slope, torch.ones_like(slope))
