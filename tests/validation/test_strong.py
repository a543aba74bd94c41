"""Judges trained on the training events, tails, and regions that were never trained on."""

from __future__ import annotations

import numpy as np
import pytest

from understudy.events import Events
from understudy.geometry import Calorimeter, Layer
from understudy.schema import Block, Schema
from understudy.validation import figures_report
from understudy.validation.compare import compare
from understudy.validation.html import page
from understudy.validation.judges import Inputs, boosting_logits, grid_sums
from understudy.validation.regions import compare_regions
from understudy.validation.settings import ClassifierSettings, StrongSettings, Thresholds, ValidationSettings, VarietySettings
from understudy.validation.strong import StrongJudges

GRID = Calorimeter(
    "small",
    (
        Layer.grid("front", (2, 3), (1.0, 1.0), (-1.0, -1.5), axes=("x", "y"), units=("mm", "mm")),
        Layer.grid("back", (3, 3), (1.0, 1.0), (-1.5, -1.5), axes=("x", "y"), units=("mm", "mm")),
    ),
)
SCHEMA = Schema((Block("incident_energy", "MeV", minimum=0.0),), (Block("showers", "MeV", shape=(15,), minimum=0.0),))
HARD = ClassifierSettings(
    seeds=1, epochs=3, iterations=20, replicas=40, trained_on="training", strong=StrongSettings(epochs=4, iterations=40)
)
QUICK = ValidationSettings(replicas=30, floor_repeats=2, energy_bins=2, classifier=HARD, variety=VarietySettings(conditions=0))


def toy(n: int, seed: int, energy: np.ndarray | None = None) -> Events:
    rng = np.random.default_rng(seed)
    e = np.exp(rng.uniform(np.log(1e4), np.log(1e5), n)) if energy is None else np.asarray(energy, float)
    share = rng.gamma(20.0, 0.05, (n, 15)) * np.linspace(1, 2, 15)
    cells = share / share.sum(1, keepdims=True) * (e * rng.normal(1, 0.02, n))[:, None]
    return Events(SCHEMA, {"incident_energy": e}, {"showers": cells})


def same(events: Events, seed: int, factor: float = 1.0) -> Events:
    made = toy(len(events), seed, events["incident_energy"])
    return made.with_response(made.packed() * np.float32(factor))


TRAIN, TEST = toy(1200, 1), toy(500, 2)


def judges(settings: ClassifierSettings = HARD, **changes) -> StrongJudges:
    words = {"train": TRAIN, "reference": TEST, "floor": None} | changes
    return StrongJudges(**words, geometry=GRID, settings=settings, generator=np.random.default_rng(0))


def test_a_perfect_candidate_is_not_told_apart_and_a_shifted_scale_is():
    asked = judges()
    perfect = asked.metrics(asked("perfect", same(TRAIN, 3), same(TEST, 4)))
    shifted = asked.metrics(asked("shifted", same(TRAIN, 3, 1.015), same(TEST, 4, 1.015)))
    for judge in ("low_level", "high_level", "combined"):
        found = getattr(perfect, judge)
        assert found.auc == pytest.approx(0.5, abs=4 * found.error)
        assert found.floor == pytest.approx(0.5, abs=4 * found.floor_error)
        assert 0.01 < found.error < found.floor_error < 0.06  # the floor has half the events
    assert shifted.high_level.auc > 0.6
    assert shifted.combined.auc > 0.6
    assert shifted.low_level.auc > 0.57
    assert (perfect.training_events, perfect.tested_events) == (2400, 1000)
    assert (perfect.floor_training_events, perfect.floor_tested_events) == (1200, 500)


def test_a_library_that_gives_its_training_events_out_again_blinds_the_judges_but_not_the_neighbours():
    settings = QUICK
    report = compare(TEST, TRAIN[:500], train=TRAIN, at_training={"candidate": TRAIN}, geometry=GRID, settings=settings, seed=1)
    found = report.metrics["classifier_strong"]
    for judge in ("low_level", "high_level", "combined"):
        assert found[judge]["auc"] == pytest.approx(0.5, abs=0.1)
    near = report.metrics["neighbours"]
    assert near["training_distance_ks"]["value"] > 0.9
    assert near["nearer_ks"]["value"] == near["training_distance_ks"]["value"]
    failed = {c["name"] for c in report.metrics["checks"] if not c["passed"]}
    assert {"too_close", "training_distance_ks"} <= failed


def test_the_floor_uses_a_second_sample_where_there_is_one_and_training_events_can_be_limited():
    few = HARD.model_copy(update={"strong": StrongSettings(events=300, epochs=1, iterations=5)})
    asked = judges(few, floor=same(TEST, 5))
    found = asked.metrics(asked("one", same(TRAIN, 3), same(TEST, 4)))
    assert (found.training_events, found.floor_training_events, found.floor_tested_events) == (600, 300, 1000)


def test_the_same_seed_gives_the_same_answers():
    few = HARD.model_copy(update={"strong": StrongSettings(events=200, epochs=1, iterations=5)})
    a, b = (judges(few)("one", same(TRAIN, 3), same(TEST, 4)) for _ in range(2))
    np.testing.assert_array_equal(a.scores["combined"][0], b.scores["combined"][0])


