import json

import awkward
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.schema import Block, Schema

ENERGY = Block("incident_energy", "MeV", minimum=0.0)
CELLS = Block("showers", "MeV", shape=(3,), minimum=0.0)


def test_values_become_read_only_float32():
    values = CELLS.check([[1, 2, 3]], 1)
    assert values.dtype == np.float32
    assert values.shape == (1, 3)
    with pytest.raises(ValueError, match="read-only"):
        values[0, 0] = 5


def test_checking_leaves_the_callers_array_writable():
    mine = np.ones((2, 3), np.float32)
    CELLS.check(mine, 2)
    mine[0, 0] = 2.0


@pytest.mark.parametrize("values", [np.ones((4, 1)), np.ones(4)])
def test_a_number_per_event_is_taken_with_or_without_an_axis(values):
    assert ENERGY.check(values, 4).shape == (4,)
    assert Block("x", shape=(1,)).check(values, 4).shape == (4, 1)


@pytest.mark.parametrize(
    ("block", "values", "n", "message"),
    [
        (CELLS, np.ones((2, 4)), 2, r"'showers' has shape \(2, 4\) where \(2, 3\) is expected"),
        (CELLS, np.ones((2, 3)), 3, r"'showers' has shape \(2, 3\) where \(3, 3\) is expected"),
        (CELLS, np.ones(6), 2, r"has shape \(6,\)"),
        (ENERGY, np.ones((2, 2)), 4, r"has shape \(2, 2\)"),
        (CELLS, np.array([["a"] * 3]), 1, "has type <U1, which is not a number"),
        (CELLS, np.array([[1j, 0, 0]]), 1, "has type complex128, which is not a number"),
        (CELLS, [[1, 2, 3], [1, np.nan, 3]], 2, "NaN or infinity, first in event 1"),
        (CELLS, [[1, 2, np.inf]], 1, "NaN or infinity, first in event 0"),
        (CELLS, [[1, 2, 1e300]], 1, "NaN or infinity, first in event 0"),
        (CELLS, [[1, 2, 3], [1, -2, 3]], 2, "'showers' holds -2 MeV in event 1, below its minimum 0 MeV; check the unit"),
        (Block("n", minimum=1.0), [2.0, 0.5], 2, "'n' holds 0.5 in event 1, below its minimum 1;"),
        (Block("species", kind="categorical"), [0, 1, -1], 3, "'species' is categorical and holds -1 in event 2"),
        (Block("species", kind="categorical"), [0, 1.5], 2, "'species' is categorical and holds 1.5 in event 1"),
        (Block("species", kind="categorical"), [0, np.nan], 2, "'species' is categorical and holds nan in event 1"),
    ],
)
def test_bad_values_are_named(block, values, n, message):
    with pytest.raises(ValueError, match=message):
        block.check(values, n)


def test_categories_are_whole_numbers_of_any_type():
    block = Block("species", kind="categorical")
    for values in ([0, 2, 1], [0.0, 2.0, 1.0], np.array([0, 2, 1], np.uint8)):
        checked = block.check(values, 3)
        assert checked.dtype == np.int64
        assert checked.tolist() == [0, 2, 1]
    assert block.check([True, False], 2).tolist() == [1, 0]


def test_what_was_not_detected_may_be_undefined():
    valid = np.array([False, True, False, True])
    values = CELLS.check([[np.nan] * 3, [1, 2, 3], [-1] * 3, [1, 2, 3]], 4, valid=valid)
    assert np.isnan(values[0]).all()
    with pytest.raises(ValueError, match="first in event 3"):
        CELLS.check([[np.nan] * 3, [1, 2, 3], [-1] * 3, [1, np.nan, 3]], 4, valid=valid)
    with pytest.raises(ValueError, match="holds -2 MeV in event 3"):
        CELLS.check([[np.nan] * 3, [1, 2, 3], [-1] * 3, [1, -2, 3]], 4, valid=valid)
    kind = Block("species", kind="categorical")
    assert kind.check([np.nan, 1, np.nan, 2], 4, valid=valid)[[1, 3]].tolist() == [1, 2]


def test_zero_events_are_of_the_right_shape():
    assert CELLS.check(np.ones((0, 3)), 0).shape == (0, 3)
    assert CELLS.check(np.ones((2, 3)) * np.nan, 2, valid=np.zeros(2, bool)).shape == (2, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": ""}, "a block needs a name"),
        ({"name": "x", "kind": "tensor"}, "block 'x' has kind 'tensor'; choose one of continuous, categorical"),
        ({"name": "x", "shape": (2,), "columns": ("a", "b", "c")}, "names 3 columns but has shape"),
        ({"name": "x", "columns": ("a",)}, "names 1 columns but has shape"),
        ({"name": "x", "shape": (2, 0)}, "every length must be 1 or more"),
        ({"name": "phi", "kind": "periodic"}, "periodic block 'phi' needs its period"),
        ({"name": "phi", "kind": "periodic", "period": -1.0}, "periodic block 'phi' needs its period"),
    ],
)
def test_a_block_that_makes_no_sense(arguments, message):
    with pytest.raises(ValueError, match=message):
        Block(**arguments)


