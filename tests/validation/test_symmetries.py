"""The check of a stand-in's symmetries: quiet where they hold, loud where they do not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from small import small_recipe
from understudy import geometry
from understudy.build import build_stage, training_batch
from understudy.domain import Domain
from understudy.journey import kept_symmetries
from understudy.prepare import Preparation
from understudy.registry import factory
from understudy.schema import Block
from understudy.splits import Data
from understudy.surrogate import Surrogate
from understudy.symmetry import Augment, augmented
from understudy.validation.metrics import Metrics
from understudy.validation.symmetries import compared, pulls, symmetry_pulls

ECAL = geometry.builtin("lhcb-ecal")


def showers(n, seed=0):
    return factory("references", {"kind": "parametric-lhcb-ecal"})().generate(n, np.random.default_rng(seed))


def misaligned(events):
    """The calorimeter moved by one cell along x: showers that have no mirror image."""
    images = events["showers"].reshape(len(events), 30, 30)
    return events.with_response({"showers": np.roll(images, 1, axis=1).reshape(len(events), -1)})


def trained(events, augment):
    """A shower library of these events."""
    recipe = small_recipe("lhcb-ecal")
    stage = build_stage(recipe.baseline, recipe, events.schema, ECAL)
    batch = training_batch(stage, augmented(events, augment, ECAL, np.random.default_rng(1)))
    stage.model.fit(batch.response, batch.conditions, batch.weights)
    return Surrogate(events.schema, [stage], ECAL, Domain.of(events))


def test_pulls_are_standard_normal_and_defined_only_where_there_is_something_to_see():
    rng = np.random.default_rng(1)
    differences = rng.normal(0, [[3.0]], (400, 500))
    assert stats.kstest(pulls(differences), "norm").pvalue > 1e-3
    differences[:, 0] += 3.0
    assert pulls(differences)[0] == pytest.approx(20, abs=5)
    differences[:, 1] = 0.0
    differences[:390, 2] = np.nan
    assert np.isnan(pulls(differences)[1:3]).all()
    differences[:, 3] = 1.0  # without any spread it is off for certain
    assert pulls(differences)[3] == np.inf


def test_the_same_sample_has_no_pull_and_the_largest_of_many_is_judged_among_them():
    events = showers(60)
    found = compared(events, events, ECAL)
    assert found["cells"]["max_pull"] is None
    noisy = events.with_response({"showers": events["showers"] * np.random.default_rng(2).uniform(0.9, 1.1, (60, 900))})
    found = compared(events, noisy, ECAL)
    assert found["cells"]["number"] > 30
    assert found["cells"]["p_value"] > 1e-3
    chance = 1 - (1 - 2 * stats.norm.sf(found["cells"]["max_pull"])) ** found["cells"]["number"]
    assert found["cells"]["p_value"] == pytest.approx(chance, rel=1e-6)


@pytest.fixture(scope="module")
def learned():
    events = misaligned(showers(700))
    return {name: trained(events, augment) for name, augment in (("plain", None), ("augmented", Augment()))}


def test_a_model_trained_with_augmentation_keeps_the_symmetries(learned):
    found = symmetry_pulls(learned["augmented"], showers(400, 5), ECAL, np.random.default_rng(3))
    assert list(found) == ["mirror-x", "mirror-y", "exchange-xy"]
    for name, symmetry in found.items():
        for part in ("cells", "observables"):
            assert symmetry[part]["p_value"] > 1e-3, (name, part, symmetry)
        assert symmetry["events"] == 400
        assert symmetry["observables"]["number"] > 5


def test_a_model_trained_without_it_on_asymmetric_events_does_not(learned):
    found = symmetry_pulls(learned["plain"], showers(400, 5), ECAL, np.random.default_rng(3))
    for name in ("mirror-x", "exchange-xy"):
        assert found[name]["cells"]["p_value"] < 1e-6
        assert found[name]["observables"]["max_pull"] > 8
    assert found["mirror-x"]["observables"]["name"] == "mean_x_ecal"
    assert found["mirror-y"]["cells"]["p_value"] > 1e-3  # along y nothing was moved


def test_the_parametric_reference_is_symmetric_itself():
    source = factory("references", {"kind": "parametric-lhcb-ecal"})()
    found = symmetry_pulls(source.simulator, showers(400, 5), ECAL, np.random.default_rng(3))
    assert all(s[part]["p_value"] > 1e-3 for s in found.values() for part in ("cells", "observables"))


def test_a_run_reports_the_declared_symmetries_where_they_can_be_tested(learned, surrogate, events):
    asked = showers(120, 5)
    recipe = small_recipe("lhcb-ecal")
    found = kept_symmetries(recipe, learned["augmented"], data(asked, ECAL))
    assert list(found) == ["mirror-x", "mirror-y", "exchange-xy"]
    assert found == kept_symmetries(recipe, learned["augmented"], data(asked, ECAL))
    report = Metrics.model_validate({**metrics(), "symmetries": found}).plain()
    assert report["symmetries"]["mirror-x"]["cells"]["number"] > 10
    assert kept_symmetries(recipe, surrogate, data(events, geometry.builtin("atlas-em-89"))) == {}  # has none
    odd = asked.with_condition(Block("true_eta"), np.zeros(120))  # nobody said how a mirror changes it
    assert kept_symmetries(recipe, learned["augmented"], data(odd, ECAL)) == {}


def data(test, shape):
    return Data(test, test, test, None, Preparation(), shape, "reference", "")


def metrics():
    sample = {"name": "s", "events": 1, "sha256": ""}
    judged = {"auc": 0.5, "error": 0.1, "floor": 0.5, "floor_error": 0.1}
    judges = dict.fromkeys(("low_level", "high_level", "combined", "neighbour"), judged)
    return {
        "reference": sample,
        "floor_sample": sample,
        "candidate": sample,
        "classifier": {**judges, "training_events": 1},
        "observables": {},
        "paired": False,
        "floor_paired": False,
        "verdict": "pass",
        "reasons": [],
        "seed": 1,
    }
