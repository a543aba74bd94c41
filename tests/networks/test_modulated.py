"""A dense network whose hidden neurons the conditions turn up and down."""

import pytest
import torch

from understudy.networks.modulated import Modulated


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def small(**words):
    return Modulated(**({"inputs": 6, "outputs": 2, "noise": 4, "width": 5, "gain_width": 3, "rng": generator()} | words))


def test_forward_against_the_written_out_network():
    net = small()
    x = torch.randn(7, 6, generator=generator(1))
    (w1, b1), (w2, b2) = ((layer.weight, layer.bias) for layer in net.hidden)
    before, _, after = net.gains
    gains = torch.nn.functional.silu(x[:, 4:] @ before.weight.T + before.bias) @ after.weight.T + after.bias

    def leaky(v):
        return torch.where(v > 0, v, 0.2 * v)

    h = leaky(x @ w1.T + b1) * (1 + gains[:, :5])
    h = leaky(h @ w2.T + b2) * (1 + gains[:, 5:])
    torch.testing.assert_close(net(x), h @ net.last.weight.T + net.last.bias)


def test_a_small_factor_of_the_last_layer_lets_the_output_begin_near_zero():
    x = torch.randn(50, 6, generator=generator(1))
    torch.testing.assert_close(small(last=0.01)(x), 0.01 * small()(x))


def test_it_learns_a_product_of_noise_and_conditions():
    net = small(outputs=1, width=16, gain_width=16)
    x = torch.randn(512, 6, generator=generator(2))
    y = (x[:, :1] * x[:, 4:5]) + x[:, 1:2] * x[:, 5:]
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(400):
        optimiser.zero_grad()
        loss = (net(x) - y).square().mean()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.1 * float(y.var())


def test_without_features_it_is_refused():
    with pytest.raises(ValueError, match="of its 4 inputs 4 are noise and none are features; choose 'dense'"):
        small(inputs=4)
