"""The classifier two-sample test sees what it must see, and nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest

from understudy import geometry
from understudy.events import Events
from understudy.schema import Array, Block, Schema
from understudy.validation.classifier import ClassifierSettings, neighbour_scores, split, two_sample_test, weighted_auc
from understudy.validation.judges import Inputs, balanced

CALORIMETER = geometry.builtin("atlas-em-89")
SHOWERS = Schema(
    (Block("incident_energy", "MeV", minimum=0.0),), (Block("showers", "MeV", shape=(CALORIMETER.n_cells,), minimum=0.0),)
)
QUICK = ClassifierSettings(seeds=2, epochs=8, iterations=60, replicas=50)


def toy_showers(n: int, generator: np.random.Generator, energy: Array | None = None) -> Events:
    """Photon-like showers of 10 to 300 GeV with 10 % / sqrt(E / GeV), fluctuating in depth, width and position."""
    e = np.exp(generator.uniform(np.log(1e4), np.log(3e5), n)) if energy is None else np.asarray(energy, float)
    gev = e[:, None] / 1e3
    depth = 0.15 * generator.standard_normal((n, 1)) + 0.05 * np.log(gev)
    shares = np.array([0.03, 0.25, 0.65, 0.07]) * np.exp(depth * np.array([-1.5, -0.7, 0.4, 1.5]))
    shares /= shares.sum(1, keepdims=True)
    where = generator.uniform(0, (0.025, geometry.DPHI), (n, 2))
    width = 0.010 * np.exp(0.1 * generator.standard_normal((n, 1)))
    parts = []
    for i, layer in enumerate(CALORIMETER.layers):
        distance = np.hypot(*(layer.centres[:, a] - where[:, a, None] for a in (0, 1)))
        profile = layer.areas * np.exp(-distance / width)
        mean = 40 * gev * shares[:, i, None] * profile / profile.sum(1, keepdims=True)
        parts.append(generator.gamma(mean + 1e-3))
    cells = np.concatenate(parts, axis=1)
    total = 0.95 * e * (1 + 0.1 / np.sqrt(gev[:, 0]) * generator.standard_normal(n))
    cells *= (total / cells.sum(1))[:, None]
    cells[cells < 5.0] = 0.0
    return Events(SHOWERS, {"incident_energy": e}, {"showers": cells})


def significance(test: object, floor: object, judge: str) -> float:
    a, b = test.auc[judge], floor.auc[judge]  # type: ignore[attr-defined]
    return float((a.value - b.value) / np.hypot(a.error, b.error))


def test_a_planted_energy_scale_shift_of_one_percent_is_seen_in_10000_showers() -> None:
    generator = np.random.default_rng(1)
    reference, other, more = (toy_showers(10_000, generator) for _ in range(3))
    shifted = more.with_response(more.packed() * 1.01)
    settings = ClassifierSettings(seeds=1, epochs=4, iterations=60)
    found = two_sample_test(reference, shifted, CALORIMETER, settings=settings)
    floor = two_sample_test(reference, other, CALORIMETER, settings=settings)
    assert found.training_events == 10_000
    for judge in ("high_level", "combined"):
        assert significance(found, floor, judge) > 5
    assert significance(found, floor, "neighbour") < 4  # shapes know no energy scale


def test_a_sample_that_repeats_each_shower_ten_times_is_seen() -> None:
    generator = np.random.default_rng(2)
    reference, other, few = toy_showers(2000, generator), toy_showers(2000, generator), toy_showers(200, generator)
    repeated = few[generator.permutation(np.repeat(np.arange(200), 10))]
    found = two_sample_test(reference, repeated, CALORIMETER, settings=QUICK)
    floor = two_sample_test(reference, other, CALORIMETER, settings=QUICK)
    assert found.auc["neighbour"].value > 0.99
    assert significance(found, floor, "neighbour") > 5


def test_repeats_are_seen_when_rescaled_to_other_energies_and_paired_with_the_reference() -> None:
    generator = np.random.default_rng(3)
    reference, few = toy_showers(2000, generator), toy_showers(200, generator)
    index = generator.permutation(np.repeat(np.arange(200), 10))
    scale = reference["incident_energy"] / few["incident_energy"][index]
    repeated = reference.with_response(few.packed()[index] * scale[:, None])
    scores = neighbour_scores(Inputs.of(reference, CALORIMETER), Inputs.of(repeated, CALORIMETER), paired=True)
    assert weighted_auc(scores[:2000], scores[2000:]) > 0.95


@pytest.mark.parametrize("paired", [False, True])
def test_reference_against_reference_is_a_coin_toss_with_the_quoted_error(paired: bool) -> None:
    pulls = []
    for seed in range(3):
        generator = np.random.default_rng([seed, paired])
        reference = toy_showers(1000, generator)
        other = toy_showers(1000, generator, reference["incident_energy"] if paired else None)
        found = two_sample_test(reference, other, CALORIMETER, paired=paired, settings=QUICK, seed=seed)
        pulls += [(a.value - 0.5) / a.error for a in found.auc.values()]
    assert np.abs(pulls).max() < 4
    assert np.sqrt(np.mean(np.square(pulls))) < 1.7


def test_swapping_the_samples_changes_nothing_beyond_the_error() -> None:
    generator = np.random.default_rng(5)
    reference, other = toy_showers(1500, generator), toy_showers(1200, generator)
    shifted = other.with_response(other.packed() * 1.02)
    there = two_sample_test(reference, shifted, CALORIMETER, settings=QUICK).auc
    back = two_sample_test(shifted, reference, CALORIMETER, settings=QUICK).auc
    assert there["high_level"].value > 0.6
    assert there["neighbour"].value == pytest.approx(back["neighbour"].value, abs=1e-6)
    for judge in ("low_level", "high_level", "combined"):
        assert abs(there[judge].value - back[judge].value) < 4 * np.hypot(there[judge].error, back[judge].error)


def test_same_seed_same_numbers_and_another_seed_others() -> None:
    generator = np.random.default_rng(6)
    a, b = toy_showers(300, generator), toy_showers(300, generator)
    first, again, other = (two_sample_test(a, b, CALORIMETER, settings=QUICK, seed=s).auc for s in (3, 3, 4))
    assert first == again
    assert first["low_level"] != other["low_level"]


def test_signed_weights_subtract_a_contamination() -> None:
    generator = np.random.default_rng(7)
    signal, wrong, candidate = (toy_showers(1000, generator) for _ in range(3))
    wrong = wrong.with_response(wrong.packed() * 0.8)
    template = toy_showers(1000, generator)
    template = template.with_response(template.packed() * 0.8)
    both = Events.concatenate([signal, wrong, template])
    signs = np.repeat([1.0, 1.0, -1.0], 1000)
    signed = Events(both.schema, both.conditions, both.response, weights=signs)
    clean = two_sample_test(signed, candidate, CALORIMETER, settings=QUICK).auc["high_level"]
    dirty = two_sample_test(both, candidate, CALORIMETER, settings=QUICK).auc["high_level"]
    assert abs(clean.value - 0.5) < 4 * clean.error
    assert dirty.value - 0.5 > 8 * dirty.error


def test_columns_without_a_geometry_and_events_that_were_not_detected() -> None:
    schema = Schema((Block("eta"),), (Block("dll", shape=(3,)),))
    generator = np.random.default_rng(8)

    def sample(shift: float, efficiency: float) -> Events:
        eta = generator.uniform(2, 5, 1500)
        dll = generator.standard_normal((1500, 3)) + eta[:, None] + shift
        mask = generator.random(1500) < efficiency
        dll[~mask] = np.nan
        return Events(schema, {"eta": eta}, {"dll": dll}, mask=mask)

    same = two_sample_test(sample(0, 0.7), sample(0, 0.7), settings=QUICK).auc
    shifted = two_sample_test(sample(0, 0.7), sample(0.5, 0.7), settings=QUICK).auc
    lossy = two_sample_test(sample(0, 0.7), sample(0, 0.5), settings=QUICK).auc
    for judge in ("low_level", "high_level", "combined"):
        assert abs(same[judge].value - 0.5) < 4 * same[judge].error
        assert shifted[judge].value - 0.5 > 5 * shifted[judge].error
        assert lossy[judge].value - 0.5 > 5 * lossy[judge].error


def test_pairs_stay_on_one_side_of_the_split() -> None:
    fold = split(1000, 1000, 0.6, np.random.default_rng(0), paired=True)
    assert (fold[:1000] == fold[1000:]).all()
    assert np.bincount(fold[:1000]).tolist() == [300, 300, 400]
    free = split(1000, 400, 0.6, np.random.default_rng(0), paired=False)
    assert np.bincount(free[1000:]).tolist() == [120, 120, 160]


@pytest.mark.parametrize("ties", [False, True])
def test_the_area_under_the_curve_is_the_sum_over_all_pairs(ties: bool) -> None:
    generator = np.random.default_rng(9)
    x, y = generator.normal(size=40), generator.normal(0.5, size=30)
    if ties:
        x, y = np.round(x), np.round(y)
    w, v = generator.normal(1, 1, (3, 40)), generator.normal(1, 1, (3, 30))
    slow = [
        sum(a * b * ((t > s) + 0.5 * (t == s)) for s, a in zip(x, w[r], strict=True) for t, b in zip(y, v[r], strict=True))
        / (w[r].sum() * v[r].sum())
        for r in range(3)
    ]
    np.testing.assert_allclose(weighted_auc(x, y, w, v), slow, rtol=1e-12)
    assert weighted_auc(x, y) == pytest.approx(1 - weighted_auc(y, x))
    assert np.isnan(weighted_auc(x, y, -np.ones(40)))


@pytest.mark.parametrize("paired", [False, True])
def test_neighbours_are_those_of_a_loop_over_all_events(paired: bool) -> None:
    generator = np.random.default_rng(10)
    a, b = (Inputs.of(toy_showers(40, generator), CALORIMETER) for _ in range(2))
    points = np.concatenate([a.shape, b.shape]).astype(float)
    slow = []
    for i in range(80):
        distance = [
            np.inf if j == i or (paired and j == (i + 40) % 80) else ((points[i] - points[j]) ** 2).sum() for j in range(80)
        ]
        slow.append(np.log(min(distance[:40]) / min(distance[40:])))
    np.testing.assert_allclose(neighbour_scores(a, b, paired, block=7), slow, atol=1e-3)


def test_training_weights_are_balanced_and_not_negative() -> None:
    w = balanced(np.array([0, 0, 0, 1]), np.array([1.0, -2.0, 3.0, 5.0]))
    np.testing.assert_allclose(w, [0.5, 0.0, 1.5, 2.0])
    with pytest.raises(ValueError, match="without positive weights"):
        balanced(np.array([0, 1]), np.array([-1.0, 1.0]))


def test_bad_samples_are_named() -> None:
    generator = np.random.default_rng(11)
    a, b = toy_showers(80, generator), toy_showers(60, generator)
    with pytest.raises(ValueError, match="cannot be trained on 80 reference and 20 candidate"):
        two_sample_test(a, b[:20], CALORIMETER)
    with pytest.raises(ValueError, match="equal sizes, not 80 and 60"):
        two_sample_test(a, b, CALORIMETER, paired=True)
    with pytest.raises(ValueError, match="sums above zero"):
        two_sample_test(Inputs.of(a, CALORIMETER), Inputs.of(b, CALORIMETER), weights=(-np.ones(80), None))
