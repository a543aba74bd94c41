"""The last linear maps at the optimum of all training events."""

import pytest
import torch

from understudy.models.base import Batch
from understudy.models.detection import Detection
from understudy.models.gan import GAN
from understudy.models.spline import SplineFlow
from understudy.training.loop import TrainingSettings, train
from understudy.training.polish import polish


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def detected(n=3000):
    features = torch.randn(n, 2, generator=generator(1))
    seen = torch.rand(n, 1, generator=generator(2)) < torch.sigmoid(1 + features[:, :1])
    return Batch(seen.float(), features)


def test_a_polished_probability_keeps_every_feature_s_sum():
    """The condition of the optimum: predictions and truth have the same sum, weighted with each feature of the last layer."""
    model, data = Detection(feature_size=2, rng=generator(3)), detected()
    body = [p.clone() for p in model.network.layers[0].parameters()]
    polish(model, data, 100)
    assert all(torch.equal(a, b) for a, b in zip(body, model.network.layers[0].parameters(), strict=True))
    assert all(p.requires_grad and (p.grad is None or not p.grad.any()) for p in model.parameters())
    with torch.no_grad():
        h = model.network.layers[:-2](data.conditions)
        off = model.probability(data.conditions) - data.response[:, 0]
    assert float(off.mean().abs()) < 1e-4
    assert float((off[:, None] * h).mean(0).abs().max()) < 5e-4


def test_the_misfit_of_a_spline_falls():
    model = SplineFlow(feature_size=1, response_size=2, network={"kind": "dense", "layers": 1, "width": 8}, rng=generator(1))
    x = torch.randn(500, 2, generator=generator(2)) * 0.3 + 1
    data = Batch(x, torch.zeros(500, 1))
    before = float(model.misfit(data, generator()).detach())
    polish(model, data, 30)
    assert float(model.misfit(data, generator()).detach()) < before - 0.3
    assert len(model.last_maps()) == 4


def test_at_the_end_of_a_training_and_only_with_a_likelihood(tmp_path):
    settings = TrainingSettings(epochs=1, batch_size=100, device="cpu", threads=1, polish=200)
    model = Detection(feature_size=2, rng=generator(3))
    train(model, detected(), settings, seed=1, directory=tmp_path / "a")
    with torch.no_grad():
        assert abs(float(model.probability(detected().conditions).mean() - detected().response.mean())) < 1e-3
    small = {"kind": "dense", "layers": 1, "width": 4}
    gan = GAN(feature_size=2, response_size=1, generator=small, critic=small, noise=2, rng=generator())
    with pytest.raises(ValueError, match="'polish' needs a model that is trained by its likelihood"):
        train(gan, detected(), settings, seed=1, directory=tmp_path / "b")
