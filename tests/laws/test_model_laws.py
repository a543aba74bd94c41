"""What every model obeys: a model that enters the registry is tested here without writing a test."""

import json

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load, save

from understudy.domain import Domain
from understudy.models.base import Batch, Model
from understudy.registry import factory, kinds
from understudy.schema import Block, Schema
from understudy.surrogate import Stage, Surrogate
from understudy.transforms.base import Chain
from understudy.transforms.features import FeatureEncoder

SMALL_NETWORK = {"kind": "dense", "layers": 2, "width": 16}
FAST = {"lr": 1e-3, "betas": (0.5, 0.9)}
OPTIMISERS = {f"{who}_optimiser": FAST for who in ("generator", "encoder", "discriminator")}
TRANSLATION = {"generator": SMALL_NETWORK, "encoder": SMALL_NETWORK, "discriminator": SMALL_NETWORK, "noise": 4, **OPTIMISERS}
SMALL = {
    "gan": {
        "generator": SMALL_NETWORK,
        "critic": SMALL_NETWORK,
        "noise": 4,
        "critic_steps": 5,
        "generator_optimiser": FAST,
        "critic_optimiser": FAST,
    },
    "pix2pix": {"generator": SMALL_NETWORK, "discriminator": SMALL_NETWORK, "noise": 4, **OPTIMISERS},
    "vae": {"generator": SMALL_NETWORK, "encoder": SMALL_NETWORK, "noise": 4, **OPTIMISERS},
    "vae-gan": {**TRANSLATION},
    "clr-gan": {**TRANSLATION, **{f"{who}_optimiser": {"lr": 5e-3} for who in ("generator", "encoder", "discriminator")}},
    "bicycle-gan": {**TRANSLATION, "lambda_z": 0.1},
    "spline": {"network": SMALL_NETWORK, "bins": 6},
    "flow": {"transforms": 1, "bins": 6, "hidden": [16]},
    "flow-matching": {"velocity": {"kind": "dense", "layers": 1, "width": 32, "embedding": 16}, "steps": 2},
    "regressor": {"network": SMALL_NETWORK, "embedding": [16, 16]},
    "energy-score": {"network": SMALL_NETWORK, "noise": 4, "groups": {"columns": 1.0}},
    "distilled": {"network": SMALL_NETWORK, "teacher": "first", "residual": False},
    "borrowed": {"teacher": "first"},
}
"""Small arguments of models that are large by default; any other model is built with its defaults."""
RESPONSE_SIZE = {"spline": 1, "true-energy": 1, "detection": 1}
FEATURES = 2
ROUNDS = 250

UNTAUGHT = {"true-energy", "borrowed"}
"""Models that learn nothing: they compute what they give, or were taught elsewhere."""
DETERMINISTIC = {"true-energy", "regressor"}
"""Models that draw nothing."""
YES_OR_NO = {"detection"}
"""Models whose response is 1 or 0."""
UNCONDITIONAL = {"copula"}
"""Models that leave the conditions to the transforms in front of them."""

IMAGES = {"interlaced"}
"""Models of images alone, which have tests of their own."""

every_model = pytest.mark.parametrize("kind", sorted(set(kinds("models")) - IMAGES))
every_learner = pytest.mark.parametrize("kind", sorted(set(kinds("models")) - UNTAUGHT - YES_OR_NO - IMAGES))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Known(Model):
    """Gives what `toy` asks for."""

    noise_size = 3

    def turns(self):
        return ()

    def sample(self, noise, conditions):
        return 2 + conditions[:, :1] + 0.5 * noise


def first_run():
    """The trained stand-in of an earlier run, for models that learn from one."""
    schema = Schema((Block("a"), Block("b")), (Block("y", shape=(3,)),))
    stage = Stage("response", FeatureEncoder({"a": "raw", "b": "raw"}, schema), Chain(), Known())
    return Surrogate(schema, [stage], None, Domain({}, {}, {}))


def build(kind, seed=0):
    made = factory("models", {"kind": kind, **SMALL.get(kind, {})}, "model")
    return made(
        feature_size=FEATURES, response_size=RESPONSE_SIZE.get(kind, 3), rng=generator(seed), needs={"first": first_run()}
    )


def toy(kind, n=2000, weights=None):
    """Responses that follow the first condition at a distance of 2, with a spread that does not."""
    g = generator(1)
    conditions = torch.randn(n, FEATURES, generator=g)
    response = 2 + conditions[:, :1] + 0.5 * torch.randn(n, RESPONSE_SIZE.get(kind, 3), generator=g)
    return Batch(response, conditions, weights, torch.arange(n))


def rows(batch, index):
    weights = None if batch.weights is None else batch.weights[index]
    return Batch(batch.response[index], batch.conditions[index], weights, batch.index[index])


def play(model, data, rounds, size=128):
    """The training loop in its shortest form."""
    g = generator(2)
    model.fit(data.response, data.conditions, data.weights)
    turns = model.turns()
    optimisers = [turn.optimiser.build(turn.parameters) for turn in turns]
    for _ in range(rounds if turns else 0):
        for turn, optimiser in zip(turns, optimisers, strict=True):
            for _ in range(turn.repeats):
                optimiser.zero_grad()
                turn.loss(rows(data, torch.randint(len(data), (size,), generator=g)), g).backward()
                optimiser.step()
    return model.eval()


def noise(model, n, seed=3):
    return torch.randn(n, model.noise_size, generator=generator(seed))


def sampled(model, z, conditions):
    with torch.no_grad():
        return model.sample(z, conditions)


