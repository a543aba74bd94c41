import math

import pytest
import torch

from understudy.models import library
from understudy.models.library import Library


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def filled(n=500, c=2, k=5, weights=None, **more):
    model = Library(feature_size=c, response_size=1, neighbours=k, **more)
    model.fit(torch.arange(n, dtype=torch.float32)[:, None], torch.randn(n, c, generator=generator()), weights)
    return model


def slow_sample(model, noise, conditions):
    """One event at a time: sort the distances, then walk along the neighbours' weights."""
    drawn = []
    for z, c in zip(noise[:, 0].tolist(), conditions, strict=True):
        distances = ((model.features.double() - c.double()) ** 2).sum(1)
        near = torch.argsort(distances)[: model.neighbours].tolist()
        weights = [float(model.weights[i]) for i in near]
        left = 0.5 * (1 + math.erf(z / math.sqrt(2))) * sum(weights)
        for i, w in zip(near, weights, strict=True):
            chosen = i
            left -= w
            if left < 0:
                break
        drawn.append(float(model.responses[chosen, 0]))
    return torch.tensor(drawn)[:, None]


@pytest.mark.parametrize("k", [1, 2, 7])
@pytest.mark.parametrize("block", [64, 4096])
def test_draws_against_a_slow_search(monkeypatch, k, block):
    monkeypatch.setattr(library, "BLOCK", block)
    model = filled(k=k, weights=torch.rand(500, generator=generator(5)) + 0.1)
    noise, conditions = torch.randn(200, 1, generator=generator(6)), torch.randn(200, 2, generator=generator(7))
    assert torch.equal(model.sample(noise, conditions), slow_sample(model, noise, conditions))


def test_close_neighbours_far_from_the_origin_are_told_apart():
    features = 1000 + torch.arange(100, dtype=torch.float32)[:, None] * 1e-3
    model = Library(feature_size=1, response_size=1, neighbours=1)
    model.fit(torch.arange(100.0)[:, None], features)
    torch.testing.assert_close(model.sample(torch.zeros(100, 1), features), torch.arange(100.0)[:, None])


def test_neighbours_are_drawn_in_proportion_to_their_weights():
    model = Library(feature_size=1, response_size=1, neighbours=3)
    model.fit(
        torch.tensor([[0.0], [1.0], [2.0], [3.0]]),
        torch.tensor([[0.0], [1.0], [2.0], [50.0]]),
        torch.tensor([1.0, 2.0, 5.0, 9.0]),
    )
    drawn = model.sample(torch.randn(40000, 1, generator=generator()), torch.zeros(40000, 1)).squeeze(1)
    shares = torch.bincount(drawn.long(), minlength=4) / 40000
    torch.testing.assert_close(shares, torch.tensor([1.0, 2.0, 5.0, 0.0]) / 8, atol=0.01, rtol=0)


def test_extreme_noise_still_draws_a_neighbour():
    model = filled(k=4)
    noise = torch.tensor([[-40.0], [40.0], [9.0]])
    assert torch.isfinite(model.sample(noise, torch.zeros(3, 2))).all()


def test_events_without_positive_weight_are_left_out_with_a_warning():
    weights = torch.ones(10)
    weights[:3] = torch.tensor([-1.0, 0.0, -2.0])
    with pytest.warns(UserWarning, match="leaves out 3 of 10 events"):
        model = filled(10, weights=weights)
    assert sorted(model.responses[:, 0].tolist()) == list(range(3, 10))


def test_no_positive_weight_is_an_error():
    with pytest.raises(ValueError, match="no event of the training split has a positive weight"):
        filled(4, weights=-torch.ones(4))


def test_capacity_keeps_evenly_spaced_events():
    model = filled(1000, capacity=100)
    assert len(model.responses) == 100
    assert int(model.responses[:, 0].diff().min()) >= 10


def test_an_empty_library_says_so():
    with pytest.raises(RuntimeError, match="the shower library is empty"):
        Library(feature_size=1, response_size=1).sample(torch.zeros(1, 1), torch.zeros(1, 1))


def test_a_filled_library_may_be_replaced_by_one_of_another_size():
    small, large = filled(20), filled(300)
    small.load_state_dict(large.state_dict())
    assert torch.equal(small.responses, large.responses)


def test_fewer_stored_events_than_neighbours_is_no_error():
    assert filled(3, k=10).sample(torch.zeros(2, 1), torch.zeros(2, 2)).shape == (2, 1)
