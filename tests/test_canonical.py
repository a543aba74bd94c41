"""Canonical frames: laws of the frame, exact equivariance of a stand-in, and what cannot be canonicalised."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from small import small
from understudy import geometry, seeds
from understudy.build import build_geometry, build_preparation, build_surrogate, check_stages, training_batch
from understudy.canonical import CanonicalFrame
from understudy.deployment.bundle import load_bundle, write_bundle
from understudy.deployment.export import export_graphs
from understudy.domain import Domain
from understudy.events import Events
from understudy.geometry import Calorimeter, Layer
from understudy.journey import stage_score
from understudy.prepare import derived
from understudy.recipe import Recipe
from understudy.schema import Block, Schema
from understudy.splits import Data
from understudy.surrogate import as_tensors
from understudy.symmetry import Canonicalise, Symmetry, group

ECAL = geometry.builtin("lhcb-ecal")
GROUP = group(ECAL.symmetries)
GIVEN = (
    Block("incident_energy", "MeV", minimum=0),
    Block("momentum", "MeV", shape=(3,), columns=("px", "py", "pz")),
    Block("position", "mm", shape=(2,), columns=("x", "y")),
)
SCHEMA = Schema(GIVEN, (Block("showers", "MeV", shape=(900,), minimum=0),))


def showers(n=64, seed=0):
    """Gaussian spots where the particles point; some momenta lie on the borders of the canonical region."""
    rng = np.random.default_rng(seed)
    energy, position = rng.uniform(1e3, 6e4, n), rng.uniform(-5, 5, (n, 2))
    slopes = rng.uniform(-0.1, 0.1, (n, 2))
    slopes[:4] = [[0, 0], [0.05, 0.05], [-0.05, 0.05], [0, -0.05]]
    momentum = (np.concatenate([slopes, np.ones((n, 1))], 1) * energy[:, None]).astype(np.float32)
    far = ((ECAL.layers[0].centres[None] - (position + 150 * slopes)[:, None]) ** 2).sum(2)
    cells = energy[:, None] * np.exp(-far / 800) * rng.uniform(0.5, 1.5, (n, 900))
    return Events(SCHEMA, {"incident_energy": energy, "momentum": momentum, "position": position}, {"showers": cells})


def best_by_hand(event, elements, blocks):
    """The element by Python's own comparison of tuples."""
    images = [e.conditions({k: v[None] for k, v in event.items()}, blocks) for e in elements]
    keys = [tuple(v for name in ("momentum", "position") if name in i for v in i[name][0, :2].tolist()) for i in images]
    return keys.index(max(keys))


@pytest.mark.parametrize("names", ["all", ["mirror-x"], ["mirror-x", "mirror-y"], ["exchange-xy"]])
@pytest.mark.parametrize("kept", [("momentum", "position"), ("momentum",), ("position",)])
def test_the_frame_is_the_lexicographically_largest_image_exactly(names, kept):
    events = showers().select_conditions(["incident_energy", *kept])
    elements = Canonicalise(symmetries=names).elements(ECAL)
    frame = CanonicalFrame(elements, ECAL, events.schema)
    given, cells = as_tensors(events.conditions), torch.tensor(events.packed())
    element = frame.element(given)
    seen, turned = frame.conditions(given, element), frame.to_canonical(cells, element)
    for row in range(len(events)):
        one = {k: np.asarray(v[row]) for k, v in events.conditions.items()}
        assert int(element[row]) == best_by_hand(one, elements, events.schema.conditions)
        image = elements[element[row]].apply(events[[row]], ECAL)
        np.testing.assert_array_equal(turned[row], image["showers"][0])
        for name in given:
            np.testing.assert_array_equal(seen[name][row], image[name][0])
    again = frame.element(seen)
    assert not again.any()  # idempotent: what is canonical stays
    torch.testing.assert_close(frame.conditions(seen, again), seen, rtol=0, atol=0)
    torch.testing.assert_close(frame.back(turned, element), cells, rtol=0, atol=0)


def test_slopes_of_the_whole_group_are_ordered_and_positive():
    events = showers(500, seed=1)
    frame = CanonicalFrame(GROUP, ECAL, events.schema)
    given = as_tensors(events.conditions)
    seen = frame.conditions(given, frame.element(given))["momentum"]
    assert bool((seen[:, 0] >= seen[:, 1]).all())
    assert bool((seen[:, 1] >= 0).all())
    assert len(torch.unique(frame.element(given))) == 8


