"""A pretrained regressor inside a GAN: what it reads, whom its gradients reach, and what does not fit."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from small import small
from understudy.build import build_geometry, build_preparation, build_stage, build_surrogate, training_batch
from understudy.closure import closure, regressors, with_predictions
from understudy.domain import Domain
from understudy.geometry import builtin
from understudy.models.base import Batch
from understudy.models.reading import Reading
from understudy.recipe import Recipe
from understudy.schema import Block

ECAL = builtin("lhcb-ecal")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def prepared(recipe, n=40):
    made = recipe.reference().generate(n, np.random.default_rng(3))
    return build_preparation(recipe, build_geometry(recipe))(made, ECAL)


@pytest.fixture(scope="module")
def regressor():
    words = small("lhcb-ecal-regressor")
    words["stages"][0]["model"]["network"]["channels"] = [4, 4, 8]
    recipe = Recipe.from_dict(words)
    events = prepared(recipe)
    built = build_surrogate(recipe, events.schema, ECAL, Domain.of(events), generator(1))
    batch = training_batch(built.last, events)
    built.last.model.fit(batch.response, batch.conditions)
    return built.eval()


def gan_recipe(**changes):
    words = small("lhcb-ecal-paper", needs={})
    model = words["stages"][0]["model"]
    model["noise"] = 4
    model["generator"]["channels"], model["critic"]["channels"], model["critic"]["head"] = [8, 4], [4, 8], [8]
    return Recipe.from_dict(words | {"stages": [{**words["stages"][0], "model": model | changes}]})


@pytest.fixture(scope="module")
def gan(regressor):
    recipe = gan_recipe(auxiliaries=[{"kind": "regressor", "weight": 0.5}])
    events = prepared(recipe)
    stage = build_stage(recipe.stages[0], recipe, events.schema, ECAL, generator(2), {"regressor": regressor})
    return stage, training_batch(stage, events), events


def test_the_residual_is_predicted_minus_true_in_units_of_the_spread(gan, regressor):
    stage, batch, events = gan
    seen = stage.model.seen(batch.response, batch)
    assert torch.equal(seen[:, :900], batch.response)
    read = regressor.simulate({"showers": events["showers"]}, np.random.default_rng(0))
    transforms = regressor.last.transforms
    predicted, true = (transforms(torch.tensor(np.column_stack([e["momentum"], e["position"]])), {}) for e in (read, events))
    torch.testing.assert_close(seen[:, 900:], predicted - true, atol=2e-4, rtol=1e-3)
    auxiliary = stage.model.auxiliaries[0](batch.response, batch, generator())
    assert float(auxiliary.detach()) == pytest.approx(float((predicted - true).square().mean()), rel=1e-3)


def test_the_critic_learns_about_conditions_through_the_residual_alone(gan):
    stage, batch, _ = gan
    assert not stage.model.critic_features
    other = Batch(batch.response, batch.conditions.flip(0), None, None, {k: v.flip(0) for k, v in batch.given.items()})
    plain, swapped = (stage.model.seen(batch.response, b) for b in (batch, other))
    assert torch.equal(plain[:, :900], swapped[:, :900])
    assert (plain[:, 900:] - swapped[:, 900:]).abs().mean() > 0.1
    assert torch.equal(stage.model.score(plain, batch.conditions), stage.model.score(plain, other.conditions))


def test_gradients_pass_through_the_regressor_and_leave_it_alone(gan, regressor):
    stage, batch, _ = gan
    before = {k: v.clone() for k, v in regressor.state_dict().items()}
    assert not any(p.requires_grad for p in regressor.parameters())
    assert not [name for name in stage.model.state_dict() if "regressor" in name or "reading" in name]
    critic, player = stage.model.turns()
    for turn in (critic, player):
        optimiser = turn.optimiser.build(turn.parameters)
        optimiser.zero_grad()
        turn.loss(batch, generator(5)).backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in turn.parameters)
        optimiser.step()
    assert all(torch.equal(v, before[k]) for k, v in regressor.state_dict().items())
    assert all(p.grad is None for p in regressor.parameters())
    y = batch.response.clone().requires_grad_()
    (slope,) = torch.autograd.grad(stage.model.seen(y, batch)[:, 900:].square().sum(), y)
    assert (slope != 0).any(1).all()


def test_predictions_travel_as_auxiliary_blocks(regressor):
    events = prepared(gan_recipe(view=None, critic_features=True))
    told = with_predictions(events, {"regressor": regressor})
    assert [b.name for b in told.schema.aux][-2:] == ["predicted_momentum", "predicted_position"]
    read = regressor.simulate({"showers": events["showers"]}, np.random.default_rng(7))
    for name in ("momentum", "position"):
        np.testing.assert_array_equal(told.aux[f"predicted_{name}"], read[name])
        own, theirs = told.schema.block(name), told.schema.block(f"predicted_{name}")
        assert (own.shape, own.unit, own.columns) == (theirs.shape, theirs.unit, theirs.columns)
    assert with_predictions(events, {}) is events


def test_the_closure_of_a_shifted_truth_is_the_shift(regressor):
    recipe = Recipe.from_dict(small("lhcb-ecal-regressor"))
    truth = prepared(recipe, 400)
    moved = truth.packed() + np.array([0, 0, 0, 2, 0], np.float32)
    moved[:, 4] += np.random.default_rng(1).normal(0, 3, 400)
    found = closure(truth, truth.with_response(moved))
    assert found["residual_position_x"]["bias"] == pytest.approx(2, abs=1e-5)
    assert found["residual_position_x"]["width"] == pytest.approx(0, abs=1e-5)
    y = found["residual_position_y"]
    assert y["unit"] == "mm"
    assert abs(y["bias"]) < 4 * y["bias_error"]
    assert abs(y["width"] - 3) < 4 * y["width_error"]
    assert y["central"] == pytest.approx(3, rel=0.15)
    assert found["residual_momentum_px"] == {"unit": "", **dict.fromkeys(list(y)[1:], 0.0)}


def schema_with(blocks=None, response=None):
    schema = prepared(gan_recipe(view=None, critic_features=True), 3).schema
    return replace(schema, conditions=blocks or schema.conditions, response=response or schema.response)


def test_what_is_no_regressor_is_refused(surrogate, regressor):
    with pytest.raises(ValueError, match=r"'regressor' is not among what the recipe needs \(nothing\); add it"):
        Reading({}, "regressor", ECAL, schema_with())
    with pytest.raises(ValueError, match="'first' is no regressor of a response: it gives showers for incident_energy"):
        Reading({"first": surrogate}, "first", ECAL, schema_with())
    assert regressors({"first": surrogate}, ECAL, schema_with()) == {}


def test_a_regressor_of_another_geometry_is_refused(regressor):
    with pytest.raises(ValueError, match=r"'r' was trained on geometry 'lhcb-ecal' \(900 cells\).*'atlas-em-89' \(89 cells\)"):
        regressors({"r": regressor}, builtin("atlas-em-89"), schema_with())


def test_a_regressor_of_another_response_or_other_parameters_is_refused(regressor):
    with pytest.raises(ValueError, match="reads 'showers', but the response of this recipe is cells"):
        regressors({"r": regressor}, ECAL, schema_with(response=(Block("cells", "MeV", shape=(900,)),)))
    with pytest.raises(ValueError, match=r"reads 'momentum' \(3 numbers in MeV\), which is not among.*incident_energy"):
        regressors({"r": regressor}, ECAL, schema_with((Block("incident_energy", "MeV"),)))
    momentum = Block("momentum", "MeV", shape=(3,))
    with pytest.raises(ValueError, match=r"reads 'position' \(2 numbers in mm\)"):
        regressors({"r": regressor}, ECAL, schema_with((momentum, Block("position", "rad", shape=(2,)))))
