"""A likelihood with negative weights stays bounded, and a flow finds the signal under a background."""

import math

import numpy as np
import pytest
import torch

from sweighted import contaminated, pure
from understudy.models.base import Batch
from understudy.models.flow import Flow
from understudy.models.likelihood import EPSILON, WIDTH, floored


def test_nothing_is_changed_without_negative_weights():
    log_prob, x = torch.randn(5), torch.randn(5, 2)
    assert floored(log_prob, x, None) is log_prob
    assert floored(log_prob, x, torch.ones(5)) is log_prob


def test_an_event_of_negative_weight_pays_no_more_below_the_floor():
    x, w = torch.zeros(2, 2), torch.tensor([-1.0, 1.0])
    found = floored(torch.tensor([-1000.0, -1000.0]), x, w)
    assert float(found[0]) == pytest.approx(math.log(EPSILON) - 2 * math.log(WIDTH * math.sqrt(2 * math.pi)))
    assert float(found[1]) == -1000
    high = floored(torch.tensor([1.0, 1.0]), x, w)
    assert float(high[0]) == pytest.approx(1.0, abs=1e-3)


def test_a_flow_with_signed_weights_learns_the_signal():
    rng = np.random.default_rng(1)
    events, clean = contaminated(12_000, rng), pure(12_000, rng)
    w = torch.tensor(events.weights / events.weights.mean(), dtype=torch.float32)
    x, y = torch.tensor(events["x"])[:, None], torch.tensor(events["y"])
    flow = Flow(feature_size=1, response_size=2, transforms=2, hidden=(32,), rng=torch.Generator().manual_seed(2))
    draw, optimiser = torch.Generator().manual_seed(3), torch.optim.Adam(flow.parameters(), 5e-3)
    for _ in range(250):
        rows = torch.randint(len(y), (512,), generator=draw)
        optimiser.zero_grad()
        loss = flow.loss(Batch(y[rows], x[rows], w[rows]), draw)
        loss.backward()
        optimiser.step()
        assert float(loss.detach()) > -20
    with torch.no_grad():
        made = flow.sample(torch.randn(12_000, 2, generator=draw), torch.tensor(clean["x"])[:, None]).numpy()
    assert np.abs(made.mean(0) - clean["y"].mean(0)).max() < 0.35
    assert np.abs(events["y"].mean(0) - clean["y"].mean(0)).max() > 0.7
    assert np.abs(made.std(0) - clean["y"].std(0)).max() < 0.35