def test_images_about_a_cells_centre_are_taken_about_the_origin_of_positions():
    mirror = Symmetry("mirror-x", ((-1, 0), (0, 1)), centre=(0.5, 0.0), origin=(18.75, 0.0))
    row = Calorimeter("row", (Layer("row", (tuple(range(-1, 3)), (-1.0, 1.0))),), (mirror,))
    schema = Schema(GIVEN[2:], (Block("cells", "MeV", shape=(3,)),))
    frame = CanonicalFrame(Canonicalise().elements(row), row, schema)
    given = {"position": torch.tensor([[10.0, 3.0], [18.75, 3.0], [30.0, 3.0]])}
    element = frame.element(given)
    assert element.tolist() == [1, 0, 0]
    assert frame.conditions(given, element)["position"].tolist() == [[27.5, 3.0], [18.75, 3.0], [30.0, 3.0]]
    assert frame.to_canonical(torch.tensor([[1.0, 2.0, 3.0]] * 3), element).tolist() == [[3, 2, 1], [1, 2, 3], [1, 2, 3]]


def canonical_recipe(two_stages=True):
    """A library of showers behind a first stage for their energy sum, both in the canonical frame."""
    data = small("lhcb-ecal", events=None)
    features = {"incident_energy": "log", "momentum": "direction", "position": "standardise"}
    model = {"kind": "library", "neighbours": 2}
    words = {"features": features, "model": model, "canonicalise": {"symmetries": "all"}}
    log = {"kind": "log", "shift": 1.0}
    stages = [{**words, "transforms": [log]}]
    if two_stages:
        stages[0]["features"] = {**features, "total_energy": "log"}
        first = {"produces": "total_energy", "transforms": [{"kind": "log", "shift": 1.0}, {"kind": "standardise"}]}
        stages.insert(0, {**words, **first, "model": {"kind": "spline"}})
    data |= {
        "stages": stages,
        "derived": ["total_energy"] if two_stages else [],
        "baseline": None,
        "geometry": "lhcb-ecal",
        "needs": {},
    }
    return Recipe.from_dict(data)


@pytest.fixture(scope="module")
def trained():
    return fitted(canonical_recipe())


def fitted(recipe):
    events = build_preparation(recipe, ECAL)(showers(400), ECAL)
    built = build_surrogate(recipe, events.schema, build_geometry(recipe), Domain.of(events), torch.Generator().manual_seed(3))
    for stage in built.stages:
        batch = training_batch(stage, events)
        stage.model.fit(batch.response, batch.conditions, batch.weights)
    return recipe, events, built.eval()


def test_the_training_batch_is_the_same_for_events_and_their_images(trained):
    _, events, surrogate = trained
    unique = events[4:]
    batches = [training_batch(surrogate.last, e) for e in (unique, GROUP[5].apply(unique, ECAL))]
    torch.testing.assert_close(batches[0].response, batches[1].response, rtol=0, atol=0)
    torch.testing.assert_close(batches[0].conditions, batches[1].conditions, rtol=0, atol=0)
    assert not torch.equal(torch.tensor(unique.packed()), torch.tensor(GROUP[5].apply(unique, ECAL).packed()))
    training_batch(surrogate.last, events)


@pytest.mark.parametrize("element", GROUP[1:], ids=lambda e: e.name)
def test_the_answer_to_the_image_is_the_image_of_the_answer_bit_for_bit(trained, element):
    _, _, surrogate = trained
    asked = showers(104, seed=9)[4:]  # the first four have no unique element
    image = element.conditions(asked.conditions, GIVEN)
    here = surrogate.simulate(asked.conditions, np.random.default_rng(1)).packed()
    there = surrogate.simulate(image, np.random.default_rng(1)).packed()
    assert here.any()
    assert not np.array_equal(here, there)
    np.testing.assert_array_equal(there, here[:, element.permutation(ECAL)])


def test_graph_and_bundle_answer_as_torch_does(tmp_path):
    recipe, events, surrogate = fitted(canonical_recipe(two_stages=False))
    bundle = write_bundle(tmp_path / "bundle", surrogate, recipe, export_graphs(surrogate, tmp_path))
    asked = {b.name: events.conditions[b.name] for b in events.schema.given}
    expected = surrogate.simulate(asked, np.random.default_rng(2)).packed()
    np.testing.assert_array_equal(surrogate.simulate(asked, np.random.default_rng(2), chunk=7).packed(), expected)
    assert load_bundle(bundle, engine="torch").last.frame is not None
    for engine in ("onnx", "torch"):
        again = load_bundle(bundle, engine=engine).simulate(asked, np.random.default_rng(2)).packed()
        np.testing.assert_allclose(again, expected, rtol=1e-5, atol=1e-3)