class TestJagged:
    tracks = Block("tracks", "MeV", kind="jagged", shape=(2,), minimum=0.0)

    def test_lists_of_items(self):
        values = self.tracks.check([[[1, 2], [3, 4]], [], [[5, 6]]], 3)
        assert awkward.num(values).tolist() == [2, 0, 1]
        assert "float32" in str(awkward.type(values))

    def test_no_items_at_all(self):
        assert awkward.num(self.tracks.check([[], []], 2)).tolist() == [0, 0]

    def test_lists_of_numbers(self):
        times = Block("times", "ns", kind="jagged")
        assert times.check([[1.0], [], [2.0, 3.0]], 3).tolist() == [[1.0], [], [2.0, 3.0]]

    @pytest.mark.parametrize(
        ("values", "n", "message"),
        [
            ([[[1, 2]]], 2, "'tracks' has 1 events where 2 are expected"),
            ([1.0, 2.0], 2, "needs one list per event"),
            ([[[1, 2, 3]]], 1, r"lists of numbers of shape \(2,\)"),
            ([[[1, 2], [1]]], 1, r"lists of numbers of shape \(2,\)"),
            ([[[1, None]]], 1, r"lists of numbers of shape \(2,\)"),
            ([[[1, float("nan")]]], 1, "holds NaN, infinity or numbers below 0"),
            ([[[1, -2]]], 1, "holds NaN, infinity or numbers below 0"),
        ],
    )
    def test_bad_lists(self, values, n, message):
        with pytest.raises(ValueError, match=message):
            self.tracks.check(values, n)


SCHEMA = Schema(
    conditions=(ENERGY, Block("phi", "rad", "periodic", period=2 * np.pi), Block("sum", "MeV", derived=True)),
    response=(CELLS, Block("time", "ns"), Block("image", kind="image", shape=(2, 2))),
    aux=(Block("species", kind="categorical"), Block("tracks", kind="jagged", shape=(2,), columns=("x", "y"))),
)


def test_a_schema_survives_json():
    assert Schema.from_dict(json.loads(json.dumps(SCHEMA.to_dict()))) == SCHEMA


@pytest.mark.parametrize(
    "data", [{"conditions": [{"name": "x", "colour": "red"}]}, {"conditions": [{}]}, {"conditions": ["x"]}, []]
)
def test_what_is_no_schema(data):
    with pytest.raises(ValueError, match="this is no schema"):
        Schema.from_dict(data)


def test_names_are_unique_over_all_parts():
    with pytest.raises(ValueError, match="a schema names showers more than once"):
        Schema((ENERGY,), (CELLS,), (CELLS,))


def test_looking_up_blocks():
    assert SCHEMA.block("time") == Block("time", "ns")
    assert [b.name for b in SCHEMA.given] == ["incident_energy", "phi"]
    with pytest.raises(KeyError, match="no block 'tiem' in these events; they have incident_energy, phi"):
        SCHEMA.block("tiem")


@given(st.integers(0, 6), st.integers(0, 2**32 - 1))
def test_unpacking_inverts_packing(n, seed):
    rng = np.random.default_rng(seed)
    response = {b.name: rng.normal(size=(n, *b.shape)).astype(np.float32) for b in SCHEMA.response}
    packed = SCHEMA.pack(response)
    assert packed.shape == (n, SCHEMA.response_width) == (n, 8)
    assert packed.dtype == np.float32
    unpacked = SCHEMA.unpack(packed)
    assert list(unpacked) == ["showers", "time", "image"]
    for name, values in response.items():
        np.testing.assert_array_equal(unpacked[name], values)


def test_packing_keeps_the_order_of_the_schema():
    packed = SCHEMA.pack({"image": [[[4, 5], [6, 7]]], "time": [3], "showers": [[0, 1, 2]]})
    assert packed.tolist() == [[0, 1, 2, 3, 4, 5, 6, 7]]


def test_what_cannot_be_packed():
    with pytest.raises(ValueError, match="the response lacks time, image; it has showers"):
        SCHEMA.pack({"showers": [[1, 2, 3]]})
    with pytest.raises(ValueError, match="it has not been simulated yet"):
        SCHEMA.pack({})
    with pytest.raises(ValueError, match="the jagged response tracks cannot be packed"):
        Schema((), (Block("tracks", kind="jagged"),)).pack({"tracks": [[1]]})
    with pytest.raises(ValueError, match="names no response"):
        Schema((ENERGY,)).pack({})
    for packed in (np.ones((2, 7)), np.ones(8)):
        with pytest.raises(ValueError, match="does not fit 8 numbers per event"):
            SCHEMA.unpack(packed)
    with pytest.raises(ValueError, match="does not fit 0 numbers per event"):
        Schema((ENERGY,)).unpack(np.ones((2, 0)))
