"""Normal scores of DLLs that vanish where the conditions say so."""

import numpy as np
import pytest
import torch

from understudy.references.cherenkov import MASSES, RICH1, RICH2, threshold
from understudy.references.rich import RichSimulator, TrackGun
from understudy.references.rich_calibration import rich_calibration
from understudy.schema import Block, Schema
from understudy.transforms.likelihoods import LogLikelihoods, boxes

SCHEMA = RichSimulator().schema


@pytest.fixture(scope="module")
def tracks():
    rng = np.random.default_rng(1)
    return RichSimulator().simulate(TrackGun().draw(20_000, rng), rng)


def tensors(events):
    return torch.tensor(events["dll"]), {name: torch.tensor(np.asarray(v)) for name, v in events.conditions.items()}


@pytest.fixture(scope="module")
def fitted(tracks):
    return LogLikelihoods(SCHEMA).fit(*tensors(tracks))


def test_scores_are_normal_and_come_back(tracks, fitted):
    x, c = tensors(tracks)
    z = fitted(x, c)
    assert z.mean(0).abs().max() < 0.03
    assert (z.std(0) - 1).abs().max() < 0.03
    off = (fitted.inverse(z, c) - x).abs() > 1e-3 + 1e-5 * x.abs()
    assert off.float().mean() < 1e-4  # a track between the boxes and the edge of the acceptance


def test_columns_of_hypotheses_below_threshold_are_exactly_equal_again(tracks, fitted):
    _, c = tensors(tracks)
    made = fitted.inverse(torch.randn(len(tracks), 5, generator=torch.Generator().manual_seed(2)), c).numpy()
    momentum, eta = (np.asarray(tracks[n], float) for n in ("momentum", "pseudorapidity"))
    for column, species in ((0, 1), (1, 2)):
        dark = np.ones(len(tracks), bool)
        for gas in (RICH1, RICH2):
            dark &= ~gas.sees(eta) | (momentum <= threshold(MASSES[species], gas.index))
        equal = made[:, column] == made[:, 4]
        assert (equal != dark).mean() < 2e-3
    blind = ~RICH1.sees(eta) & ~RICH2.sees(eta)
    assert 0.01 < blind.mean() < 0.2
    assert ((made == 0).all(1) != blind).mean() < 1e-3


def test_small_differences_at_high_momentum_survive(tracks, fitted):
    """DLLmu is a small difference of large numbers there: it is scored as it is."""
    fast = np.asarray(tracks["momentum"]) > 1e5
    x, c = tensors(tracks[fast])
    z = fitted(x, c) + 1e-3
    assert float((fitted.inverse(z, c)[:, 2] - x[:, 2]).abs().median()) < 0.02 * float(x[:, 2].std())


REGRESSED = {"along": "momentum", "nodes": 20, "classes": ("species",), "edges": {"pseudorapidity": (2.8122, 4.382)}}


@pytest.fixture(scope="module")
def regressed(tracks):
    return LogLikelihoods(SCHEMA, knots=32, **REGRESSED).fit(*tensors(tracks))


def test_regressed_scores_are_normal_and_come_back(tracks, regressed):
    x, c = tensors(tracks)
    z = regressed(x, c)
    assert z.mean(0).abs().max() < 0.03
    assert (z.std(0) - 1).abs().max() < 0.03
    off = (regressed.inverse(z, c) - x).abs() > 1e-3 + 1e-5 * x.abs()
    assert off.float().mean() < 1e-4


def test_regressed_ones_obey_the_series_of_fast_tracks(tracks, fitted, regressed):
    """What four DLLs leave of the fifth above 100 GeV is as small with random scores as in the reference; without, it is not."""
    fast = np.asarray(tracks["momentum"]) > 1e5
    _, c = tensors(tracks[fast])
    z = torch.randn(int(fast.sum()), 5, generator=torch.Generator().manual_seed(5))

    def left(dll):
        x = np.concatenate([np.asarray(dll, float), np.ones((len(dll), 1))], 1)
        found = np.linalg.lstsq(x[:, [0, 1, 2, 5]], x[:, 3], rcond=None)[0]
        return np.std(x[:, 3] - x[:, [0, 1, 2, 5]] @ found) / np.std(x[:, 3])

    assert left(tracks["dll"][fast]) < 2e-3
    assert left(regressed.inverse(z, c)) < 2e-2
    assert left(fitted.inverse(z, c)) > 0.3


