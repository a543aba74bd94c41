"""Which runs may share an axis, and which of them are on the front."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from finished import comparison, judged, write_run
from understudy.pareto.points import STRONG, front, groups, on_front


def test_the_front_is_what_no_other_dominates():
    rng = np.random.default_rng(1)
    for _ in range(50):
        points = [tuple(p) for p in rng.integers(0, 8, (12, 2)).tolist()]
        slow = [i for i, p in enumerate(points) if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points)]
        assert sorted(front(points)) == slow
        costs = [points[i] for i in front(points)]
        assert all(a == b or (a[0] < b[0] and a[1] > b[1]) for a, b in itertools.pairwise(costs))
    assert front([]) == []


def test_runs_of_one_reference_are_one_group_with_one_floor_and_baseline(tmp_path):
    runs = [
        write_run(tmp_path / "a", 0.55, 0.1, 10.0, baseline=0.60),
        write_run(tmp_path / "b", 0.70, 0.01, 20.0, baseline=0.62),
        write_run(tmp_path / "c", 0.71, 0.2, 5.0, name="gan", baseline=None),
    ]
    (found,) = groups([*runs, runs[0] / "report"])
    assert [p.label for p in found.points] == ["flow (a)", "flow (b)", "gan"]
    assert [p.label for p in found.baselines] == ["library"]
    assert found.baselines[0].judged["low"].auc == pytest.approx(0.61)
    assert found.baselines[0].ms is None
    assert found.floors["combined"] == pytest.approx((0.5, 0.008))
    assert [p.label for p in on_front(found, "low", "ms")] == ["flow (b)", "flow (a)"]
    assert [p.label for p in on_front(found, "low", "minutes")] == ["gan", "flow (a)"]
    assert found.hardware == ("a computer, 1 thread",)
    assert [p.ms for p in groups(runs, batch=1)[0].points] == [3.0, 3.0, 3.0]
    assert [p.ms for p in groups(runs, engine="torch")[0].points] == [2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    "other",
    [
        {"sha256": "another"},
        {"floor": "another"},
        {"settings": {"classifier": {"seeds": 5}}},
        {"reference": {"name": "showers.h5", "events": 100, "sha256": "reference", "judged_sha256": "x"}},
    ],
)
def test_what_was_judged_otherwise_is_on_another_axis(tmp_path, other):
    runs = [write_run(tmp_path / "a", 0.55, 0.1, 10.0), write_run(tmp_path / "b", 0.55, 0.1, 10.0, **other)]
    assert [len(g.points) for g in groups(runs)] == [1, 1]


def test_derived_conditions_do_not_part_runs_where_reports_say_what_was_judged(tmp_path):
    samples = {n: {"name": n, "events": 9, "judged_sha256": n} for n in ("reference", "floor_sample")}
    runs = [
        write_run(tmp_path / str(i), 0.55, 0.1, 10.0, **{n: {**s, "sha256": f"{n}{i}"} for n, s in samples.items()})
        for i in range(2)
    ]
    assert len(groups(runs)) == 1


def test_a_candidate_with_costs_of_its_own_is_a_point(tmp_path):
    timing = {"hardware": "a computer", "threads": 2, "onnx": {"100": 9.0}}
    teacher = comparison("teacher", 0.52, timing=timing, training={"minutes": 3.0, "device": "cpu", "parameters": 1})
    run = write_run(tmp_path / "a", 0.55, 0.1, 10.0, candidates={"flow": comparison("flow", 0.55), "teacher": teacher})
    (found,) = groups([run])
    assert [(p.label, p.ms, p.minutes) for p in found.points] == [("flow", 0.1, 10.0), ("teacher", 9.0, 3.0)]
    assert found.hardware == ("a computer, 1 thread", "a computer, 2 threads")


def test_what_was_not_measured_is_left_out_of_the_fronts(tmp_path):
    runs = [write_run(tmp_path / "a", None, 0.1, 10.0), write_run(tmp_path / "b", 0.6, None, None, timing=None, training=None)]
    (found,) = groups(runs)
    assert [p.ms for p in found.points] == [0.1, None]
    assert on_front(found, "low", "ms") == []


def test_strong_judges(tmp_path):
    strong = {key: judged(0.65, 0.51) for key in ("low_level", "high_level", "combined")}
    strong |= {"training_events": 28, "tested_events": 8, "floor_training_events": 28, "floor_tested_events": 8}
    main = comparison("flow", 0.55, classifier_strong=strong)
    run = write_run(tmp_path / "a", 0.55, 0.1, 1.0, classifier_strong=strong, candidates={"flow": main})
    (found,) = groups([run], judges=STRONG)
    assert found.points[0].judged["high"].auc == 0.65
    assert found.training_events == 28
    assert found.floors["low"][0] == 0.51
    weak = write_run(tmp_path / "b", 0.55, 0.1, 1.0, settings={"classifier": {"seeds": 3, "trained_on": "test"}})
    assert len(groups([run, weak])) == 1  # the judges of every report are the same
    with pytest.raises(ValueError, match="b has no strong judges"):
        groups([run, weak], judges=STRONG)


def test_no_runs_and_what_is_no_run(tmp_path):
    with pytest.raises(ValueError, match="no runs are given"):
        groups([])
    with pytest.raises(FileNotFoundError, match=r"there is no run .*nowhere"):
        groups([tmp_path / "nowhere"])
    with pytest.raises(FileNotFoundError, match="holds no metrics: it has not been validated"):
        groups([tmp_path])
    with pytest.raises(ValueError, match="format 2 where 1 is expected"):
        groups([write_run(tmp_path / "a", 0.5, 1.0, 1.0), write_run(tmp_path / "b", 0.5, 1.0, 1.0, format=2)])
    with pytest.raises(ValueError, match="no run was timed with batches of 50; there are 1, 100"):
        groups([tmp_path / "a"], batch=50)
    with pytest.raises(ValueError, match="no timing of 'gpu'; choose one of onnx, torch"):
        groups([tmp_path / "a"], engine="gpu")
