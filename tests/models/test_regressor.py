import pytest
import torch

from understudy.models.base import Batch
from understudy.models.regressor import Embedding, Regressor
from understudy.registry import factory


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def build(**changes):
    words = {"kind": "regressor", "network": {"kind": "dense", "layers": 1, "width": 8}, **changes}
    return factory("models", words, "model")(feature_size=3, response_size=2, rng=generator())


def batch(n=20, weights=None):
    g = generator(1)
    return Batch(torch.randn(n, 2, generator=g), torch.randn(n, 3, generator=g), weights)


def test_the_squared_error_against_its_definition():
    model, b = build(loss="mse"), batch()
    prediction = model.sample(torch.zeros(20, 0), b.conditions).detach()
    expected = sum(float((p - t) @ (p - t)) / 2 for p, t in zip(prediction, b.response, strict=True)) / 20
    assert float(model.loss(b, generator()).detach()) == pytest.approx(expected, rel=1e-5)


def test_the_perceptual_loss_against_its_definition():
    model, b = build(embedding=[5, 4], gain=0.7), batch()
    model.fit(b.response, b.conditions)
    w = model.embedding.state_dict()

    def layers(y):
        first = torch.tanh(y @ w["weight_0"] + w["bias_0"])
        return first, torch.tanh(first @ w["weight_1"] + w["bias_1"])

    prediction = model.sample(torch.zeros(20, 0), b.conditions).detach()
    total = 0.0
    for made, true, other in zip(layers(prediction), layers(b.response), layers(b.response.roll(1, 0)), strict=True):
        total += float((made - true).square().sum() / (true - other).square().sum()) / 2
    assert float(model.loss(b, generator()).detach()) == pytest.approx(total, rel=1e-5)


def test_the_perceptual_distance_is_quadratic_for_small_residuals_and_saturates_for_large_ones():
    embedding = Embedding(2, (64, 64), 1.0, generator())
    at = torch.zeros(1, 2)
    step = torch.tensor([[1.0, 0.0]])
    small = [float(embedding.distance(at, at + d * step)) for d in (1e-3, 2e-3)]
    large = [float(embedding.distance(at, at + d * step)) for d in (50.0, 100.0)]
    assert float(embedding.distance(at, at)) == 0
    assert small[1] == pytest.approx(4 * small[0], rel=0.02)
    assert large[1] < 1.1 * large[0]


def test_the_embedding_is_fixed_and_saved():
    model, b = build(), batch()
    (turn,) = model.turns()
    assert {id(p) for p in turn.parameters} == {id(p) for p in model.parameters()} == {id(p) for p in model.network.parameters()}
    before = {k: v.clone() for k, v in model.embedding.state_dict().items()}
    optimiser = turn.optimiser.build(turn.parameters)
    turn.loss(b, generator()).backward()
    optimiser.step()
    assert all(torch.equal(v, before[k]) for k, v in model.embedding.state_dict().items())
    fresh = build()
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh.embedding.weight_0, model.embedding.weight_0)


def test_a_loss_of_both_is_their_weighted_sum():
    b = batch()
    squared, perceptual, both = (build(**c) for c in ({"loss": "mse"}, {}, {"mse": 0.5}))
    for model in (squared, perceptual, both):
        model.network.load_state_dict(both.network.state_dict())
    losses = [float(m.loss(b, generator()).detach()) for m in (squared, perceptual, both)]
    assert losses[2] == pytest.approx(losses[1] + 0.5 * losses[0], rel=1e-5)


def test_weights_may_cancel():
    model, b = build(), batch(weights=torch.tensor([1.0, -1.0] * 10))
    twin = Batch(b.response[:1].expand(20, 2), b.conditions[:1].expand(20, 3), b.weights)
    assert float(model.loss(twin, generator()).detach()) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"), [({"loss": "percetual"}, "loss"), ({"embedding": []}, "embedding"), ({"gain": 0}, "gain")]
)
def test_wrong_words_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        build(**changes)


def test_it_draws_no_noise():
    assert Regressor(feature_size=3, response_size=2).noise_size == 0