def test_sums_of_rows_columns_and_layers_agree_with_a_slow_twin():
    cells = np.random.default_rng(1).random((4, 15))
    front, back = cells[:, :6].reshape(4, 2, 3), cells[:, 6:].reshape(4, 3, 3)
    for row, f, b in zip(grid_sums(cells, GRID), front, back, strict=True):
        slow = []
        for layer in (f, b):
            slow += [sum(r) for r in layer]
            slow += [sum(layer[i][j] for i in range(len(layer))) for j in range(3)]
            slow.append(sum(sum(r) for r in layer))
        np.testing.assert_allclose(row, slow)
    more, fewer = (Inputs.of(TEST[:5], GRID, sums).cells.shape[1] for sums in (True, False))
    assert more - fewer == 2 * (2 + 3 + 1 + 3 + 3 + 1)


def test_a_column_that_no_training_event_has_is_no_error():
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=400), np.full(400, np.nan), np.ones(400)])
    y = (x[:, 0] > 0).astype(int)
    unseen = np.array([[2.0, 1.0, 1.0], [-2.0, np.nan, 1.0]])
    logits = boosting_logits(x, y, np.ones(400), unseen, 0, 20)
    assert logits[0] > 0 > logits[1]


def test_strong_judges_refuse_what_they_would_tell_apart_by_the_conditions():
    asked = judges(HARD.model_copy(update={"strong": StrongSettings(events=100, epochs=1, iterations=2)}))
    with pytest.raises(ValueError, match="'one' was to be sampled at the conditions of the 100 training events, one by one"):
        asked("one", toy(100, 9), same(TEST, 4))
    with pytest.raises(ValueError, match="candidate 'candidate' was not sampled at the training conditions"):
        compare(TEST, same(TEST, 4), train=TRAIN, at_training={}, geometry=GRID, settings=QUICK)
    with pytest.raises(ValueError, match="cannot be trained on 40 reference and 40 candidate events"):
        judges(train=TRAIN[:80])
    narrow = Schema(SCHEMA.conditions, (Block("showers", "MeV", shape=(2,)),))
    other = Events(narrow, {"incident_energy": np.ones(200)}, {"showers": np.ones((200, 2))})
    with pytest.raises(ValueError, match="the training sample has the response"):
        judges(train=other)


def test_inside_a_region_that_was_never_trained_on_a_candidate_is_judged_by_itself(monkeypatch):
    reference = toy(1200, 6)
    energy = reference["incident_energy"]
    held_out = (energy > 2e4) & (energy < 4e4)
    answer, made = same(reference, 7).packed(), same(TRAIN, 8)
    wrong = reference.with_response(np.where(held_out[:, None], 1.03 * answer, answer))  # only where it never learned
    strict = QUICK.model_copy(update={"thresholds": Thresholds(strong_combined=0.5)})
    report = compare(
        reference, wrong, train=TRAIN, at_training={"candidate": made}, held_out=held_out, geometry=GRID, settings=strict, seed=2
    )
    inside, outside = (report.metrics["hold_out"][side] for side in ("inside", "outside"))
    assert (inside["events"], outside["events"]) == (held_out.sum(), (~held_out).sum())
    scales = [side["candidates"]["candidate"]["scale"] for side in (inside, outside)]
    assert scales[0]["value"] == pytest.approx(0.03, abs=4 * scales[0]["error"])
    assert scales[1]["value"] == pytest.approx(0.0, abs=4 * scales[1]["error"])
    wasserstein = [side["candidates"]["candidate"]["observables"]["response"]["wasserstein1"] for side in (inside, outside)]
    assert wasserstein[0]["value"] > 3 * wasserstein[0]["floor"]
    assert wasserstein[1]["value"] < 3 * wasserstein[1]["floor"]
    assert set(inside["candidates"]["candidate"]["classifier_strong"]) == {"low_level", "high_level", "combined"}
    assert "classifier_strong_combined" in {c["name"] for c in report.metrics["checks"]}
    for part in ("observable", "curve", "neighbour", "shower", "distance", "gallery", "correlation", "difference"):
        name = next(n for n in (f"{part}_panels", f"{part}_panel") if hasattr(figures_report, n))
        nothing = None if name.endswith("panel") else ({} if part in ("observable", "curve") else [])
        monkeypatch.setattr(figures_report, name, lambda report, nothing=nothing: nothing)
    text = page(report)
    for part in (
        'id="interpolation"',
        'id="tails"',
        "AUC, trees on both, trained on training events",
        "KS of distances to training",
    ):
        assert part in text
    assert "AUC, both, trained on training" in {row["quantity"] for row in report.summary_rows()}


def test_regions_that_cannot_be_compared():
    def regions(mask, candidate):
        return compare_regions(mask, TEST, {"one": candidate}, None, GRID, QUICK, 0)

    with pytest.raises(ValueError, match="10 of 500 test events lie inside the held-out region; at least 100 are needed"):
        regions(np.arange(500) < 10, same(TEST, 1))
    with pytest.raises(ValueError, match=r"marks \(3,\) events where the reference has 500"):
        regions(np.ones(3, bool), same(TEST, 1))
    with pytest.raises(ValueError, match="'one' is not at the conditions of the test events"):
        regions(np.arange(500) < 200, toy(500, 1))