def test_validation_events_go_the_same_way(trained):
    """Scores do not change when the validation events are exchanged for images of them, up to the order of sums."""
    recipe, events, surrogate = trained
    found = []
    for element in (GROUP[0], GROUP[3]):
        image = element.apply(events[4:], ECAL)
        data = Data(image, image, image, None, build_preparation(recipe, ECAL), ECAL, "images", "")
        for stage in surrogate.stages:
            score = stage_score(stage, data, seeds.integer(recipe.seed, "score", stage.produces))
            model = stage.model
            if not any(True for _ in model.parameters()):
                model.register_parameter("none", torch.nn.Parameter(torch.zeros(1)))
            found.append(score(model))
    assert found[0]["score"] == pytest.approx(found[2]["score"], rel=1e-6)
    assert found[1]["score"] == pytest.approx(found[3]["score"], rel=0.05)


def test_layer_energies_are_the_same_in_every_frame():
    edges = (tuple(np.linspace(-2.0, 2.0, 5)), tuple(np.linspace(-2.0, 2.0, 5)))
    stack = Calorimeter("stack", (Layer("front", edges), Layer("back", edges)), ECAL.symmetries)
    cells = np.random.default_rng(0).random((20, 32))
    events = Events(Schema(GIVEN[2:], (Block("cells", "MeV", shape=(32,)),)), {"position": cells[:, :2]}, {"cells": cells})
    block, function = derived("layer_energies", stack)
    events = events.with_condition(block, function(events))
    CanonicalFrame(GROUP, stack, events.schema)
    for element in GROUP:
        image = element.apply(events, stack)
        np.testing.assert_allclose(function(image), image["layer_energies"], rtol=1e-6)


def test_both_ways_of_using_symmetries_are_refused():
    data = canonical_recipe().to_dict()
    data["stages"][0]["augment"] = {"symmetries": "all"}
    with pytest.raises(ValueError, match="has both 'augment' and 'canonicalise'"):
        Recipe.from_dict(data)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"symmetries": ["mirror-z"]}, "'lhcb-ecal' has no symmetry 'mirror-z'; it has mirror-x, mirror-y, exchange-xy"),
        ({"symmetries": []}, "no symmetry is named"),
    ],
)
def test_unknown_symmetries(words, message):
    recipe = canonical_recipe()
    stages = [s.model_copy(update={"canonicalise": Canonicalise(**words)}) for s in recipe.stages]
    with pytest.raises(ValueError, match=message):
        check_stages(recipe.model_copy(update={"stages": stages}), recipe_schema(recipe), ECAL)


def recipe_schema(recipe, schema=SCHEMA):
    return build_preparation(recipe, ECAL).schema(schema)


def test_what_cannot_be_canonicalised_is_noticed_before_the_events_are_read():
    recipe = canonical_recipe()
    schema = recipe_schema(recipe)
    with pytest.raises(ValueError, match=r"'canonicalise' needs symmetries: .*'atlas-em-89', which declares no symmetries"):
        Canonicalise().elements(geometry.builtin("atlas-em-89"))
    with pytest.raises(ValueError, match="'canonicalise' needs symmetries: the recipe has no geometry"):
        check_stages(recipe, schema, None)
    broken = replace(schema, conditions=(*schema.conditions, Block("charge_times_x")))
    with pytest.raises(ValueError, match=r"not known how the symmetry .* changes the condition 'charge_times_x'"):
        check_stages(recipe, broken, ECAL)
    breaking = replace(schema, conditions=(*schema.conditions, Block("tilt", "rad", derived=True)))
    with pytest.raises(ValueError, match=r"not known how the symmetry .* changes the condition 'tilt'"):
        check_stages(recipe, breaking, ECAL)


def test_conditions_that_tell_no_image_from_another():
    with pytest.raises(ValueError, match="looks at the momentum or the position, and the conditions are incident_energy"):
        CanonicalFrame(GROUP, ECAL, replace(SCHEMA, conditions=GIVEN[:1]))
    frame = CanonicalFrame(GROUP, ECAL, SCHEMA)
    with pytest.raises(KeyError, match="hold neither momentum nor position"):
        frame.element({"incident_energy": torch.ones(3)})


def test_elements_form_a_group_so_that_every_orbit_has_one_representative():
    events = showers(40, seed=3)[4:]
    frame = CanonicalFrame(GROUP, ECAL, SCHEMA)
    found = []
    for element in GROUP:
        given = as_tensors(element.conditions(events.conditions, GIVEN))
        found.append(frame.conditions(given, frame.element(given)))
    for a, b in itertools.pairwise(found):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
