"""Networks from image to image: the thesis' layers, what they see, and options."""

import pytest
import torch
from torch import nn

from understudy.geometry import Calorimeter, Layer, builtin
from understudy.networks.images import REFERENCE, convolved
from understudy.networks.minibatch import MinibatchDiscrimination
from understudy.networks.normalisation import VirtualBatchNorm, looks_at_the_batch
from understudy.registry import factory

HCAL = builtin("lhcb-hcal")
TOY = Calorimeter("toy", (Layer.grid("one", (5, 7), (1.0, 1.0), (0.0, 0.0)),))
N = TOY.n_cells


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def network(kind, inputs, outputs, geometry=TOY, noise=0, **words):
    return factory("networks", {"kind": kind, **words})(
        inputs=inputs, outputs=outputs, noise=noise, geometry=geometry, rng=generator()
    )


@pytest.mark.parametrize(("residual", "count"), [(False, 2_266_490), (True, 2_815_546)])
def test_the_generators_of_the_thesis_have_their_parameters(residual, count):
    net = network("u-net", 64 + HCAL.n_cells, HCAL.n_cells, HCAL, noise=64, residual=residual)
    assert parameters(net) == count  # the table of the second gives its first batch norm 256 in place of 128
    assert net.grid.full == (64, 64)


def test_the_encoder_and_the_discriminator_of_the_thesis_have_their_parameters():
    assert parameters(network("image-encoder", HCAL.n_cells, 64, HCAL)) == 601_344
    critic = network("vgg", 2 * HCAL.n_cells, 1, HCAL)
    assert parameters(critic) == 672_929
    assert critic(torch.zeros(2, 2 * HCAL.n_cells)).shape == (2, 4)


@pytest.mark.parametrize("norm", ["batch", "virtual-batch", "none"])
@pytest.mark.parametrize("residual", [False, True])
def test_a_generator_sees_noise_and_image_and_answers_event_by_event(norm, residual):
    net = network("u-net", 3 + N, N, noise=3, width=8, norm=norm, residual=residual, dropout=0.2)
    x = torch.randn(6, 3 + N, generator=generator(1))
    assert net(x).shape == (6, N)  # in training; fills running statistics and the reference batch
    net.eval()
    made = net(x)
    assert ((made > 0) & (made < 1)).all()
    torch.testing.assert_close(net(x[2:3]), made[2:3])
    for columns in (slice(0, 3), slice(3, 3 + N)):
        other = x.clone()
        other[:, columns] = 0
        assert not torch.equal(net(other), made)


def test_a_critic_judges_quarters_or_the_whole():
    assert network("vgg", 2 * N + 1, 1, width=4)(torch.randn(3, 2 * N + 1)).shape == (3, 1)
    assert network("vgg", 2 * N, 1, width=4, patches=False, minibatch=3, dropout=0.1)(torch.randn(3, 2 * N)).shape == (3, 1)


def test_an_encoder_takes_further_numbers_along():
    net = network("image-encoder", N + 2, 6, width=2).eval()
    x = torch.randn(3, N + 2, generator=generator(1))
    other = x.clone()
    other[:, -1] += 1
    assert net(x).shape == (3, 6)
    assert not torch.equal(net(x), net(other))


def slow_likeness(features, tensor, kernels, size):
    """Section 3.2 of Salimans et al., one pair of events at a time."""
    m = (features @ tensor.T).reshape(len(features), kernels, size)
    o = torch.zeros(len(features), kernels)
    for i in range(len(features)):
        for j in range(len(features)):
            for b in range(kernels):
                if i != j:
                    o[i, b] += torch.exp(-(m[i, b] - m[j, b]).abs().sum()) / (len(features) - 1)
    return o


def test_minibatch_discrimination_against_its_definition():
    layer = MinibatchDiscrimination(4, 3, 2, generator())
    x = torch.randn(5, 4, generator=generator(1))
    torch.testing.assert_close(layer(x), slow_likeness(x, layer.tensor.weight.detach(), 3, 2))
    torch.testing.assert_close(layer(x[:1].repeat(4, 1)), torch.ones(4, 3))  # the same event again and again
    torch.testing.assert_close(layer(x[:1]), torch.zeros(1, 3))


