"""The energy distance of the Cramer GAN against closed forms, and that signed weights leave it unbiased."""

import math

import numpy as np
import pytest
import torch
from scipy import special

from sweighted import contaminated, pure, signal
from understudy.models.base import Batch, Optimiser
from understudy.models.gan import GAN
from understudy.models.objectives.cramer import Cramer, energy_distance
from understudy.registry import factory

SMALL = {"kind": "dense", "layers": 2, "width": 32, "activation": "relu"}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(n, d, seed, shift=0.0):
    return torch.randn(n, d, generator=generator(seed), dtype=torch.float64) + shift


def slow(x, y, w):
    """Pair by pair, as the equation."""
    n, found = len(x), 0.0
    for i in range(n):
        for j in range(n):
            if i != j:
                far, own, others = ((a[i] - b[j]).norm() for a, b in ((x, y), (x, x), (y, y)))
                found += float(w[i] * w[j] * (2 * far - own - others)) / (n * (n - 1))
    return found


def test_it_is_the_sum_over_pairs():
    x, y, w = normal(7, 3, 1), normal(7, 3, 2), torch.randn(7, generator=generator(3), dtype=torch.float64)
    assert float(energy_distance(x, y, w)) == pytest.approx(slow(x, y, w), rel=1e-5)
    assert float(energy_distance(x, y)) == pytest.approx(slow(x, y, torch.ones(7)), rel=1e-5)


@pytest.mark.parametrize("d", [1, 4])
def test_of_two_normal_samples_it_is_the_closed_form(d):
    """E|Z| of a normal Z with variance 2 and mean m is 2 Gamma((d + 1)/2) / Gamma(d/2) * 1F1(-1/2, d/2, -m^2/4)."""
    shift = 1.5

    def mean_length(m):
        return 2 * math.gamma((d + 1) / 2) / math.gamma(d / 2) * special.hyp1f1(-0.5, d / 2, -(m**2) / 4)

    expected = 2 * (mean_length(shift * math.sqrt(d)) - mean_length(0.0))
    assert float(energy_distance(normal(1000, d, 4), normal(1000, d, 5, shift))) == pytest.approx(expected, rel=0.15)
    found = [float(energy_distance(normal(50, d, 10 + k), normal(50, d, 9000 + k, shift))) for k in range(200)]
    assert np.mean(found) == pytest.approx(expected, abs=4 * np.std(found) / math.sqrt(200))


def test_equal_distributions_are_at_zero_on_average_however_small_the_batch():
    found = [float(energy_distance(normal(4, 2, k), normal(4, 2, 7000 + k))) for k in range(2000)]
    assert np.mean(found) == pytest.approx(0, abs=4 * np.std(found) / math.sqrt(2000))


def test_with_sweights_it_is_unbiased_over_batches():
    """Batches of a contaminated sample against a wrong generator: the mean is the distance from the pure signal."""
    rng = np.random.default_rng(6)
    events, clean = contaminated(40_000, rng), pure(40_000, rng)
    w = torch.tensor(events.weights / events.weights.mean())

    def pieces(events):
        x = np.asarray(events["x"], float)
        real, made = np.asarray(events["y"], float), signal(x, rng) + np.array([0.7, 0.0])
        return (torch.tensor(np.column_stack([part, x])) for part in (real, made))

    real, made = pieces(events)
    expected = float(np.mean([float(energy_distance(a, b)) for a, b in zip(*(p.split(500) for p in pieces(clean)), strict=True)]))
    found = [float(energy_distance(a, b, c)) for a, b, c in zip(real.split(60), made.split(60), w.split(60), strict=True)]
    error = np.std(found) / math.sqrt(len(found))
    assert np.mean(found) == pytest.approx(expected, abs=4 * error)
    assert error < 0.15 * expected
    divided = [f / float(c.mean()) ** 2 for f, c in zip(found, w.split(60), strict=True)]
    assert abs(np.mean(divided) - expected) > abs(np.mean(found) - expected)  # each batch by its own sum is biased
    bare = [float(energy_distance(a, b)) for a, b in zip(real.split(60), made.split(60), strict=True)]
    assert np.mean(bare) > 1.5 * expected


def test_the_witness_is_that_of_the_paper():
    scores, made = torch.tensor([[3.0, 4.0], [0.0, 1.0]]), torch.tensor([[0.0, 0.0], [3.0, 0.0]])
    found = Cramer(2, form="joint").witness(scores, made)
    assert found.tolist() == pytest.approx([4.0 - 5.0, 1.0 - 1.0], abs=1e-5)
    found = Cramer(2).witness(scores, torch.cat([torch.zeros(2, 2), made]))
    assert found.tolist() == pytest.approx([5.0 - 5.0, math.sqrt(10) - 1.0], abs=1e-5)


def test_the_conditional_form_is_the_energy_distance_at_each_condition():
    """Its generator's loss, averaged over batches, against the distances of points one by one, and the critic's beside it."""
    x, y = normal(6, 3, 1), normal(12, 3, 2)
    w = torch.randn(6, generator=generator(3), dtype=torch.float64)
    game = Cramer(3)
    expected = sum(float(w[i] * ((x[i] - y[i]).norm() + (x[i] - y[6 + i]).norm() - (y[i] - y[6 + i]).norm())) for i in range(6))
    assert float(game.against(x, y, w)) == pytest.approx(expected / 6, rel=1e-6)
    told = sum(float(w[i] * ((x[i] - y[6 + i]).norm() - x[i].norm() - (y[i] - y[6 + i]).norm() + y[i].norm())) for i in range(6))
    assert float(game.critic(x, y, w)) == pytest.approx(-told / 6, rel=1e-6)


