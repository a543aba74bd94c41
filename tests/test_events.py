from multiprocessing.reduction import ForkingPickler

import awkward
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.events import Block, Events, Schema

SCHEMA = Schema(
    conditions=(Block("incident_energy", "MeV", minimum=0.0), Block("total", "MeV", derived=True)),
    response=(Block("showers", "MeV", shape=(3,), minimum=0.0),),
    aux=(Block("species", kind="categorical"), Block("tracks", kind="jagged")),
)


def made(n: int, **changes) -> Events:
    number = np.arange(n)
    parts = {
        "conditions": {"incident_energy": number + 1.0, "total": number * 3.0},
        "response": {"showers": number[:, None] + np.zeros(3)},
        "weights": number - 1.0,
        "mask": number % 2 == 0,
        "aux": {"species": number % 3, "tracks": awkward.unflatten(np.arange(number.sum(), dtype=float), number)},
    }
    return Events(SCHEMA, **{**parts, **changes})


def same(a: Events, b: Events) -> bool:
    """Slow twin of equality, block by block."""
    assert a.schema == b.schema
    assert (a.weights is None) == (b.weights is None)
    assert (a.mask is None) == (b.mask is None)
    pairs = [(a.weights, b.weights), (a.mask, b.mask)]
    for part in ("conditions", "response", "aux"):
        assert list(getattr(a, part)) == list(getattr(b, part))
        pairs += [(getattr(a, part)[k], getattr(b, part)[k]) for k in getattr(a, part)]
    return all(awkward.to_list(x) == awkward.to_list(y) for x, y in pairs if x is not None)


def test_length_and_lookup():
    events = made(4)
    assert len(events) == 4
    assert events["incident_energy"].tolist() == [1, 2, 3, 4]
    assert events["showers"].shape == (4, 3)
    assert events["species"].tolist() == [0, 1, 2, 0]
    assert events.packed().shape == (4, 3)
    with pytest.raises(KeyError, match="no block 'energy' in these events; they have incident_energy"):
        events["energy"]
    with pytest.raises(KeyError, match="'showers' has not been simulated yet"):
        events.without_response()["showers"]


@pytest.mark.parametrize(
    "index",
    [slice(1, 3), slice(None, None, 2), slice(None, None, -1), np.array([3, 0, 0]), np.array([True, False, False, True])],
)
def test_every_part_is_sliced_along(index):
    events, cut = made(4), made(4)[index]
    rows = np.arange(4)[index]
    assert len(cut) == len(rows)
    for name in ("incident_energy", "total", "showers", "species", "tracks"):
        assert awkward.to_list(cut[name]) == [awkward.to_list(events[name][int(i)]) for i in rows]
    assert cut.weights.tolist() == [events.weights[i] for i in rows]
    assert cut.mask.tolist() == [events.mask[i] for i in rows]


def test_an_empty_selection_is_events_too():
    none = made(4)[:0]
    assert len(none) == 0
    assert none.packed().shape == (0, 3)
    assert len(Events.concatenate([none, made(2)])) == 2


def test_a_single_index_is_refused():
    for index in (1, np.int64(1)):
        with pytest.raises(TypeError, match=r"use events\[i : i \+ 1\] for one event"):
            made(4)[index]


def test_events_do_not_change():
    events = made(4)
    for values in (events["showers"], events.weights, events.mask, events["species"]):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 1
    with pytest.raises(TypeError, match="does not support item assignment"):
        events.conditions["incident_energy"] = np.ones(4)
    with pytest.raises(AttributeError):
        events.weights = None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conditions": {"incident_energy": np.ones(4)}}, "the conditions lack total; found incident_energy"),
        ({"conditions": {}}, "the conditions lack incident_energy, total; found nothing"),
        ({"aux": {"species": np.ones(4), "tracks": [[]] * 4, "run": 1}}, "does not name run among the aux"),
        ({"response": {"showers": np.ones((5, 3))}}, r"'showers' has shape \(5, 3\) where \(4, 3\) is expected"),
        ({"response": {"showers": -np.ones((4, 3))}}, "in event 0, below its minimum"),
        ({"weights": np.ones(3)}, r"weights has shape \(3,\) where \(4,\) is expected"),
        ({"weights": np.array([1, np.nan, 1, 1])}, "the weights hold NaN"),
        ({"mask": np.ones((4, 1))}, r"mask has shape \(4, 1\)"),
    ],
)
def test_bad_parts_are_named_with_their_origin(changes, message):
    with pytest.raises(ValueError, match=f"^file.h5: .*{message}"):
        made(4, where="file.h5", **changes)


def test_a_response_may_be_undefined_where_nothing_was_detected():
    showers = np.full((4, 3), np.nan)
    showers[::2] = 1.0
    assert np.isnan(made(4, response={"showers": showers})["showers"][1]).all()
    with pytest.raises(ValueError, match="NaN or infinity, first in event 1"):
        made(4, response={"showers": showers}, mask=None)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=5))
def test_concatenation_inverts_slicing(sizes):
    events = made(sum(sizes))
    ends = np.cumsum(sizes)
    parts = [events[int(e) - s : int(e)] for s, e in zip(sizes, ends, strict=True)]
    assert same(Events.concatenate(parts), events)