def test_regressed_columns_below_threshold_are_exactly_equal_again(tracks, regressed):
    _, c = tensors(tracks)
    made = regressed.inverse(torch.randn(len(tracks), 5, generator=torch.Generator().manual_seed(2)), c).numpy()
    real = np.asarray(tracks["dll"])
    for column in (0, 1):
        assert ((made[:, column] == made[:, 4]) != (real[:, column] == real[:, 4])).mean() < 2e-3


def test_a_class_that_was_not_seen_is_answered(tracks, regressed):
    x, c = tensors(tracks[:100])
    c["species"] = torch.full((100,), 7)
    assert bool(regressed.inverse(regressed(x, c), c).isfinite().all())


def test_sweights_make_the_signal_normal():
    events = rich_calibration().generate(20_000, np.random.default_rng(3))
    x, c = tensors(events)
    z = LogLikelihoods(SCHEMA).fit(x, c, torch.tensor(events.weights))(x, c)[np.asarray(events["is_signal"]) == 1]
    assert z.mean(0).abs().max() < 0.06
    assert (z.std(0) - 1).abs().max() < 0.06


def test_boxes_are_found_where_they_are_and_nowhere_else():
    rng = np.random.default_rng(4)
    at = rng.uniform(0, 1, (20_000, 2)).astype(np.float32)
    gone = (at[:, 0] < 0.3) & (at[:, 1] > 0.6) | (at[:, 0] > 0.9)
    low, high = boxes(at, gone)
    assert (((at[:, None] > low) & (at[:, None] <= high)).all(2).any(1) == gone).mean() > 0.999
    assert not np.isfinite(boxes(at, rng.random(20_000) < 0.3)[0]).any()  # at random: no box
    assert not np.isfinite(boxes(at, np.zeros(20_000, bool))[0]).any()
    assert (boxes(at, np.ones(20_000, bool))[0][0] == -np.inf).all()


def test_bad_input(tracks):
    with pytest.raises(ValueError, match="there is no 'DLLx' among DLLk, DLLp"):
        LogLikelihoods(SCHEMA, nothing="DLLx")
    with pytest.raises(ValueError, match="cannot vanish by 'species'; these conditions are numbers: momentum"):
        LogLikelihoods(SCHEMA, boundaries=("species",))
    with pytest.raises(ValueError, match="cannot be regressed by 'species'; these conditions are numbers: momentum"):
        LogLikelihoods(SCHEMA, along="species")
    with pytest.raises(ValueError, match="cannot be regressed by 'momentum'; these conditions are classes: species"):
        LogLikelihoods(SCHEMA, along="momentum", classes=("momentum",))
    with pytest.raises(ValueError, match="cannot be regressed by 'eta'"):
        LogLikelihoods(SCHEMA, along="momentum", edges={"eta": (3.0,)})
    with pytest.raises(ValueError, match="go with a regression 'along' a condition; name it"):
        LogLikelihoods(SCHEMA, classes=("species",))
    x, c = tensors(tracks[:10])
    with pytest.raises(ValueError, match="'momentum', along whose logarithm they are regressed, must be above 0"):
        LogLikelihoods(SCHEMA, along="momentum").fit(x, {**c, "momentum": 0 * c["momentum"]})
    with pytest.raises(ValueError, match="log-likelihoods: the response holds NaN"):
        LogLikelihoods(SCHEMA).fit(x * torch.nan, c)
    with pytest.raises(ValueError, match="there is no 'DLLbt' among y"):
        LogLikelihoods(Schema((Block("momentum"), Block("pseudorapidity")), (Block("y"),)))