def test_the_conditional_form_is_unbiased_with_sweights():
    rng = np.random.default_rng(6)
    game, found = Cramer(2), {}
    for name, events in (
        ("weighted", contaminated(40_000, rng)),
        ("pure", pure(40_000, rng)),
        ("bare", contaminated(40_000, rng)),
    ):
        x = np.asarray(events["x"], float)
        made = torch.tensor(np.concatenate([signal(x, rng) + np.array([0.7, 0.0]) for _ in range(2)]))
        w = torch.tensor(events.weights / events.weights.mean()) if name == "weighted" else torch.ones(len(x))
        real = torch.tensor(np.asarray(events["y"], float))
        rows = torch.arange(len(x)).split(100)
        each = [float(game.against(real[r], made[torch.cat([r, r + len(x)])], w[r])) for r in rows]
        found[name] = np.mean(each), np.std(each) / math.sqrt(len(each))
    assert found["weighted"][0] == pytest.approx(found["pure"][0], abs=4 * found["weighted"][1])
    assert found["bare"][0] > found["pure"][0] + 10 * found["bare"][1]


def gan(critic_steps=3, dimension=16, form="conditional"):
    return GAN(
        feature_size=1,
        response_size=2,
        generator=SMALL,
        critic=SMALL,
        objective={"kind": "cramer", "dimension": dimension, "form": form},
        noise=4,
        critic_steps=critic_steps,
        generator_optimiser=Optimiser(lr=1e-3),
        critic_optimiser=Optimiser(lr=1e-3),
        rng=generator(1),
    )


def test_the_critic_gives_vectors_and_the_generators_turn_leaves_it_alone():
    model, x = gan(), normal(32, 2, 7).float()
    batch = Batch(x, torch.zeros(32, 1), torch.ones(32))
    assert model.score(x, batch.conditions).shape == (32, 16)
    turns = {turn.name: turn for turn in model.turns()}
    turns["generator"].loss(batch, generator(2)).backward()
    assert all(p.grad is None for p in model.critic.parameters())
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.generator.parameters())
    value = turns["critic"].loss(batch, generator(2))
    value.backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.critic.parameters())


def loss_at(model, batch, parameter, step):
    parameter.data += step
    value = float(model.critic_loss(batch, generator(2)).detach())
    parameter.data -= step
    return value


@pytest.mark.parametrize("form", ["conditional", "joint"])
def test_the_critics_gradient_is_that_of_its_loss(form):
    """By finite differences: none of the ways by which the parameters reach the penalty is cut."""
    model = gan(critic_steps=1, form=form)
    model.critic = factory("networks", SMALL | {"activation": "silu"})(inputs=3, outputs=16, rng=generator(1))
    model.double()
    batch = Batch(normal(16, 2, 7), normal(16, 1, 8), normal(16, 1, 9)[:, 0])
    parameters = list(model.critic.parameters())
    slopes = torch.autograd.grad(model.critic_loss(batch, generator(2)), parameters)
    for p, slope in zip(parameters, slopes, strict=True):
        way = torch.randn(p.shape, generator=generator(3), dtype=p.dtype)
        ahead, behind = (loss_at(model, batch, p, step * way) for step in (1e-5, -1e-5))
        assert (ahead - behind) / 2e-5 == pytest.approx(float((slope * way).sum()), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("form", ["conditional", "joint"])
def test_it_learns_the_signal_under_a_background(form):
    rng = np.random.default_rng(8)
    events = contaminated(20_000, rng)
    batch = Batch(
        torch.tensor(events["y"]),
        torch.tensor(events["x"])[:, None],
        torch.tensor(events.weights / events.weights.mean(), dtype=torch.float32),
    )
    model, draw = gan(form=form), generator(3)
    turns = [(turn, turn.optimiser.build(turn.parameters)) for turn in model.turns()]
    for _ in range(200):
        for turn, optimiser in turns:
            for _ in range(turn.repeats):
                rows = torch.randint(len(events), (128,), generator=draw)
                optimiser.zero_grad()
                turn.loss(Batch(batch.response[rows], batch.conditions[rows], batch.weights[rows]), draw).backward()
                optimiser.step()
    clean = pure(20_000, rng)
    with torch.no_grad():
        made = model.sample(torch.randn(20_000, 4, generator=draw), torch.tensor(clean["x"])[:, None]).numpy()
    assert np.abs(made.mean(0) - clean["y"].mean(0)).max() < 0.25
    assert np.abs(events["y"].mean(0) - clean["y"].mean(0)).max() > 0.7  # what it would learn without the weights


def test_a_batch_of_one_event_is_refused():
    with pytest.raises(ValueError, match="give batches of 2 or more events, not 1"):
        energy_distance(torch.zeros(1, 2), torch.zeros(1, 2))


@pytest.mark.parametrize("odd", [{"random_labels": 0.1}, {"feature_matching": 1.0}])
def test_labels_and_feature_matching_do_not_go_with_pairs(odd):
    with pytest.raises(ValueError, match="knows neither labels nor feature matching"):
        GAN(feature_size=1, response_size=2, objective="cramer", **odd)
