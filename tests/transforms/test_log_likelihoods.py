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
    x, c = tensors(tracks[:10])
    with pytest.raises(ValueError, match="log-likelihoods: the response holds NaN"):
        LogLikelihoods(SCHEMA).fit(x * torch.nan, c)
    with pytest.raises(ValueError, match="there is no 'DLLbt' among y"):
        LogLikelihoods(Schema((Block("momentum"), Block("pseudorapidity")), (Block("y"),)))
