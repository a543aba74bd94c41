"""Many samples of one condition: a collapsed stand-in is flagged, a perfect one passes, and the numbers are what they say."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from understudy.events import Events
from understudy.references.shower import parametric_atlas
from understudy.schema import Block, Schema
from understudy.validation import variety as of_variety
from understudy.validation.settings import Thresholds, ValidationSettings
from understudy.validation.variety import Variety, at_one_condition, condition_points, nearest_rows, spread_of, typical_rows
from understudy.validation.verdict import Check, judge

SOURCE = parametric_atlas()
GRID = SOURCE.geometry
SETTINGS = ValidationSettings(replicas=60)
PLAIN = Schema(
    (Block("incident_energy", "MeV", minimum=0.0), Block("angle", kind="periodic", period=2 * math.pi)),
    (Block("signal", "mm", shape=(2,), columns=("a", "b")),),
)


def at_one(n: int, seed: int, energy: float = 2e4) -> Events:
    conditions = {"incident_energy": np.full(n, energy), "position": np.tile([10.0, 15.0], (n, 1))}
    return SOURCE.simulator.simulate(conditions, np.random.default_rng(seed))


def collapsed(events: Events) -> Events:
    """The first answer, given to everybody."""
    return events.with_response({k: np.repeat(v[:1], len(events), axis=0) for k, v in events.response.items()})


def plain(n: int, width: float, seed: int) -> Events:
    rng = np.random.default_rng(seed)
    conditions = {"incident_energy": rng.uniform(1e3, 1e4, n), "angle": rng.uniform(0, 2 * math.pi, n)}
    return Events(PLAIN, conditions, {"signal": rng.normal(5.0, width, (n, 2))})


def studied(variety: Variety, seed: int = 0, name: str = "model", geometry: Any = GRID) -> dict[str, Any]:
    found = at_one_condition(variety, name, geometry, SETTINGS, np.random.default_rng(seed))
    assert found is not None
    return found


def widths_check(study: dict[str, Any], **thresholds: float) -> Check:
    checks = judge_variety([study], Thresholds(**thresholds))
    assert checks is not None
    return checks


def judge_variety(studies: list[dict[str, Any]], thresholds: Thresholds) -> Check | None:
    from understudy.validation import verdict

    return verdict._widths(studies, thresholds)


def test_a_collapsed_stand_in_has_no_width_and_fails() -> None:
    fresh = at_one(200, 1)
    found = studied(Variety("20 GeV", {}, at_one(200, 0), {"model": collapsed(fresh)}))
    ratios = [e["width_ratio"]["value"] for e in found["observables"].values() if math.isfinite(e["width_ratio"]["value"])]
    assert len(ratios) > 5
    assert max(ratios) < 1e-6
    check = widths_check(found)
    assert not check.passed
    assert "0.00 +- 0.00 of the reference's" in check.sentence
    assert "20 GeV" in check.sentence


def test_a_perfect_stand_in_passes() -> None:
    passed = [
        widths_check(studied(Variety("20 GeV", {}, at_one(300, 2 * s), {"model": at_one(300, 2 * s + 1)}), s)).passed
        for s in range(6)
    ]
    assert all(passed)


def test_a_stand_in_with_half_the_width_fails() -> None:
    reference, other = at_one(300, 0), at_one(300, 1)
    cells = other.response["showers"]
    narrow = other.with_response({"showers": 0.5 * cells + 0.5 * cells.mean(0)})
    check = widths_check(studied(Variety("x", {}, reference, {"model": narrow})))
    assert not check.passed
    assert check.excess > 0.3


def test_widths_and_their_errors_are_those_of_gaussians() -> None:
    n, m = 4000, 2500
    found = studied(Variety("x", {}, plain(n, 2.0, 0), {"model": plain(m, 3.0, 1)}), geometry=None)["observables"]["signal_a"]
    ratio = found["width_ratio"]
    tail, density = 0.1587, 0.2420  # variance of half of the interval between two quantiles of a Gaussian, over its square
    expected = 1.5 * math.sqrt((tail * (1 - 2 * tail) / (2 * density**2)) * (1 / n + 1 / m))
    assert ratio["value"] == pytest.approx(1.5, abs=4 * expected)
    assert ratio["error"] == pytest.approx(expected, rel=0.4)
    assert found["reference_mean"]["error"] == pytest.approx(2.0 / math.sqrt(n), rel=0.4)
    assert found["unit"] == "mm"


def test_the_floor_of_ks_is_that_of_equal_distributions() -> None:
    n, m = 1000, 400
    rng = np.random.default_rng(0)
    floors = [of_variety.ks_floor(rng.normal(size=n), None, m, rng) for _ in range(10)]
    assert np.mean(floors) == pytest.approx(math.sqrt(math.pi / 2) * math.log(2) * math.sqrt(1 / n + 1 / m), rel=0.1)


def test_energies_are_over_the_incident_energy() -> None:
    one, other = at_one(60, 0, 1e4), at_one(60, 0, 4e4)
    chosen = of_variety.chosen_observables(one, GRID)
    assert "response" in {o.name for o in chosen}
    assert "total_energy" not in {o.name for o in chosen}
    hottest = next(o for o in chosen if o.name == "max_cell")
    values = of_variety.values_of(other, GRID, chosen)
    assert np.allclose(values["max_cell"], hottest(other, GRID) / 4e4)
    assert of_variety.unit_of(hottest, other) == ""


def test_spread_conditions_are_compared_with_samples_at_the_same() -> None:
    conditions = SOURCE.gun.draw(300, np.random.default_rng(7))
    reference, matched = (SOURCE.simulator.simulate(conditions, np.random.default_rng(s)) for s in (1, 2))
    found = studied(Variety("x", {}, reference, {"model": at_one(300, 3)}, {"model": matched}))
    assert not found["exact"]
    entry = found["observables"]["zero_fraction"]
    assert entry["width_ratio"]["value"] == pytest.approx(1.0, abs=0.25)
    assert entry["width_ratio_at_one_condition"]["value"] < 0.6


def test_candidates_that_were_not_asked_are_left_out() -> None:
    variety = Variety("x", {}, at_one(40, 0), {"model": at_one(40, 1)})
    assert at_one_condition(variety, "other", GRID, SETTINGS, np.random.default_rng(0)) is None
    assert judge_variety([], Thresholds()) is None


def test_too_few_events_give_no_number() -> None:
    entry = studied(Variety("x", {}, at_one(20, 0), {"model": at_one(20, 1)}))["observables"]["response"]
    assert math.isnan(entry["width_ratio"]["value"])


def test_what_chance_may_do_is_not_chosen_before_what_it_may_not() -> None:
    observables = {
        "loose": {"width_ratio": {"value": 2.0, "error": 0.5}},
        "tight": {"width_ratio": {"value": 0.7, "error": 0.01}},
        "none": {"width_ratio": {"value": math.nan, "error": math.nan}},
    }
    check = widths_check({"name": "x", "observables": observables})
    assert not check.passed
    assert "tight" in check.sentence
    assert widths_check({"name": "x", "observables": observables}, variety=0.5).passed


def test_many_numbers_need_more_sigmas() -> None:
    from understudy.validation.verdict import _sigmas_of_many

    assert _sigmas_of_many(3.0, 1) == pytest.approx(3.0)
    many = _sigmas_of_many(3.0, 26)
    assert 1 - (1 - math.erfc(many / math.sqrt(2))) ** 26 == pytest.approx(math.erfc(3 / math.sqrt(2)))
    assert _sigmas_of_many(0.0, 5) == 0.0
    assert _sigmas_of_many(100.0, 5) == 100.0


def test_the_check_is_among_all_others(report_parts: dict[str, Any]) -> None:
    study = {"name": "x", "observables": {"o": {"width_ratio": {"value": 0.0, "error": 0.0}}}}
    with_it = judge(**report_parts, variety=[study])
    assert [c.name for c in with_it][-1] == "variety"
    assert len(judge(**report_parts)) == len(with_it) - 1


@pytest.fixture
def report_parts() -> dict[str, Any]:
    from understudy.validation.metrics import ClassifierMetrics, DistanceMetrics, Judged, ObservableMetrics

    judged = Judged(auc=0.5, error=0.01, floor=0.5, floor_error=0.01)
    one = DistanceMetrics(value=0.1, error=0.01, floor=0.1, floor_error=0.01)
    observable = ObservableMetrics(
        unit="", wasserstein1=one, separation_power=one, ks=one, defined={"reference": 1.0, "candidate": 1.0}
    )
    classifier = ClassifierMetrics(low_level=judged, high_level=judged, combined=judged, neighbour=judged, training_events=10)
    return {
        "classifier": classifier,
        "observables": {"o": observable},
        "scale": None,
        "neighbours": {},
        "thresholds": Thresholds(),
    }


def test_nearest_rows_agree_with_a_slow_twin() -> None:
    events = SOURCE.generate(80, np.random.default_rng(0))
    logs = np.log(np.asarray(events.conditions["incident_energy"], float))
    columns = np.column_stack([logs, np.asarray(events.conditions["position"], float)])
    row = 17
    distances = []
    for i in range(80):
        distances.append(sum(((columns[i, j] - columns[row, j]) / columns[:, j].std()) ** 2 for j in range(3)))
    assert list(nearest_rows(events, row, 9)) == sorted(np.argsort(distances)[:9])
    assert len(nearest_rows(events, row, 500)) == 80


def test_points_know_periods_and_slopes() -> None:
    angles = Events(PLAIN, {"incident_energy": [1e3, 1e3, 1e3], "angle": [0.01, 6.27, 3.0]}, {})
    points = condition_points(angles)
    assert np.linalg.norm(points[0] - points[1]) < 0.2 * np.linalg.norm(points[0] - points[2])
    momentum = Schema((Block("momentum", "MeV", shape=(3,), columns=("px", "py", "pz")),), ())
    p = np.array([[1.0, 2.0, 10.0], [2.0, 4.0, 20.0], [3.0, -1.0, 30.0], [5.0, 2.0, 11.0]])
    points = condition_points(Events(momentum, {"momentum": p}, {}))
    assert np.allclose(points[0, :2], points[1, :2])
    assert points[0, 2] != points[1, 2]


def test_points_need_numbers() -> None:
    schema = Schema((Block("tracks", kind="jagged"),), ())
    import awkward

    with pytest.raises(ValueError, match="no given condition is made of numbers"):
        condition_points(Events(schema, {"tracks": awkward.Array([[1.0], [2.0, 3.0]])}, {}))


def test_typical_rows_are_at_the_quantiles() -> None:
    events = SOURCE.generate(400, np.random.default_rng(1))
    energy = np.asarray(events.conditions["incident_energy"])
    places = [float(np.mean(energy < energy[row])) for row in typical_rows(events, GRID, 4)]
    assert np.allclose(places, [0.125, 0.375, 0.625, 0.875], atol=0.06)
    assert typical_rows(events, GRID, 0) == []
    alike = dataclasses.replace(events, conditions={k: np.repeat(v[:1], 400, axis=0) for k, v in events.conditions.items()})
    assert typical_rows(alike, GRID, 3) == [0]


def test_the_spread_is_said() -> None:
    words = spread_of(at_one(5, 0))
    assert words == "energy 20 GeV to 20 GeV; position 10 ± 0, 15 ± 0 mm"
