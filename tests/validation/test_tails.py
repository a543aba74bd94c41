from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from understudy.validation.bootstrap import multiplicities
from understudy.validation.moments import TAILS
from understudy.validation.observable import Observable
from understudy.validation.tails import Values, compare_tails, quantiles

SHAPE = Observable("x", "mm", "$x$", lambda e, g: np.zeros(1))


def found(reference, candidate, floor, paired=(False, False), seed=0):
    samples = [Values({"x": v}, None) for v in (reference, candidate, *floor)]
    return compare_tails([SHAPE], samples[0], samples[1], (samples[2], samples[3]), paired, 100, np.random.default_rng(seed))


def test_quantiles_agree_with_a_slow_twin_that_repeats_events():
    rng = np.random.default_rng(1)
    values, weights = rng.normal(size=3000), rng.integers(1, 4, 3000)
    values[5] = np.nan
    replicas = multiplicities(3000, 3, rng)
    for k, q in enumerate(TAILS):
        if k not in (fast := quantiles(values, weights.astype(float), replicas)):
            continue
        for row, repeats in enumerate([np.ones(3000, int), *replicas]):
            every = np.sort(np.repeat(values, weights * repeats)[~np.isnan(np.repeat(values, weights * repeats))])
            assert fast[k][row] == every[int(np.ceil(q * len(every) - 1e-9)) - 1]


def test_pulls_of_equal_samples_are_pulls():
    rng = np.random.default_rng(2)
    pulls, floors = [], []
    for i in range(60):
        a, b, c, d = (rng.normal(size=3000) for _ in range(4))
        entries = found(a, b, (c, d), seed=i)["observables"]["x"]["quantiles"]
        pulls.append([entries[f"{100 * q:g} %"]["pull"] for q in TAILS])
        floors.append([entries[f"{100 * q:g} %"]["floor_pull"] for q in TAILS])
    for spread in (np.std(pulls, axis=0), np.std(floors, axis=0)):
        assert spread[1:3] == pytest.approx(1, abs=0.3)
        assert (spread > 0.6).all()  # of few events, the bootstrap's error is rather too large
        assert (spread < 1.4).all()


def test_quantiles_of_a_gaussian_and_a_tail_that_is_missing():
    rng = np.random.default_rng(3)
    reference, candidate, floor = rng.normal(size=20000), rng.normal(size=20000).clip(-9, 2.0), rng.normal(size=(2, 10000))
    tails = found(reference, candidate, floor)
    entries = tails["observables"]["x"]["quantiles"]
    for q in TAILS:
        entry = entries[f"{100 * q:g} %"]["reference"]
        assert entry["value"] == pytest.approx(stats.norm.ppf(q), abs=4 * entry["error"])
    assert entries["99.9 %"]["candidate"]["value"] == 2.0
    assert entries["99.9 %"]["pull"] < -5
    assert abs(entries["0.1 %"]["pull"]) < 4
    assert tails["largest"]["quantile"] in ("99 %", "99.9 %")
    assert (tails["largest"]["number"], tails["observables"]["x"]["unit"]) == (4, "mm")
    assert tails["largest"]["p_value"] < 1e-5


def test_pairs_are_drawn_as_one():
    values = np.random.default_rng(4).normal(size=4000)
    shifted = values + 1e-3 * np.random.default_rng(5).normal(1, 0.1, 4000)
    paired, single = (
        found(values, shifted, (values, values), (p, False))["observables"]["x"]["quantiles"] for p in (True, False)
    )
    assert paired["1 %"]["pull"] > 5 > single["1 %"]["pull"]


def test_few_events_have_no_far_quantiles_and_none_have_no_tails():
    few = np.random.default_rng(6).normal(size=1000)
    assert list(found(few, few, (few, few))["observables"]["x"]["quantiles"]) == ["1 %", "99 %"]
    assert found(few[:50], few, (few, few)) == {}
    nothing = np.full(1000, np.nan)
    assert found(few, nothing, (few, few)) == {}
