import json
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.domain import Domain, OutOfDomainWarning
from understudy.events import Block, Events, Schema

SCHEMA = Schema(
    conditions=(
        Block("incident_energy", "MeV"),
        Block("position", "mm", shape=(2,)),
        Block("species", kind="categorical"),
        Block("total", "MeV", derived=True),
        Block("tracks", kind="jagged"),
    )
)


def trained() -> Domain:
    return Domain.of(
        Events(
            SCHEMA,
            {
                "incident_energy": [1000.0, 5000.0, 3000.0],
                "position": [[-1, 10], [1, 20], [0, 15]],
                "species": [0, 2, 1],
                "total": [1, 2, 3],
                "tracks": [[1.0], [], [2.0]],
            },
        )
    )


def asked(energy, x=0.0, y=15.0, species=1):
    n = len(energy)
    return {"incident_energy": np.array(energy), "position": np.tile([x, y], (n, 1)), "species": np.full(n, species)}


def test_the_range_of_the_given_conditions():
    domain = trained()
    assert domain.low == {"incident_energy": (1000.0,), "position": (-1.0, 10.0), "species": (0.0,)}
    assert domain.high == {"incident_energy": (5000.0,), "position": (1.0, 20.0), "species": (2.0,)}
    assert domain.units == {"incident_energy": "MeV", "position": "mm", "species": ""}
    assert Domain.from_dict(json.loads(json.dumps(domain.to_dict()))) == domain


def test_flags_are_per_event_and_inclusive():
    assert trained().outside(asked([999, 1000, 3000, 5000, 5010])).tolist() == [False, False, False, False, True]
    assert trained().outside(asked([900, 1000])).tolist() == [True, False]
    assert trained().outside(asked([2000, 2000], x=1.1)).tolist() == [True, True]
    assert trained().outside(asked([2000], species=3)).tolist() == [True]
    assert trained().outside(asked([900], y=15.0), tolerance=0.1).tolist() == [False]


def test_what_is_no_number_is_outside():
    assert trained().outside(asked([np.nan, 2000.0, np.inf])).tolist() == [True, False, True]


def test_a_warning_names_the_block_the_range_and_how_many():
    message = r"2 of 3 events have incident_energy outside the trained range \(1000 to 5000 MeV\); they are simulated and flagged"
    with pytest.warns(OutOfDomainWarning, match=message):
        trained().outside(asked([1.0, 2000.0, 9000.0]), warn=True)
    with pytest.warns(OutOfDomainWarning, match=r"species outside the trained range \(0 to 2\)"):
        trained().outside(asked([2000.0], species=5), warn=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained().outside(asked([2000.0]), warn=True)
        trained().outside(asked([1.0]))


def test_a_missing_condition_is_named():
    with pytest.raises(ValueError, match="the conditions lack species; given are incident_energy, position"):
        trained().outside({k: v for k, v in asked([1.0]).items() if k != "species"})
    with pytest.raises(ValueError, match="zero events cover no range"):
        Domain.of(Events(Schema((Block("x"),)), {"x": []}))


def test_no_conditions_are_never_outside():
    assert Domain({}, {}, {}).outside({"x": np.ones(3)}).tolist() == [False] * 3


@given(st.floats(-1e6, 1e6), st.integers(1, 5))
def test_a_constant_condition_is_inside_itself_whatever_its_precision(value, n):
    domain = Domain.of(Events(Schema((Block("x"),)), {"x": np.full(n, value)}))
    assert not domain.outside({"x": np.full(n, value)}).any()
    assert not domain.outside({"x": np.full(n, value, np.float32)}).any()


@given(st.integers(0, 2**32 - 1))
def test_flags_against_a_slow_twin(seed):
    rng = np.random.default_rng(seed)
    domain = Domain.of(Events(Schema((Block("x", shape=(3,)),)), {"x": rng.normal(size=(10, 3))}))
    values = rng.normal(size=(50, 3), scale=2).astype(np.float32)
    expected = []
    for row in values:
        flag = False
        for v, low, high in zip(row, domain.low["x"], domain.high["x"], strict=True):
            slack = 1e-3 * (high - low)
            flag = flag or v < low - slack or v > high + slack
        expected.append(flag)
    assert domain.outside({"x": values}).tolist() == expected


def test_training_events_are_inside():
    domain = trained()
    drawn = domain.draw(200, np.random.default_rng(0))
    assert drawn["position"].shape == (200, 2)
    assert not domain.outside(drawn).any()