def test_concatenation_fills_weights_and_mask():
    joined = Events.concatenate([made(2, weights=None, mask=None), made(2)])
    assert joined.weights.tolist() == [1, 1, -1, 0]
    assert joined.mask.tolist() == [True, True, True, False]
    assert Events.concatenate([made(2, weights=None)] * 2).weights is None


def test_what_cannot_be_concatenated():
    with pytest.raises(ValueError, match="nothing to concatenate"):
        Events.concatenate([])
    with pytest.raises(ValueError, match="different schemas"):
        Events.concatenate([made(2), made(2).select_conditions(["total"])])
    for parts in ([made(2), made(2, response={})], [made(2, response={}), made(2)]):
        with pytest.raises(ValueError, match="with a response and events without one"):
            Events.concatenate(parts)


@given(st.integers(1, 40), st.integers(1, 45))
def test_batches_are_the_events(n, size):
    batches = list(made(n).batches(size))
    assert all(len(b) == size for b in batches[:-1])
    assert same(Events.concatenate(batches), made(n))


@pytest.mark.parametrize("size", [0, -3])
def test_a_batch_has_events(size):
    with pytest.raises(ValueError, match=f"batches of {size}; give a size of 1 or more"):
        list(made(3).batches(size))


@given(
    n=st.integers(1, 200),
    group=st.integers(1, 7),
    cuts=st.lists(st.floats(0.05, 0.4), min_size=1, max_size=3),
    seed=st.integers(0, 2**32 - 1),
)
def test_splits_are_disjoint_and_keep_groups(n, group, cuts, seed):
    fractions = [c / max(1.0, sum(cuts)) for c in cuts]
    events = made(n, aux={"species": np.arange(n), "tracks": [[]] * n})
    groups = -(-n // group)
    if min(np.diff(np.round(np.cumsum([0.0, *fractions]) * groups))) == 0:
        with pytest.raises(ValueError, match="too few to split"):
            events.split(fractions, np.random.default_rng(seed), group)
        return
    parts = events.split(fractions, np.random.default_rng(seed), group)
    rows = [p["species"] for p in parts]
    together = np.concatenate(rows)
    assert len(set(together.tolist())) == len(together)
    owner = {int(i) // group: k for k, r in enumerate(rows) for i in r}
    for k, r in enumerate(rows):
        assert all(owner[int(i) // group] == k for i in r)
    for k in set(owner):
        assert np.isin(np.arange(k * group, min((k + 1) * group, n)), together).all()
    for fraction, r in zip(fractions, rows, strict=True):
        assert abs(len({int(i) // group for i in r}) - fraction * groups) <= 1.0


def test_a_full_split_uses_every_event_and_repeats_with_its_seed():
    first = made(103).split((0.7, 0.2, 0.1), np.random.default_rng(1))
    again = made(103).split((0.7, 0.2, 0.1), np.random.default_rng(1))
    assert sum(map(len, first)) == 103
    assert all(same(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize(
    ("fractions", "group", "message"),
    [
        ((0.7, 0.7), 1, "fractions that add up to at most 1"),
        ((-0.1, 0.5), 1, "fractions that add up to at most 1"),
        ((), 1, "fractions that add up to at most 1"),
        ((0.5, 0.5), 0, "groups of 0; give a group of 1 or more"),
        ((0.5, 0.5), 10, "10 events in groups of 10 are too few to split"),
    ],
)
def test_impossible_splits(fractions, group, message):
    with pytest.raises(ValueError, match=message):
        made(10).split(fractions, np.random.default_rng(0), group)


def test_another_response():
    packed = np.arange(12.0).reshape(4, 3)
    events = made(4).with_response(packed)
    np.testing.assert_array_equal(events.packed(), packed)
    assert events.mask.tolist() == made(4).mask.tolist()
    coarse = made(4).with_response({"layers": np.ones((4, 2))}, [Block("layers", "MeV", shape=(2,))], mask=np.ones(4, bool))
    assert coarse.schema.response_width == 2
    assert coarse.mask.all()
    with pytest.raises(ValueError, match="does not fit 3 numbers"):
        made(4).with_response(np.ones((4, 2)))


def test_a_replaced_block_keeps_its_place():
    events = made(4).with_condition(Block("incident_energy", "MeV"), np.full(4, 7.0))
    assert [b.name for b in events.schema.conditions] == ["incident_energy", "total"]
    assert events["incident_energy"].tolist() == [7, 7, 7, 7]
    events = made(4).with_condition(Block("eta"), np.zeros(4)).with_aux(Block("run", kind="categorical"), np.ones(4))
    assert [b.name for b in events.schema.conditions] == ["incident_energy", "total", "eta"]
    assert [b.name for b in events.schema.aux] == ["species", "tracks", "run"]


def test_selecting_conditions():
    events = made(4).select_conditions(["total"])
    assert list(events.conditions) == ["total"]
    assert list(events.response) == ["showers"]
    for wrong in ("showers", "eta"):
        with pytest.raises(KeyError, match=f"{wrong} is not among the conditions, which are incident_energy, total"):
            made(4).select_conditions([wrong])


def test_what_a_simulator_is_asked_for():
    asked = made(4).without_response()
    assert list(asked.conditions) == ["incident_energy"]
    assert asked.response == {}
    assert asked.mask is None
    assert asked.weights is not None


def test_events_cross_to_other_processes():
    events = made(5)
    assert same(ForkingPickler.loads(ForkingPickler.dumps(events)), events)
