"""What every velocity network obeys: one that enters the registry is tested here without writing a test."""

import json

import numpy as np
import onnxruntime
import pytest
import torch

from understudy.deployment.export import OPSET, quiet
from understudy.geometry import Calorimeter, Layer
from understudy.models.flow_matching import FlowMatching
from understudy.registry import factory, kinds

SMALL = {
    "dense": {"layers": 1, "width": 12, "embedding": 8},
    "convolution": {"channels": [4, 6], "embedding": 8},
    "image": {"width": 4, "embedding": 8},
    "u-net": {"channels": [4, 6], "blocks": 1, "embedding": 8},
    "attention": {"patch": [3, 2], "blocks": 1, "width": 8, "heads": 2, "embedding": 8},
}
"""Small arguments; any other velocity is built with its defaults."""
GRIDS = Calorimeter("toy", tuple(Layer.grid(f"l{i}", (5, 3), (20.0, 20.0), (-50.0, -30.0)) for i in (0, 1)))
N, FEATURES = GRIDS.n_cells, 2

every_velocity = pytest.mark.parametrize("kind", sorted(kinds("velocities")))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def build(kind, seed=0):
    made = factory("velocities", {"kind": kind, **SMALL.get(kind, {})}, "velocity")
    return made(size=N, features=FEATURES, geometry=GRIDS, rng=generator(seed))


def shaken(kind):
    """A velocity that is not zero any more."""
    velocity, g = build(kind), generator(9)
    with torch.no_grad():
        for p in velocity.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=g))
    return velocity.eval()


def arguments(n=7):
    g = generator(1)
    return torch.randn(n, N, generator=g), torch.rand(n, 1, generator=g), torch.randn(n, FEATURES, generator=g)


@every_velocity
def test_an_untrained_velocity_is_zero_and_its_flow_the_identity(kind):
    x, t, c = arguments()
    assert not build(kind)(x, t, c).any()
    flow = FlowMatching(feature_size=FEATURES, response_size=N, velocity={"kind": kind, **SMALL.get(kind, {})}, geometry=GRIDS)
    assert torch.equal(flow.sample(x, c), x)


@every_velocity
def test_a_gradient_reaches_its_last_layer_and_then_every_parameter(kind):
    velocity, (x, t, c) = build(kind), arguments()
    velocity(x, t, c).sum().backward()
    assert any(p.grad is not None and p.grad.any() for p in velocity.parameters())
    velocity = shaken(kind)
    velocity(x, t, c).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in velocity.parameters())


@every_velocity
def test_it_depends_on_the_response_the_time_and_the_features_row_by_row(kind):
    velocity, (x, t, c) = shaken(kind), arguments()
    with torch.no_grad():
        found = velocity(x, t, c)
        assert found.shape == x.shape
        for other in (velocity(x + 0.5, t, c), velocity(x, 1 - t, c), velocity(x, t, c + 0.5)):
            assert (other != found).any(1).all()
        torch.testing.assert_close(velocity(x[2:3], t[2:3], c[2:3]), found[2:3])
        torch.testing.assert_close(velocity(x, t[:1], c), velocity(x, t[:1].expand(7, 1), c))


@every_velocity
def test_weights_come_from_the_generator_alone(kind):
    before = torch.get_rng_state()
    first, again, other = (build(kind, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert any(not torch.equal(first[k], other[k]) for k in first)


@every_velocity
def test_a_recipe_of_it_is_plain_data_that_builds_it_again(kind):
    made = factory("velocities", {"kind": kind, **SMALL.get(kind, {})})
    words = json.loads(json.dumps(made.to_dict()))
    assert factory("velocities", words).to_dict() == words


@every_velocity
def test_the_exported_velocity_agrees_with_torch_at_any_batch_size(kind, tmp_path):
    velocity, path, batch = shaken(kind), tmp_path / "velocity.onnx", torch.export.Dim("batch", min=1)
    with quiet():
        torch.onnx.export(
            velocity,
            arguments(3),
            path,
            input_names=["x", "t", "c"],
            dynamic_shapes=({0: batch}, {0: batch}, {0: batch}),
            opset_version=OPSET,
            dynamo=True,
            optimize=False,
            verbose=False,
        )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for n in (1, 33):
        x, t, c = arguments(n)
        (found,) = session.run(None, {"x": x.numpy(), "t": t.numpy(), "c": c.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(found, velocity(x, t, c).numpy(), atol=2e-5, rtol=2e-5)
