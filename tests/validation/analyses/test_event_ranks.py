"""Ranks of reference events among answers: uniform for the right distribution, and how they bend for a wrong one."""

from __future__ import annotations

import numpy as np
import pytest

from understudy.events import Events
from understudy.registry import factory
from understudy.schema import Block, Schema
from understudy.validation.analyses.base import Samples

SCHEMA = Schema((Block("x", ""),), (Block("y", "", shape=(2,)),))
SMALL = {"kind": "event-ranks", "events": 500, "answers": 19}


class Gaussian:
    """Answers that are normal around the condition; their second number is 0 in half of them."""

    schema = SCHEMA

    def __init__(self, shift=0.0, width=1.0):
        self.shift, self.width = shift, width

    def simulate(self, conditions, rng):
        x = np.asarray(conditions["x"], float)
        y = x + self.shift + self.width * rng.standard_normal(len(x))
        return Events(SCHEMA, {"x": x}, {"y": np.column_stack([y, np.where(rng.random(len(x)) < 0.5, 0.0, y)])})


def samples(standins, simulator=None):
    rng = np.random.default_rng(1)
    first, second = (Gaussian().simulate({"x": rng.normal(0, 3, 800)}, rng) for _ in range(2))
    return Samples(first, second, {}, standins=standins, simulator=simulator)


def test_the_right_distribution_is_uniform_and_wrong_ones_bend():
    standins = {"right": Gaussian(), "low": Gaussian(-0.7), "narrow": Gaussian(width=0.5), "wide": Gaussian(width=2.0)}
    (finding,) = factory("analyses", SMALL)()(samples(standins, Gaussian()))
    for key in ("y_0", "y_1"):
        right, low, narrow, wide = (finding.numbers[name][key] for name in standins)
        assert right["events"] == 500
        assert right["p_value"] > 1e-3 > low["p_value"]
        assert abs(right["mean"] - 0.5) < 4 * right["mean_error"]
        assert abs(right["width"] - 1) < 4 * right["width_error"]
        assert right["floor_chi2"] < 30
        assert low["mean"] > 0.5 + 4 * low["mean_error"]
        assert narrow["width"] > 1 + 4 * narrow["width_error"]
        assert wide["width"] < 1 - 4 * wide["width_error"]
    assert len(finding.rows) == 8
    assert finding.pictures[0].mime == "image/svg+xml"


def test_it_is_the_same_twice_and_nothing_without_a_stand_in():
    first, again = (factory("analyses", SMALL)()(samples({"right": Gaussian()}))[0].numbers for _ in range(2))
    assert first == again
    assert "floor_chi2" not in first["right"]["y_0"]
    assert factory("analyses", SMALL)()(samples({})) == []


def test_answers_that_the_bins_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="50 answers give ranks 0 to 50, which 10 bins do not divide"):
        factory("analyses", {"kind": "event-ranks", "answers": 50})()
