import math

import pytest
import torch
from torch import nn

from understudy.models.base import Batch, frozen, weighted_mean
from understudy.models.gan import GAN
from understudy.models.objectives.vanilla import Vanilla
from understudy.models.objectives.wasserstein import Wasserstein
from understudy.models.penalties.gradient import GradientPenalty
from understudy.registry import factory


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def paper(**changes):
    dense = {"kind": "dense", "layers": 3, "width": 128}
    spec = {"kind": "gan", "generator": {**dense, "output": "softmax"}, "critic": dense, **changes}
    return factory("models", spec)(feature_size=1, response_size=89, rng=generator())


def batch(n=8, weights=None, d=89):
    g = generator(2)
    return Batch(torch.randn(n, d, generator=g).softmax(1), torch.randn(n, 1, generator=g), weights)


def test_the_papers_network_is_the_default_put_together():
    model = paper()
    assert sum(p.numel() for p in model.generator.parameters()) == 57561
    assert sum(p.numel() for p in model.critic.parameters()) == 44801
    assert model.noise_size == 100
    assert [(t.name, t.repeats) for t in model.turns()] == [("critic", 5), ("generator", 1)]
    assert isinstance(model.objective, Wasserstein)
    assert model.penalty.weight == 10
    assert model.penalty.target == 1
    fractions = model.sample(torch.randn(4, 100, generator=generator()), torch.zeros(4, 1))
    torch.testing.assert_close(fractions.sum(1), torch.ones(4))


def slow_penalty(critic, real, generated, epsilon):
    """Equations 7 to 9 one event at a time."""
    total = 0.0
    for x, y, e in zip(real, generated, epsilon, strict=True):
        at = (e * x + (1 - e) * y).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(critic(at[None]).squeeze(), at)
        total += (math.sqrt(float((gradient**2).sum())) - 1) ** 2
    return 10 * total / len(real)


def test_the_critics_loss_against_equation_seven_written_out():
    model, b = paper(), batch()
    loss = model.critic_loss(b, generator(4)).item()
    g = generator(4)
    noise = torch.randn(8, 100, generator=g)
    epsilon = torch.rand(8, 1, generator=g)
    with torch.no_grad():
        generated = model.generator(torch.cat([noise, b.conditions], 1))
        expected = model.score(generated, b.conditions).mean() - model.score(b.response, b.conditions).mean()
    penalty = 0.0
    for i in range(8):
        rows = slice(i, i + 1)

        def critic(x, rows=rows):
            return model.score(x, b.conditions[rows])

        penalty += slow_penalty(critic, b.response[rows], generated[rows], epsilon[rows]) / 8
    assert loss == pytest.approx(float(expected) + penalty, rel=1e-5)


def test_the_generators_loss_is_minus_the_mean_score_plus_l1_of_the_kernels():
    model, b = paper(l1=1e-5), batch()
    noise = torch.randn(8, 100, generator=generator(4))
    expected = -model.score(model.sample(noise, b.conditions), b.conditions).mean().item()
    kernels = sum(p.abs().sum().item() for name, p in model.generator.named_parameters() if name.endswith("weight"))
    assert model.generator_loss(b, generator(4)).item() == pytest.approx(expected + 1e-5 * kernels, rel=1e-5)


@pytest.mark.parametrize("slope", [0.0, 1.0, 3.0])
def test_the_gradient_penalty_of_a_linear_critic_is_known(slope):
    direction = torch.tensor([0.6, 0.8]) * slope
    penalty = GradientPenalty(weight=2.0)(lambda x: x @ direction, torch.randn(5, 2), torch.randn(5, 2), generator())
    assert float(penalty) == pytest.approx(2 * (slope - 1) ** 2, abs=1e-5)


def test_the_gradient_penalty_has_finite_gradients_where_the_critic_is_flat():
    slope = torch.zeros(2, requires_grad=True)
    GradientPenalty()(lambda x: x @ slope, torch.randn(5, 2), torch.randn(5, 2), generator()).backward()
    assert torch.isfinite(slope.grad).all()


def test_the_gradient_is_taken_of_the_response_and_not_of_the_conditions():
    model, b = paper(), batch()
    steep = 1000 * b.conditions.squeeze(1)
    loss = model.penalty(lambda x: model.score(x, b.conditions), b.response, b.response.flip(0), generator(1))
    with_conditions = model.penalty(lambda x: model.score(x, b.conditions) + steep, b.response, b.response.flip(0), generator(1))
    torch.testing.assert_close(loss, with_conditions)


def test_weights_of_zero_take_events_out_and_negative_ones_count_with_their_sign():
    model = paper(penalty=None)
    full, weights = batch(8), torch.tensor([2.0, 2.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0])
    signed = Batch(full.response, full.conditions, weights - 1)
    plain = Batch(full.response, full.conditions, torch.ones(8))
    losses = [model.critic_loss(b, generator(1)) for b in (Batch(full.response, full.conditions, weights), plain, signed)]
    torch.testing.assert_close(losses[2], losses[0] - losses[1])
    torch.testing.assert_close(losses[1], model.critic_loss(full, generator(1)))


def test_the_weighted_mean_does_not_blow_up_where_weights_cancel():
    assert float(weighted_mean(torch.tensor([3.0, 1.0]), torch.tensor([1.0, -1.0]))) == pytest.approx(1.0)


def test_a_critic_that_knows_nothing_gives_the_vanilla_losses_their_fixed_point():
    zeros = torch.zeros(6)
    assert float(Vanilla().critic(zeros, zeros, None)) == pytest.approx(2 * math.log(2))
    assert float(Vanilla().generator(zeros, None)) == pytest.approx(math.log(2))


def test_the_vanilla_losses_against_their_definition():
    real, fake = torch.randn(9, generator=generator(1)), torch.randn(9, generator=generator(2))
    expected = -(torch.sigmoid(real).log() + (1 - torch.sigmoid(fake)).log()).mean()
    torch.testing.assert_close(Vanilla().critic(real, fake, None), expected)
    torch.testing.assert_close(Vanilla().generator(fake, None), -torch.sigmoid(fake).log().mean())


def test_frozen_gives_back_what_it_took_even_after_an_error():
    net = nn.Linear(2, 1)
    net.bias.requires_grad_(False)

    def fails():
        with frozen(net):
            assert not net.weight.requires_grad
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fails()
    assert net.weight.requires_grad
    assert not net.bias.requires_grad


def test_parts_may_be_named_in_python_too():
    model = GAN(feature_size=2, response_size=3, critic={"kind": "dense", "width": 4}, objective="vanilla", penalty=None)
    assert isinstance(model.objective, Vanilla)
    assert model.penalty is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "waserstein"}, "model.objective.*no kind 'waserstein'.*did you mean 'wasserstein'"),
        ({"penalty": {"kind": "gradient", "weight": -1}}, "model.penalty.*weight"),
        ({"critic_steps": 0}, "critic_steps"),
        ({"critic_optimiser": {"learning_rate": 1}}, "critic_optimiser"),
    ],
)
def test_wrong_recipe_words_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        factory("models", {"kind": "gan", **changes}, "model")
