from __future__ import annotations

import pytest

from small import small_recipe
from understudy.scan.plan import base_recipe
from understudy.search.plan import make_plan
from understudy.search.space import Space

MODEL = "stages.response.model"
RATE = {"path": f"{MODEL}.generator_optimiser.lr", "between": [1e-5, 1e-2], "log": True}
LOSS = {"variants": {"W": {}, "JS": {f"{MODEL}.objective": "vanilla", f"{MODEL}.penalty": None}}}
PENALTY = {"path": f"{MODEL}.penalty.weight", "between": [1, 30], "when": {"loss": "W"}}


@pytest.fixture(scope="module")
def base():
    return small_recipe(baseline=None)


def space(**parameters):
    return Space.model_validate({"name": "s", "parameters": parameters})


@pytest.mark.parametrize(("name", "recipe"), [("quickstart-gan", "quickstart"), ("hcal-appendix-b", "quickstart")])
def test_shipped_spaces_fit_a_recipe(name, recipe):
    shipped = Space.load(name)
    plan = make_plan(shipped, base_recipe(recipe, shipped.common, "test"))
    assert {"quickstart-gan": 8, "hcal-appendix-b": 7}[name] <= len(plan.space.parameters)
    assert plan.of_the_base() is None or plan.recipe(plan.of_the_base()) == plan.base


def test_the_base_is_a_draw_of_a_space_that_holds_it(base):
    plan = make_plan(space(rate=RATE, loss=LOSS, penalty=PENALTY), base)
    own = plan.of_the_base()
    assert own == {"rate": 1e-3, "loss": "W", "penalty": 10.0}
    assert plan.recipe(own).fingerprint == base.fingerprint
    noise = {"path": f"{MODEL}.noise", "integer": True}
    assert make_plan(space(noise={**noise, "between": [4, 204], "step": 8}), base).of_the_base() == {"noise": 100}
    assert make_plan(space(noise={**noise, "between": [4, 204], "step": 10}), base).of_the_base() is None
    assert make_plan(space(noise={"path": f"{MODEL}.noise", "values": [4, 8]}), base).of_the_base() is None


def test_a_draw_s_recipe_has_its_values(base):
    plan = make_plan(space(rate=RATE, loss=LOSS, penalty=PENALTY), base)
    recipe = plan.recipe({"rate": 5e-4, "loss": "JS"})
    assert recipe.stages[-1].model.arguments["generator_optimiser"].lr == 5e-4
    assert recipe.stages[-1].model.arguments["penalty"] is None


def test_a_parameter_that_the_recipe_lacks_is_refused_with_what_there_is(base):
    message = r"search space s, parameter 'size': recipe quickstart: the path '.*noize' leads to nothing.*did you mean 'noise'"
    with pytest.raises(ValueError, match=message):
        make_plan(space(size={"path": f"{MODEL}.noize", "values": [1]}), base)
    with pytest.raises(ValueError, match=r"parameter 'size': recipe quickstart: the path 'stages.image.model.noise' leads to no"):
        make_plan(space(size={"path": "stages.image.model.noise", "values": [1]}), base)


def test_a_value_that_the_recipe_refuses_is_named(base):
    with pytest.raises(ValueError, match=r"parameter 'size': recipe quickstart with .*noise = -1.*greater than 0"):
        make_plan(space(size={"path": f"{MODEL}.noise", "values": [4, -1]}), base)
    with pytest.raises(ValueError, match="parameter 'warm up': warm_up needs a generator that has a likelihood"):
        make_plan(space(**{"warm up": {"path": f"{MODEL}.warm_up", "between": [0, 4], "integer": True}}), base)


def test_trials_share_their_events_and_only_the_response_is_trained(base):
    with pytest.raises(ValueError, match="trials share their events, so 'split' cannot be searched; put it into 'common'"):
        make_plan(space(part={"path": "split.test", "values": [0.1]}), base)
    with pytest.raises(ValueError, match="only the model of the response is trained"):
        make_plan(space(epochs={"path": "stages.total_energy.training.epochs", "values": [7]}), base)


def test_optional_parameters_and_values_are_left_out_where_the_recipe_lacks_them(base):
    loss = {"variants": {**LOSS["variants"], "KL": {f"{MODEL}.objective": "none-such"}}, "optional": True}
    lacking = {"path": f"{MODEL}.lambda_z", "values": [0, 1], "optional": True}
    smoothing = {"path": f"{MODEL}.critic.width", "values": [4, 8], "when": {"loss": ["KL", "JS"]}}
    of_lacking = {"path": f"{MODEL}.noise", "values": [4], "when": {"lambda": 1}}
    plan = make_plan(space(loss=loss, width=smoothing, **{"lambda": lacking}, size={**of_lacking, "optional": True}), base)
    assert plan.left_out == ("loss KL", "lambda", "size")
    assert plan.space.parameters["loss"].labels == ["W", "JS"]
    assert plan.space.parameters["width"].when == {"loss": ["JS"]}
    with pytest.raises(ValueError, match="what it depends on was left out; make it optional as well"):
        make_plan(space(**{"lambda": lacking}, size=of_lacking), base)
    with pytest.raises(ValueError, match="recipe quickstart has none of its parameters; choose another space"):
        make_plan(space(**{"lambda": lacking}), base)
