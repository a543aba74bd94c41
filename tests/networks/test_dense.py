import math

import pytest
import torch
from torch import nn

from understudy.networks.dense import Dense
from understudy.registry import factory


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_the_papers_generator_and_critic_have_the_parameters_of_their_layers():
    def linear(a, b):
        return a * b + b

    assert parameters(Dense(inputs=101, outputs=89)) == linear(101, 128) + 2 * linear(128, 128) + linear(128, 89) == 57561
    assert parameters(Dense(inputs=90, outputs=1)) == linear(90, 128) + 2 * linear(128, 128) + linear(128, 1) == 44801


def test_forward_against_the_written_out_network():
    net = Dense(inputs=3, outputs=2, layers=2, width=5, slope=0.3, output="softmax", rng=generator())
    (w1, b1, w2, b2, w3, b3) = [p.detach() for p in net.parameters()]
    x = torch.randn(7, 3, generator=generator(1))

    def leaky(v):
        return torch.where(v > 0, v, 0.3 * v)

    y = leaky(leaky(x @ w1.T + b1) @ w2.T + b2) @ w3.T + b3
    expected = y.exp() / y.exp().sum(1, keepdim=True)
    torch.testing.assert_close(net(x), expected)


@pytest.mark.parametrize(("init", "bound"), [("glorot-uniform", math.sqrt(6 / 500)), ("he-uniform", math.sqrt(6 / 200))])
def test_initial_weights_are_uniform_within_their_bound_and_biases_zero(init, bound):
    weight, bias = (p.detach() for p in Dense(inputs=200, outputs=300, layers=0, init=init, rng=generator()).parameters())
    assert float(weight.abs().max()) <= bound * (1 + 1e-6)
    assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=0.01)
    assert not bias.any()


def test_weights_come_from_the_generator_alone():
    before = torch.get_rng_state()
    a, b = (Dense(inputs=4, outputs=2, rng=generator(3)).state_dict() for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize(
    ("output", "holds"),
    [
        ("softmax", lambda y: torch.allclose(y.sum(1), torch.ones(len(y))) and bool((y >= 0).all())),
        ("sigmoid", lambda y: bool(((y > 0) & (y < 1)).all())),
        ("softplus", lambda y: bool((y > 0).all())),
        ("relu", lambda y: bool((y >= 0).all())),
        ("tanh", lambda y: bool((y.abs() < 1).all())),
        ("linear", lambda y: bool((y < 0).any())),
    ],
)
def test_outputs_lie_where_they_should(output, holds):
    assert holds(Dense(inputs=4, outputs=6, width=8, output=output, rng=generator())(torch.randn(50, 4, generator=generator(1))))


@pytest.mark.parametrize("activation", ["leaky-relu", "relu", "elu", "silu", "gelu", "tanh"])
def test_every_activation_and_layer_norm_build_and_are_finite(activation):
    net = Dense(inputs=4, outputs=3, layers=2, width=8, activation=activation, layer_norm=True, rng=generator())
    assert torch.isfinite(net(100 * torch.randn(5, 4, generator=generator(1)))).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"activation": "leeky"}, "activation"),
        ({"width": 0}, "width"),
        ({"layers": -1}, "layers"),
        ({"output": "soft"}, "output"),
        ({"with": 3}, "unknown key 'with'.*did you mean 'width'"),
    ],
)
def test_wrong_recipe_words_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        factory("networks", {"kind": "dense", **arguments}, "model.generator")


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_small_fractions_are_as_precise_as_the_hidden_layers(output):
    network = Dense(inputs=8, outputs=40, output=output, rng=torch.Generator().manual_seed(2)).eval()
    with torch.no_grad():
        network.layers[-2].weight *= 30  # outputs between 1 and 1e-20
    twin = Dense(inputs=8, outputs=40, output=output).double().eval()
    twin.load_state_dict(network.state_dict())
    x = torch.randn(500, 8, generator=torch.Generator().manual_seed(0))
    ours, exact = network(x), twin(x.double())
    assert ours.dtype == torch.float32
    kept = (exact > 1e-12) & (exact < 1e-3)
    assert kept.sum() > 100
    assert ((ours - exact).abs() / exact)[kept].max() < 1e-5
    rounded = nn.functional.linear(network.layers[:-2](x), network.layers[-2].weight)
    single = rounded.softmax(-1) if output == "softmax" else rounded.sigmoid()
    assert ((single - exact).abs() / exact)[kept].max() > ((ours - exact).abs() / exact)[kept].max()


def test_training_stays_in_single_precision():
    network = Dense(inputs=4, outputs=5, output="softmax")
    seen = []
    network.layers[-2].register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    network(torch.randn(3, 4))
    network.eval()(torch.randn(3, 4))
    assert seen == [torch.float32, torch.float64]


def test_a_small_factor_of_the_last_layer_lets_the_output_begin_near_zero():
    x = torch.randn(50, 3, generator=generator(1))
    words = {"inputs": 3, "outputs": 2, "layers": 2, "width": 8}
    whole, small = (Dense(**words, last=factor, rng=generator()) for factor in (1.0, 0.01))
    torch.testing.assert_close(small(x), 0.01 * whole(x))
