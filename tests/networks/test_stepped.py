"""A dense network with steps in its conditions."""

import torch

from understudy.networks.stepped import Stepped


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_it_is_a_network_with_threshold_functions_of_the_conditions():
    """The slow twin: every step as a number that is 0 below its edge and 1 above."""
    net = Stepped(inputs=4, outputs=2, labels=(2, 4), width=5, steps=8, bound=1.0, rng=generator())
    with torch.no_grad():
        net.steps.normal_(generator=generator(1))
    x = 1.4 * torch.randn(300, 4, generator=generator(2))
    h = x @ net.first.weight.T + net.first.bias
    for j, column in enumerate((2, 3)):
        above = torch.stack([(x[:, column] >= -1 + 0.25 * k) if k else torch.ones(300, dtype=bool) for k in range(8)], 1)
        h = h + above.float() @ net.steps[j]
    (second,) = net.hidden
    h = torch.nn.functional.silu(torch.nn.functional.silu(h) @ second.weight.T + second.bias)
    torch.testing.assert_close(net(x), h @ net.last.weight.T + net.last.bias, atol=1e-5, rtol=1e-5)


def test_what_lies_beyond_belongs_to_the_last_bins():
    net = Stepped(inputs=1, outputs=1, labels=(0, 1), steps=10, bound=2.0)
    assert net.bins(torch.tensor([-9.0, -2.0, -1.5, 0.0, 1.99, 2.0, 50.0])).tolist() == [0, 0, 1, 5, 9, 9, 9]


def test_it_learns_a_step_that_it_was_not_told_of():
    net = Stepped(inputs=1, outputs=1, labels=(0, 1), width=16, steps=64, rng=generator())
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    g = generator(3)
    for _ in range(400):
        x = 4 * torch.rand(512, 1, generator=g) - 2
        optimiser.zero_grad()
        (net(x) - (x > 0.437).float()).square().mean().backward()
        optimiser.step()
    apart = net(torch.tensor([[0.35], [0.53]])).detach().flatten()
    assert abs(float(apart[0])) < 0.1
    assert abs(float(apart[1]) - 1) < 0.1
