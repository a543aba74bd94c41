"""Learning what the particle was from what the detector answered."""

import numpy as np
import pytest
import torch

from small import small
from understudy import storage
from understudy.build import build_preparation, build_surrogate, training_batch
from understudy.deployment.bundle import load_bundle, write_bundle
from understudy.deployment.export import export_graphs
from understudy.domain import Domain
from understudy.events import Events
from understudy.geometry import builtin
from understudy.recipe import Recipe

ECAL = builtin("lhcb-ecal")


def words(**changes):
    data = small("lhcb-ecal-regressor", events=60, **changes)
    data["stages"][0]["model"]["network"]["channels"] = [4, 4, 8]
    return data


@pytest.fixture(scope="module")
def prepared():
    recipe = Recipe.from_dict(words())
    made = recipe.reference().generate(60, np.random.default_rng(2))
    return recipe, made, build_preparation(recipe, ECAL)(made, ECAL)


@pytest.fixture(scope="module")
def regressor(prepared):
    recipe, _, events = prepared
    built = build_surrogate(recipe, events.schema, ECAL, Domain.of(events), torch.Generator().manual_seed(3))
    batch = training_batch(built.last, events)
    built.last.model.fit(batch.response, batch.conditions)
    return built.eval()


def test_conditions_and_response_change_places(prepared):
    recipe, made, events = prepared
    assert [b.name for b in events.schema.conditions] == ["showers"]
    assert events.schema.conditions[0].kind == "image"
    assert [b.name for b in events.schema.response] == ["momentum", "position"]
    assert events.schema == build_preparation(recipe, ECAL).schema(made.schema)
    np.testing.assert_array_equal(events["showers"], made["showers"])
    np.testing.assert_array_equal(events.packed(), np.column_stack([made["momentum"], made["position"]]))


def test_weights_mask_and_truth_stay_and_derived_conditions_serve_to_select():
    recipe = Recipe.from_dict(words(derived=["total_energy"], select={"total_energy": [1000, 1e6]}))
    made = recipe.reference().generate(60, np.random.default_rng(2))
    heavy = Events(made.schema, made.conditions, made.response, np.arange(60.0), np.ones(60, bool), made.aux)
    events = build_preparation(recipe, ECAL)(heavy, ECAL)
    keep = made["showers"].sum(1) >= 1000
    assert 0 < keep.sum() < 60
    np.testing.assert_array_equal(events.weights, np.arange(60.0)[keep])
    assert events.mask.all()
    assert [b.name for b in events.schema.conditions] == ["showers"]


def test_a_category_cannot_be_learned_from_the_response(prepared):
    from dataclasses import replace

    from understudy.prepare import inverted_schema
    from understudy.schema import Block

    schema = prepared[1].schema
    odd = replace(schema, conditions=(*schema.conditions, Block("species", kind="categorical")))
    with pytest.raises(ValueError, match="'species' is no number that could be learned; leave it out"):
        inverted_schema(odd)


def test_the_bundle_of_a_regressor_answers_in_both_engines(prepared, regressor, tmp_path):
    recipe, _, events = prepared
    folder = write_bundle(tmp_path / "bundle", regressor, recipe, export_graphs(regressor, tmp_path))
    given, rng = {"showers": events["showers"]}, np.random.default_rng(1)
    onnx, torch_ = (load_bundle(folder, engine=engine).simulate(given, rng) for engine in ("onnx", "torch"))
    for name in ("momentum", "position"):
        scale = np.linalg.norm(torch_[name], axis=1, keepdims=True) + 1
        assert (np.abs(onnx[name] - torch_[name]) < 1e-5 * scale).all()
    assert not onnx["out_of_domain"].any()
    storage.write(tmp_path / "out.h5", onnx, geometry=load_bundle(folder).geometry)
    assert storage.read(tmp_path / "out.h5")["momentum"].shape == (60, 3)


def test_the_domain_of_an_image_is_its_mean_and_survives_a_manifest(prepared):
    events = prepared[2]
    domain = Domain.of(events)
    assert not domain.low
    np.testing.assert_allclose(domain.images["showers"], events["showers"].mean(0), rtol=1e-5)
    again = Domain.from_dict(domain.to_dict())
    drawn = again.draw(3000, np.random.default_rng(1))["showers"]
    assert drawn.shape == (3000, 900)
    assert drawn.sum(1).mean() == pytest.approx(events["showers"].sum(1).mean(), rel=0.05)
    assert not again.outside({"showers": 1e9 * np.ones((2, 900))}).any()
