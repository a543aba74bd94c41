from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from small import small_recipe
from understudy.scan.figures import contents, summary_figure, union_figure
from understudy.scan.page import _mark
from understudy.scan.plan import Task
from understudy.scan.results import Mean, RunResult, mean


def runs(*values):
    task = Task("base", 1, small_recipe(), Path())
    return [RunResult(task, None if v is None else {"score": {"score": v}}) for v in values]


def test_the_error_of_a_mean_is_the_spread_over_the_root_of_the_number_of_seeds():
    found = mean(runs(1.0, 2.0, 3.0, 4.0), "score", "score", over=2.0)
    assert found == pytest.approx((1.25, np.std([0.5, 1, 1.5, 2], ddof=1) / 2, np.std([0.5, 1, 1.5, 2], ddof=1)))
    assert mean(runs(1.0, None, 3.0), "score", "score")[0] == 2.0
    assert mean(runs(2.0), "score", "score")[0] == 2.0
    assert math.isnan(mean(runs(2.0), "score", "score").error)
    assert math.isnan(mean(runs(2.0), "score", "nothing").value)


def test_union_and_spread_of_the_seeds():
    edges = np.array([0.0, 1.0, 2.0, 3.0])
    samples = [np.array([0.5, 0.5, 1.5, np.nan]), np.array([0.5, 1.5, 1.5, 2.5, 9.0])]
    union, spread = contents(samples, edges)
    assert union == pytest.approx([3 / 8, 3 / 8, 1 / 8])
    each = np.array([[2 / 3, 1 / 3, 0], [1 / 5, 2 / 5, 1 / 5]])
    assert spread == pytest.approx(each.std(0, ddof=1))
    assert contents(samples[:1], edges)[1] == pytest.approx([0, 0, 0])


def test_marks_need_more_than_the_seeds_give_by_chance():
    rng = np.random.default_rng(1)
    base = list(rng.normal(1, 0.1, 5))
    assert _mark([x + 1 for x in base], base) == "worse"
    assert _mark([x - 1 for x in base], base) == "better"
    assert _mark(list(rng.normal(1, 0.1, 5)), base) == ""
    assert _mark([9.0], base) == _mark([math.nan, 3.0], base) == _mark([1.0, 1.0], [1.0, 1.0]) == ""


def test_figures_take_samples_without_values_and_variants_without_errors():
    rng = np.random.default_rng(2)
    reference = ("reference", rng.normal(size=200), None)
    samples = {"a": [rng.normal(size=90), rng.normal(size=90)], "$b$": [np.full(90, np.nan)]}
    assert len(union_figure("x", "MeV", reference, samples).axes) == 2
    means = {"a": Mean(1.0, 0.1, 0.2), "$b$": Mean(math.nan, math.nan, math.nan)}
    (axes,) = summary_figure("$p", "score", means, {"a": [1.0, 1.1], "$b$": [math.nan]}, 0.01).axes
    assert axes.get_yscale() == "log"