@every_model
def test_a_recipe_of_it_is_plain_data_that_builds_it_again(kind):
    made = factory("models", {"kind": kind, **SMALL.get(kind, {})})
    words = json.loads(json.dumps(made.to_dict()))
    assert factory("models", words).to_dict() == words


@every_model
def test_the_same_seed_gives_the_same_model(kind):
    first, again, other = (build(kind, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[k], again[k]) for k in first)
    if build(kind).turns():
        assert any(not torch.equal(first[k], other[k]) for k in first)


@every_model
def test_turns_are_named_apart_and_share_no_parameters(kind):
    model = build(kind)
    turns = model.turns()
    owned = [id(p) for turn in turns for p in turn.parameters]
    assert len(set(owned)) == len(owned)
    assert set(owned) <= {id(p) for p in model.parameters()}
    assert len({turn.name for turn in turns}) == len(turns)
    assert all(turn.parameters and turn.repeats >= 1 for turn in turns)


@every_model
def test_each_loss_is_a_finite_scalar_whose_gradients_reach_its_own_turn_alone(kind):
    model, batch = build(kind), toy(kind, 16)
    model.fit(batch.response, batch.conditions)
    for turn in model.turns():
        model.zero_grad(set_to_none=True)
        loss = turn.loss(batch, generator())
        assert loss.shape == ()
        assert torch.isfinite(loss)
        loss.backward()
        owned = {id(p) for p in turn.parameters}
        assert all(p.grad is None for p in model.parameters() if id(p) not in owned)
        assert any(p.grad is not None and p.grad.any() for p in turn.parameters)
        assert all(p.requires_grad for p in model.parameters())


@every_model
def test_all_randomness_of_a_loss_comes_from_its_generator(kind):
    model, batch = build(kind), toy(kind, 16)
    model.fit(batch.response, batch.conditions)
    before = torch.get_rng_state()
    for turn in model.turns():
        first, again = (turn.loss(batch, generator(7)).item() for _ in range(2))
        assert first == again
    assert torch.equal(before, torch.get_rng_state())


@every_learner
def test_event_weights_are_used(kind):
    data = toy(kind, 400)
    weights = torch.where(data.response[:, 0] > 2 + data.conditions[:, 0], 1.9, 0.1)
    weighted = Batch(data.response, data.conditions, weights / weights.mean(), data.index)
    plain, heavy = (play(build(kind), d, rounds=3) for d in (data, weighted))
    z, conditions = noise(plain, 200), torch.zeros(200, FEATURES)
    assert not torch.equal(sampled(plain, z, conditions), sampled(heavy, z, conditions))


@every_model
def test_samples_have_the_response_shape_and_depend_on_noise_and_conditions_row_by_row(kind):
    data = toy(kind)
    model = play(build(kind), data, rounds=2)
    z, conditions = noise(model, 50), data.conditions[:50]
    drawn = sampled(model, z, conditions)
    assert drawn.shape == (50, RESPONSE_SIZE.get(kind, 3))
    assert drawn.dtype == torch.float32
    assert torch.equal(drawn, sampled(model, z, conditions))
    assert torch.equal(drawn, sampled(model, noise(model, 50, seed=9), conditions)) == (kind in DETERMINISTIC)
    if kind not in YES_OR_NO:  # two rounds may not move any of the answers
        assert torch.equal(drawn, sampled(model, z, conditions.flip(0))) == (kind in UNCONDITIONAL)
    torch.testing.assert_close(sampled(model, z[20:21], conditions[20:21]), drawn[20:21])


@every_model
def test_weights_survive_a_safetensors_file_into_a_fresh_model(kind):
    data = toy(kind)
    model = play(build(kind), data, rounds=2)
    fresh = build(kind, seed=5)
    fresh.load_state_dict(load(save(model.state_dict())))
    z = noise(model, 50)
    assert torch.equal(sampled(model, z, data.conditions[:50]), sampled(fresh.eval(), z, data.conditions[:50]))


@every_model
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:# The axis name:UserWarning")
def test_the_exported_sample_agrees_with_torch_at_any_batch_size(kind, tmp_path):
    class Sample(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, noise, conditions):
            return self.model.sample(noise, conditions)

    data = toy(kind)
    model = play(build(kind), data, rounds=2)
    batch = torch.export.Dim("batch", min=1)
    path = tmp_path / "sample.onnx"
    torch.onnx.export(
        Sample(model).eval(),
        (noise(model, 3), data.conditions[:3]),
        path,
        input_names=["noise", "conditions"],
        output_names=["response"],
        dynamic_shapes={"noise": {0: batch}, "conditions": {0: batch}},
        dynamo=True,
        verbose=False,
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for n in (1, 257):
        z, conditions = noise(model, n, seed=n), data.conditions[:n]
        (found,) = session.run(None, {"noise": z.numpy(), "conditions": conditions.numpy()})
        np.testing.assert_allclose(found, sampled(model, z, conditions).numpy(), atol=1e-5, rtol=1e-5)


def distance(model, data):
    """Wasserstein-1 distance of the residuals to the conditions, averaged over the response's columns."""
    drawn = sampled(model, noise(model, len(data)), data.conditions)
    found, expected = ((x - data.conditions[:, :1]).sort(0).values for x in (drawn, data.response))
    return float((found - expected).abs().mean())


@pytest.mark.parametrize("kind", sorted(set(kinds("models")) - UNTAUGHT - UNCONDITIONAL - YES_OR_NO - IMAGES))
def test_it_learns(kind):
    data = toy(kind)
    assert distance(play(build(kind), data, rounds=ROUNDS), data) < 0.6  # 2 for a model that has learned nothing
