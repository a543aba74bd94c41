import time

import numpy as np
import pytest

from understudy.events import Block, Events, Schema
from understudy.geometry import builtin
from understudy.validation.observables import Observable
from understudy.validation.score import PENALTY, PhysicsScore

GEOMETRY = builtin("atlas-em-89")


def toy(n=1000, seed=1, scale=1.0, geometry=GEOMETRY, weights=None):
    generator = np.random.default_rng(seed)
    energy = generator.uniform(1e3, 6e4, n)
    cells = generator.gamma(0.3, 1.0, (n, geometry.n_cells)) * energy[:, None] / geometry.n_cells / 0.3
    schema = Schema((Block("incident_energies", "MeV"),), (Block("showers", "MeV", shape=(geometry.n_cells,)),))
    return Events(schema, {"incident_energies": energy}, {"showers": scale * cells}, weights=weights)


def table(values, mask=None):
    return Events(Schema((Block("p", "MeV"),), (Block("t", "ns"),)), {"p": np.ones(len(values))}, {"t": values}, mask=mask)


def test_the_reference_has_score_zero_and_another_sample_a_small_one():
    score = PhysicsScore(toy(), GEOMETRY)
    itself = score.score(toy())
    assert itself["score"] == pytest.approx(0, abs=1e-12)
    assert itself["response_bias"] == pytest.approx(0, abs=1e-12)
    assert 0 < score.score(toy(seed=2))["score"] < 0.1


def test_worse_samples_score_worse():
    score = PhysicsScore(toy(), GEOMETRY)
    found = [score.score(toy(seed=2, scale=s)) for s in (1.0, 1.02, 1.1, 1.5)]
    assert [f["score"] for f in found] == sorted(f["score"] for f in found)
    assert found[-1]["response_bias"] == pytest.approx(0.5, abs=0.03)
    assert found[-1]["width_eta_strips"] == pytest.approx(found[0]["width_eta_strips"], rel=1e-3)


def test_a_shift_is_measured_in_standard_deviations():
    values = np.random.default_rng(3).normal(10, 2, 4000)
    result = PhysicsScore(table(values)).score(table(values + 1))
    assert result["t"] == pytest.approx(1 / values.std(), rel=1e-4)
    assert result["score"] == result["t"]


def test_observables_that_are_not_defined_cost_a_penalty():
    values = np.random.default_rng(3).normal(10, 2, 1000)
    score = PhysicsScore(table(values))
    half = np.arange(1000) % 2 == 0
    missing = score.score(table(np.where(half, values, np.nan), half))
    assert missing["t"] == pytest.approx(0.5 * PENALTY, abs=0.06)
    nothing = score.score(table(np.full(1000, np.nan), np.zeros(1000, bool)))
    assert nothing["t"] == PENALTY


def test_constants_of_the_reference_are_compared_too():
    score = PhysicsScore(table(np.full(50, 20.0)))
    assert score.score(table(np.full(50, 20.0)))["t"] == 0
    assert score.score(table(np.full(50, 30.0)))["t"] == pytest.approx(0.5)
    assert PhysicsScore(table(np.zeros(50))).score(table(np.full(50, 3.0)))["t"] == pytest.approx(3)


def test_weights_count():
    generator = np.random.default_rng(4)
    weights = generator.integers(0, 3, 1000)
    score = PhysicsScore(toy(), GEOMETRY)
    events = toy(seed=2)
    weighted = score.score(toy(seed=2, weights=weights))
    repeated = score.score(events[np.repeat(np.arange(1000), weights)])
    for name, value in weighted.items():
        assert value == pytest.approx(repeated[name], rel=1e-6, abs=1e-9), name


def test_chosen_observables_only():
    mean_p = Observable("p2", "MeV", "p", lambda e, g: 2.0 * np.asarray(e.conditions["p"]))
    assert set(PhysicsScore(table(np.ones(3)), None, [mean_p]).score(table(np.ones(3)))) == {"p2", "score"}


@pytest.mark.parametrize(("name", "limit"), [("atlas-em-89", 0.3), ("lhcb-ecal", 2.0)])
def test_cheap_enough_for_every_checkpoint(name, limit):
    geometry = builtin(name)
    score, events = PhysicsScore(toy(2000, geometry=geometry), geometry), toy(2000, 2, geometry=geometry)
    start = time.process_time()
    score.score(events)
    assert time.process_time() - start < limit


def test_bad_input():
    with pytest.raises(ValueError, match="there are no events to score"):
        PhysicsScore(toy(), GEOMETRY).score(toy(0))
    with pytest.raises(ValueError, match="a score needs reference events"):
        PhysicsScore(toy(0), GEOMETRY)
    with pytest.raises(ValueError, match="fits 0 blocks"):
        PhysicsScore(toy(), builtin("lhcb-ecal"))
