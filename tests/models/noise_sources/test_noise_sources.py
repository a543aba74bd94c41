"""Noise made of training images, and Gaussian noise of another width."""

import numpy as np
import pytest
import torch

from understudy.models.base import Batch
from understudy.models.gan import GAN
from understudy.models.noise_sources.image import ImageNoise
from understudy.registry import factory
from understudy.schema import Block, Schema

SHAPE = (3, 12, 8)
SCHEMA = Schema((Block("label", kind="categorical"),), (Block("image", kind="image", shape=SHAPE),))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(n=600, classes=3):
    label = torch.arange(n) % classes
    x = torch.randn(n, int(np.prod(SHAPE)), generator=generator()) * (0.5 + label[:, None]) + label[:, None]
    return x, torch.nn.functional.one_hot(label, classes).float()


def fitted(size=4):
    x, c = images()
    source = ImageNoise(feature_size=3, image=SHAPE, size=size)
    source.fit(x, c, None)
    return source, x, c


def test_areas_are_averaged_pixel_by_pixel():
    source = ImageNoise(feature_size=3, image=SHAPE, size=5)
    x, _ = images(3)
    found = source.coarse(x).reshape(3, 5, 5)
    picture = x.reshape(3, *SHAPE).mean(1)
    for i, j in np.ndindex(5, 5):  # an area is that of all pixels that it touches
        rows = slice(12 * i // 5, -(-12 * (i + 1) // 5))
        columns = slice(8 * j // 5, -(-8 * (j + 1) // 5))
        torch.testing.assert_close(found[:, i, j], picture[:, rows, columns].mean((1, 2)))


def test_the_noise_of_an_image_is_always_the_same_and_draws_nothing():
    source, x, c = fitted()
    g = generator()
    before = g.get_state()
    first, again = (source.of_batch(Batch(x[:7], c[:7]), g) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(g.get_state(), before)
    assert source.of_batch(Batch(x, c), g).std().item() == pytest.approx(1, rel=1e-5)


def test_what_is_drawn_has_the_mean_and_covariance_of_the_class():
    source, x, c = fitted()
    n, k = 40_000, 2
    label = torch.zeros(n, 3)
    label[:, k] = 1
    drawn = source(torch.randn(n, 16, generator=generator(3)), label).double()
    mine = source.of_batch(Batch(x, c), generator())[c[:, k] == 1].double()
    assert (drawn.mean(0) - mine.mean(0)).abs().max() < 0.03
    others = source.of_batch(Batch(x, c), generator()).double()
    within = sum(torch.cov(others[c[:, j] == 1].T, correction=0) for j in range(3)) / 3
    expected = (200 * torch.cov(mine.T, correction=0) + 16 * within) / 216
    assert (torch.cov(drawn.T) - expected).abs().max() < 0.05 * expected.abs().max()


def test_a_generator_is_trained_on_it_and_sampled_from_normal_noise():
    x, c = images(64)
    small = {"kind": "dense", "layers": 1, "width": 8}
    model = GAN(
        feature_size=3,
        response_size=x.shape[1],
        generator=small,
        critic=small,
        noise_source={"kind": "image", "size": 4},
        schema=SCHEMA,
        rng=generator(),
    )
    model.fit(x, c)
    seen = []
    model.generator.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    batch = Batch(x[:8], c[:8])
    model.generator_loss(batch, generator())
    torch.testing.assert_close(seen[0][:, :16], model.noise_source.of_batch(batch, generator()))
    assert model.noise_size == 16
    assert model.sample(torch.randn(5, 16), c[:5]).shape == (5, x.shape[1])


def test_gaussian_noise_of_another_width():
    source = factory("noise_sources", {"kind": "gaussian", "size": 50, "width": 2.0}, "noise_source")()
    x, c = images()
    assert source.of_batch(Batch(x, c), generator()).std().item() == pytest.approx(2, rel=0.02)
    normal = torch.randn(4, 50)
    assert torch.equal(source(normal, c[:4]), 2 * normal)


def test_what_is_refused():
    x, c = images(20)
    with pytest.raises(ValueError, match="the response is no image; leave out noise_source"):
        ImageNoise(feature_size=3, image=None)
    with pytest.raises(ValueError, match="image noise of 10 x 10 areas needs images as large, not 12 x 8 pixels"):
        ImageNoise(feature_size=3, image=SHAPE)
    source = ImageNoise(feature_size=3, image=SHAPE, size=4)
    with pytest.raises(ValueError, match="is drawn by class; give the model one condition that is a class"):
        source.fit(x, 0.5 * c, None)
    with pytest.raises(ValueError, match="these have different weights"):
        source.fit(x, c, torch.arange(20.0))
