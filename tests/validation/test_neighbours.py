import numpy as np
import pytest

from understudy.events import Block, Events, Schema
from understudy.geometry import builtin
from understudy.validation import neighbours
from understudy.validation.neighbours import near_duplicates, nearest, nearest_to, self_distances, shapes, study

GEOMETRY = builtin("atlas-em-89")


def events(energy, cells):
    schema = Schema((Block("incident_energies", "MeV"),), (Block("showers", "MeV", shape=(89,), minimum=0.0),))
    return Events(schema, {"incident_energies": energy}, {"showers": cells})


def toy(n, seed, spread=1.0):
    """Showers of a smooth profile with independent cells; `spread` below one takes variety away."""
    generator = np.random.default_rng(seed)
    energy = generator.uniform(1e4, 6e4, n)
    profile = np.exp(-np.arange(89) / 15)
    shares = profile * (1 + spread * (generator.gamma(4.0, 0.25, (n, 89)) - 1))
    return events(energy, energy[:, None] * shares / profile.sum())


TRAINING, HELDOUT = toy(1500, 1), toy(400, 2)


def look(generated):
    return study(generated, TRAINING, HELDOUT, GEOMETRY, np.random.default_rng(0)).summary


def test_nearest_agrees_with_a_slow_twin():
    generator = np.random.default_rng(3)
    query, base = generator.random((20, 6)), generator.random((50, 6))
    distances, index = nearest(query, base, 5)
    for i, q in enumerate(query):
        slow = [float(np.sqrt(sum((q - b) ** 2))) for b in base]
        order = sorted(range(50), key=slow.__getitem__)[:5]
        assert index[i].tolist() == order
        np.testing.assert_allclose(distances[i], [slow[j] for j in order], rtol=1e-6)


def test_self_distances_leave_the_shower_itself_out():
    np.testing.assert_allclose(self_distances(np.array([[0.0], [1.0], [3.0], [3.0]])), [1.0, 1.0, 0.0, 0.0], atol=1e-9)


def test_neighbours_are_found_at_other_energies():
    chosen = HELDOUT[:3]
    doubled = events(2 * chosen["incident_energies"], 2 * chosen["showers"])
    pool = Events.concatenate([toy(50, 4), doubled])
    distances, index = nearest_to(chosen, pool, GEOMETRY, 5)
    assert index.shape == (3, 5)
    assert index[:, 0].tolist() == [50, 51, 52]
    np.testing.assert_allclose(distances[:, 0], 0, atol=1e-6)
    assert (np.diff(distances, axis=1) >= 0).all()


def test_an_independent_sample_looks_like_the_reference():
    summary = look(toy(600, 5))
    assert summary["memorising_ratio"] == pytest.approx(1, abs=0.03)
    assert summary["collapse_ratio"] == pytest.approx(1, abs=0.03)
    assert summary["too_close"] < 0.03
    assert summary["too_far"] < 0.03
    assert summary["duplicates"] == summary["reference_duplicates"] == 0


def test_memorised_showers_are_too_close():
    rng = np.random.default_rng(6)
    copies = TRAINING[rng.choice(1500, 600, replace=False)]
    noisy = copies.with_response((copies["showers"] * rng.normal(1, 0.02, (600, 89))).clip(0).astype(np.float32))
    summary = look(noisy)
    assert summary["memorising_ratio"] < 0.3
    assert summary["too_close"] > 0.99
    assert summary["duplicates"] == 0


def test_partly_memorised_showers_are_counted():
    mixed = Events.concatenate([toy(480, 7), TRAINING[:120]])
    assert look(mixed)["too_close"] == pytest.approx(0.2, abs=0.03)


def test_a_collapsed_sample_leaves_the_reference_far_away():
    narrow = look(Events.concatenate([toy(6, 8)] * 100))
    assert narrow["collapse_ratio"] > 1.1
    assert narrow["too_far"] > 0.3
    assert narrow["duplicates"] == 1


def test_repeated_showers_are_found_after_a_rescaling_of_the_energy():
    generator = np.random.default_rng(9)
    few = toy(60, 10)
    factor = generator.uniform(0.5, 2, 600).astype(np.float32)
    response = 10 ** generator.uniform(-1, 1, 600)  # the sum of the cells need not follow the incident energy
    rows = np.repeat(np.arange(60), 10)
    repeated = events(few["incident_energies"][rows] * factor, few["showers"][rows] * (factor * response)[:, None])
    assert look(repeated)["duplicates"] == 1
    half = Events.concatenate([repeated[:300], toy(300, 11)])
    assert look(half)["duplicates"] == pytest.approx(0.5, abs=0.01)


def test_equal_reference_showers_do_not_hide_copies():
    """Showers that a threshold left with a single cell are equal in any sample; copies need not be exact."""
    reference = shapes(toy(300, 12), GEOMETRY)
    reference[:20] = np.eye(89)[0]
    points = shapes(toy(300, 13), GEOMETRY)
    points[:100] = points[100] * np.random.default_rng(1).normal(1, 1e-3, (100, 89))
    found, expected = near_duplicates(points, reference)
    assert found == pytest.approx(101 / 300)
    assert expected == pytest.approx(20 / 300)
    assert near_duplicates(points, np.zeros((5, 89)))[1] == 1


def test_empty_showers_have_a_shape():
    assert not shapes(events(np.ones(2), np.zeros((2, 89))), GEOMETRY).any()


def test_bad_input():
    with pytest.raises(ValueError, match="3 neighbours were asked for among 2 showers"):
        nearest(np.zeros((4, 2)), np.zeros((2, 2)), 3)
    with pytest.raises(
        ValueError, match="neighbours of 1600 generated, 1500 training and 400 held-out showers cannot be compared"
    ):
        look(toy(1600, 1))


def test_of_many_showers_some_are_compared_and_memorising_is_still_seen(monkeypatch):
    monkeypatch.setattr(neighbours, "most", lambda geometry: 150)
    made, copied = toy(700, 5), TRAINING[:700]
    found, memorised = (study(e, TRAINING, HELDOUT, GEOMETRY, np.random.default_rng(0)) for e in (made, copied))
    assert len(found.generated_to_training) == len(found.heldout_to_training) == 150
    assert 0.9 < found.summary["memorising_ratio"] < 1.1
    # of 1,500 training showers 4 x 150 are compared with: of copies as many are found
    assert memorised.summary["too_close"] == pytest.approx(0.4, abs=0.12)
    assert found.summary["too_close"] < 0.05


def test_how_many_are_compared_depends_on_the_cells():
    assert neighbours.most(GEOMETRY) > 30_000 > 6000 > neighbours.most(builtin("lhcb-hcal")) > 5000
    assert neighbours.some(HELDOUT, 400, np.random.default_rng(0)) is HELDOUT
