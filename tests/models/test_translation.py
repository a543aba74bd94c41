"""Pix2Pix, VAE, VAE-GAN, cLR-GAN and BicycleGAN: their terms against formulae, and who learns from what."""

import math

import pytest
import torch
from torch.nn.functional import softplus

from understudy.geometry import Calorimeter, Layer
from understudy.models.base import Batch
from understudy.models.translation import divergence, reparametrised
from understudy.registry import factory

DENSE = {"kind": "dense", "layers": 1, "width": 8}
FAMILIES = {
    "pix2pix": {"generator": DENSE, "discriminator": DENSE},
    "vae": {"generator": DENSE, "encoder": DENSE},
    "vae-gan": {"generator": DENSE, "encoder": DENSE, "discriminator": DENSE},
    "clr-gan": {"generator": DENSE, "encoder": DENSE, "discriminator": DENSE},
    "bicycle-gan": {"generator": DENSE, "encoder": DENSE, "discriminator": DENSE},
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def build(kind, **words):
    return factory("models", {"kind": kind, "noise": 2, **FAMILIES[kind], **words}, "model")(
        feature_size=2, response_size=3, rng=generator()
    )


def batch(n=6, weights=None):
    g = generator(5)
    return Batch(torch.randn(n, 3, generator=g), torch.randn(n, 2, generator=g), weights)


def noise(n=6, seed=9):
    return torch.randn(n, 2, generator=generator(seed))


def test_the_divergence_against_its_closed_form_and_an_integral():
    mean, log_variance = torch.tensor([[0.3, -1.0]]), torch.tensor([[0.5, -0.7]])
    s = [math.exp(0.25), math.exp(-0.35)]
    closed = sum(0.5 * (m * m + v * v - 1) - math.log(v) for m, v in zip((0.3, -1.0), s, strict=True))
    assert float(divergence(mean, log_variance)) == pytest.approx(closed, rel=1e-6)
    x = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    q = torch.distributions.Normal(0.3, s[0])
    integral = torch.trapezoid(q.log_prob(x).exp() * (q.log_prob(x) - torch.distributions.Normal(0.0, 1.0).log_prob(x)), x)
    one = float(divergence(mean[:, :1], log_variance[:, :1]))
    assert one == pytest.approx(float(integral), rel=1e-6)
    assert float(divergence(torch.zeros(1, 4), torch.zeros(1, 4))) == 0


def test_the_reparametrisation_is_equation_3_1_16():
    mean, log_variance = torch.tensor([[1.0, -2.0]]).repeat(50_000, 1), torch.tensor([[0.4, -1.2]]).repeat(50_000, 1)
    z = reparametrised(mean, log_variance, generator(1))
    epsilon = torch.randn(50_000, 2, generator=generator(1))
    torch.testing.assert_close(z, mean + log_variance.exp().sqrt() * epsilon)
    assert z.std(0).tolist() == pytest.approx([math.exp(0.2), math.exp(-0.6)], rel=0.02)


def test_pix2pix_plays_the_game_and_asks_for_the_real_image():
    model, b = build("pix2pix", lambda_x=0.7), batch()
    made = model.sample(noise(), b.conditions)
    fooled = softplus(-model.score(made, b.conditions)).mean()
    expected = fooled + 0.7 * (b.response - made).abs().sum(1).mean()
    torch.testing.assert_close(model.generator_loss(b, generator(9)), expected)
    real, fake = model.score(b.response, b.conditions), model.score(made, b.conditions)
    torch.testing.assert_close(model.discriminator_loss(b, generator(9)), (softplus(-real) + softplus(fake)).mean())


@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_the_vae_minimises_distance_and_divergence(distance):
    model, b = build("vae", lambda_x=2.0, lambda_vae=0.3, distance=distance), batch()
    mean, log_variance = model.encoder(b.response).chunk(2, dim=1)
    difference = b.response - model.sample(mean + (0.5 * log_variance).exp() * noise(), b.conditions)
    each = difference.abs().sum(1) if distance == "l1" else 0.5 * (difference**2).sum(1)
    expected = 2.0 * each.mean() + 0.3 * divergence(mean, log_variance).mean()
    torch.testing.assert_close(model.loss(b, generator(9)), expected)
    assert len(model.turns()) == 1


@pytest.mark.parametrize("form", ["prior", "both"])
def test_the_vae_gan_shows_its_critic_one_or_both_kinds_of_images(form):
    model, b = build("vae-gan", form=form), batch()
    g = generator(9)
    z, epsilon = (torch.randn(6, 2, generator=g) for _ in range(2))
    mean, log_variance = model.encoded(b.response)
    encoded = model.sample(mean + (0.5 * log_variance).exp() * epsilon, b.conditions)
    made, real = model.sample(z, b.conditions), model.score(b.response, b.conditions)
    fakes = [made, encoded] if form == "both" else [made]
    pairs = [(softplus(-real) + softplus(model.score(f, b.conditions))).mean() for f in fakes]
    torch.testing.assert_close(model.discriminator_loss(b, generator(9)), sum(pairs) / len(pairs))
    game = sum(softplus(-model.score(f, b.conditions)).mean() for f in fakes) / len(fakes)
    expected = game + (b.response - encoded).abs().sum(1).mean()
    torch.testing.assert_close(model.generator_loss(b, generator(9)), expected)


def test_the_latent_regressor_looks_for_the_noise_in_the_image():
    model, b = build("clr-gan", lambda_z=0.4), batch()
    made = model.sample(noise(), b.conditions)
    expected = 0.4 * (noise() - model.encoder(made)).abs().sum(1).mean()
    torch.testing.assert_close(model.encoder_loss(b, generator(9)), expected)
    assert model.encoder(b.response).shape == (6, 2)  # a point, not a distribution


def test_bicycle_gan_has_three_turns_and_the_weights_of_the_thesis():
    model, b = build("bicycle-gan"), batch()
    assert [t.name for t in model.turns()] == ["discriminator", "encoder", "generator"]
    assert (model.lambda_x, model.lambda_z, model.lambda_vae) == (0.5, 1.0, 0.1)
    g = generator(9)
    z, epsilon = (torch.randn(6, 2, generator=g) for _ in range(2))
    mean, log_variance = model.encoded(b.response)
    encoded = model.sample(mean + (0.5 * log_variance).exp() * epsilon, b.conditions)
    made = model.sample(z, b.conditions)
    game = 0.5 * sum(softplus(-model.score(x, b.conditions)).mean() for x in (made, encoded))
    expected = game + 0.5 * (b.response - encoded).abs().sum(1).mean()
    expected = expected + (z - model.encoded(made)[0]).abs().sum(1).mean()
    torch.testing.assert_close(model.generator_loss(b, generator(9)), expected)
    mean, log_variance = model.encoded(b.response)
    encoded = model.sample(mean + (0.5 * log_variance).exp() * noise(), b.conditions)
    expected = 0.5 * (b.response - encoded).abs().sum(1).mean() + 0.1 * divergence(mean, log_variance).mean()
    expected = expected + 0.25 * 2 * softplus(-model.score(encoded, b.conditions)).mean()
    torch.testing.assert_close(model.encoder_loss(b, generator(9)), expected)


def test_the_distance_may_be_that_of_the_critics_features():
    model, b = build("vae-gan", distance="features", lambda_x=3.0), batch()
    made = b.response.flip(0)
    layers = model.discriminator.layers[:2]
    f, g = (layers(torch.cat([x, b.conditions], 1)) for x in (b.response, made))
    torch.testing.assert_close(model.reconstruction(b, made), 3.0 * 0.5 * ((f - g) ** 2).sum(1).mean())


def test_feature_matching_compares_mean_features_and_leaves_the_game():
    model, b = build("pix2pix", feature_matching=2.0, lambda_x=0.0), batch()
    made = model.sample(noise(), b.conditions)
    f, g = (model.discriminator.layers[:2](torch.cat([x, b.conditions], 1)) for x in (b.response, made))
    torch.testing.assert_close(model.generator_loss(b, generator(9)), 2.0 * ((f.mean(0) - g.mean(0)) ** 2).sum())


def test_signed_weights_count_with_their_sign_in_every_term():
    for kind in FAMILIES:
        model, b = build(kind), batch()
        for turn in model.turns():
            w = torch.tensor([2.0, 1.0, -0.5, 1.5, 0.0, 2.0])
            parts = [turn.loss(Batch(b.response, b.conditions, x), generator(1)) for x in (w, w - 1, torch.ones(6))]
            torch.testing.assert_close(parts[0], parts[1] + parts[2])
            assert torch.isfinite(parts[0])


def test_a_family_refuses_what_it_does_not_have():
    with pytest.raises(ValueError, match="Pix2Pix has no 'lambda_z'; of these arguments it has discriminator, lambda_x: leave"):
        build("pix2pix", lambda_z=1.0)
    with pytest.raises(ValueError, match="VAE has no 'discriminator'"):
        build("vae", discriminator=DENSE)
    with pytest.raises(ValueError, match="a VAE has no discriminator in whose features"):
        build("vae", distance="features").turns()


def test_all_networks_of_the_thesis_together_on_images_also_in_half_precision():
    toy = Calorimeter("toy", (Layer.grid("one", (5, 7), (1.0, 1.0), (0.0, 0.0)),))
    words = {
        "generator": {"kind": "u-net", "width": 4},
        "encoder": {"kind": "image-encoder", "width": 2},
        "discriminator": {"kind": "vgg", "width": 2},
    }
    model = factory("models", {"kind": "bicycle-gan", "noise": 2, **words})(
        feature_size=35, response_size=35, rng=generator(), geometry=toy
    )
    b = Batch(torch.rand(4, 35, generator=generator(1)), torch.rand(4, 35, generator=generator(2)))
    for turn in model.turns():
        with torch.autocast("cpu", torch.bfloat16):
            loss = turn.loss(b, generator(3))
        loss.backward()
        assert torch.isfinite(loss)