def test_any_critic_may_be_shown_the_likeness_of_its_batch():
    net = network("minibatch", 4, 1, network={"kind": "dense", "layers": 1, "width": 8}, kernels=2)
    x = torch.randn(5, 4, generator=generator(1))
    assert net(x).shape == (5, 1)
    assert not torch.allclose(net(x)[:1], net(x[:1]))
    assert looks_at_the_batch(net)
    assert not looks_at_the_batch(nn.Linear(2, 1))


def test_virtual_batch_normalisation_uses_the_reference_batch_and_the_event_alone():
    layer = VirtualBatchNorm(2, reference=3).train()
    x = torch.randn(5, 2, 3, 4, generator=generator(1))
    found = layer(x)
    first, event = x[:3], x[4]
    for c in range(2):
        mean = (event[c].mean() + 3 * first[:, c].mean()) / 4
        square = (event[c].square().mean() + 3 * first[:, c].square().mean()) / 4
        expected = (event[c] - mean) / (square - mean**2 + 1e-5).sqrt()
        torch.testing.assert_close(found[4, c], expected)
    torch.testing.assert_close(layer.eval()(x), found)


def test_the_reference_batch_is_the_first_one_and_stays():
    net = network("vgg", 2 * N, 1, width=4, norm="virtual-batch")
    first, second = torch.randn(2, 40, 2 * N, generator=generator(1))
    net(first)
    net(second)
    torch.testing.assert_close(net.reference, first[:REFERENCE])
    torch.testing.assert_close(net(second)[:3], net(second[:3]))


def test_weights_are_drawn_from_the_given_generator_alone():
    before = torch.get_rng_state()
    a, b = (network("u-net", 3 + N, N, noise=3, width=8).state_dict() for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize(
    ("kind", "inputs", "outputs", "geometry", "message"),
    [
        ("u-net", 3 + N, N + 1, TOY, "makes the 35 cells of its geometry, but 36 numbers are asked for"),
        ("u-net", 3 + N - 1, N, TOY, "works on images of 35 cells, but is given 34 numbers besides 3 of noise"),
        ("vgg", N, 1, None, "needs to know where the cells of an image sit"),
        ("image-encoder", N, 1, builtin("atlas-em-89"), "needs layers of one shape"),
    ],
)
def test_what_is_no_image_is_refused(kind, inputs, outputs, geometry, message):
    with pytest.raises(ValueError, match=message):
        network(kind, inputs, outputs, geometry, noise=3 if kind == "u-net" else 0)


@pytest.mark.parametrize(("stride", "pad"), [(1, (0, 0, 0, 0)), (2, (1, 1, 1, 1)), (1, (1, 2, 1, 2))])
def test_numbers_are_convolved_as_channels_that_are_the_same_everywhere(stride, pad):
    torch.manual_seed(3)
    layer = torch.nn.Conv2d(5, 4, 4, stride=stride, padding=1)
    images, numbers = torch.randn(6, 2, 8, 12), torch.randn(6, 3)
    whole = torch.cat([images, numbers[:, :, None, None].expand(-1, -1, 8, 12)], dim=1)
    expected = layer(torch.nn.functional.pad(whole, pad))
    torch.testing.assert_close(convolved(layer, images, numbers, pad), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(convolved(torch.nn.Conv2d(2, 4, 3), images, numbers[:, :0]).shape, torch.Size((6, 4, 6, 10)))
    found, truth = (
        torch.autograd.grad(made.square().sum(), layer.weight)[0] for made in (convolved(layer, images, numbers, pad), expected)
    )
    torch.testing.assert_close(found, truth, atol=1e-3, rtol=1e-4)


def test_a_u_net_starts_near_a_number_where_it_is_told_to():
    net = network("u-net", 4 + N, N, noise=4, width=8, start=0.1)
    made = net.eval()(torch.randn(20, 4 + N, generator=generator(1))).detach()
    assert 0.05 < float(made.mean()) < 0.2
    assert float(made.std()) > 0
    assert 0.4 < float(network("u-net", 4 + N, N, noise=4, width=8).eval()(torch.randn(20, 4 + N)).detach().mean()) < 0.6
    with pytest.raises(ValueError, match="starts near a number with a sigmoid alone, not with 'linear'"):
        network("u-net", 4 + N, N, noise=4, output="linear", start=0.1)
