"""The probability to be detected: proper, weighted, drawn as often as it says."""

import torch

from understudy.models.base import Batch
from understudy.models.detection import Detection


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def known(n=20_000, chance=None):
    features = torch.rand(n, 1, generator=generator(1)) * 2 - 1
    chance = torch.where(features[:, :1] > 0, 0.9, 0.3) if chance is None else chance
    return Batch((torch.rand(n, 1, generator=generator(2)) < chance).float(), features)


def taught(data, rounds=300):
    model = Detection(feature_size=1, rng=generator(3))
    optimiser, g = torch.optim.Adam(model.parameters(), 1e-2), generator(4)
    for _ in range(rounds):
        rows = torch.randint(len(data), (512,), generator=g)
        weights = None if data.weights is None else data.weights[rows]
        optimiser.zero_grad()
        model.loss(Batch(data.response[rows], data.conditions[rows], weights), generator()).backward()
        optimiser.step()
    return model.eval().requires_grad_(False)


def test_it_learns_a_probability_and_draws_as_often():
    model = taught(known())
    features = torch.tensor([[-0.5], [0.5]])
    chance = model.probability(features)
    torch.testing.assert_close(chance, torch.tensor([0.3, 0.9]), atol=0.04, rtol=0)
    n = 50_000
    drawn = model.sample(torch.randn(n, 1, generator=generator(5)), features[:1].expand(n, 1))
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert abs(float(drawn.mean()) - float(chance[0])) < 4 * 0.5 / n**0.5


def test_loss_against_its_formula_and_its_optimum():
    model, data = Detection(feature_size=1, rng=generator(1)), known(100)
    p, y = model.probability(data.conditions), data.response[:, 0]
    weights = torch.linspace(-1, 3, 100)
    expected = -(weights * (y * p.log() + (1 - y) * (1 - p).log())).mean()
    torch.testing.assert_close(model.loss(Batch(data.response, data.conditions, weights), generator()), expected)
    assert torch.equal(model.misfit(data, generator()), model.loss(data, generator()))


def test_weights_of_either_sign_subtract_a_background():
    """Signal is found with 0.8; a background that is never found is among it, and once more with negative weights."""
    signal, lost = known(20_000, torch.tensor(0.8)), torch.zeros(20_000, 1)
    both = Batch(
        torch.cat([signal.response, lost, lost]),
        torch.cat([signal.conditions] * 3),
        torch.cat([torch.ones(40_000), -torch.ones(20_000)]) * 3,
    )
    assert abs(float(taught(both, 500).probability(torch.zeros(1, 1))) - 0.8) < 0.08


def test_the_same_noise_gives_fewer_where_the_probability_is_lower():
    model = Detection(feature_size=1, network={"kind": "dense", "layers": 0}, rng=generator(1))
    with torch.no_grad():
        model.network.layers[0].weight.fill_(1.0)
    noise = torch.zeros(1, 1)  # the middle of its distribution
    assert model.drawn(noise, torch.tensor([[-1e-3]]))[1].item() == 0
    assert model.drawn(noise, torch.tensor([[1e-3]]))[1].item() == 1
