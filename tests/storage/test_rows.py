import awkward
import numpy as np
import pytest

from understudy import storage
from understudy.events import Block, Events, Schema
from understudy.geometry import builtin
from understudy.references.file import File

SCHEMA = Schema(
    (
        Block("incident_energy", "MeV", minimum=0.0),
        Block("species", kind="categorical"),
        Block("hits", shape=(2,), kind="jagged"),
    ),
    (Block("dll", shape=(2, 3)), Block("times", "ns", kind="jagged")),
    (Block("mass", "MeV"),),
)


@pytest.fixture(params=[".parquet", ".root"])
def ending(request):
    return request.param


def events(n=230, seed=1):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, n)
    return Events(
        SCHEMA,
        {
            "incident_energy": rng.uniform(size=n),
            "species": rng.integers(0, 3, n),
            "hits": awkward.unflatten(rng.normal(size=(counts.sum(), 2)), counts),
        },
        {"dll": rng.normal(size=(n, 2, 3)), "times": awkward.unflatten(rng.normal(size=counts[::-1].sum()), counts[::-1])},
        weights=rng.normal(size=n),
        mask=rng.uniform(size=n) > 0.5,
        aux={"mass": rng.normal(size=n)},
    )


def same(a, b):
    assert a.schema == b.schema
    for part in ("conditions", "response", "aux"):
        for name, values in getattr(a, part).items():
            other = getattr(b, part)[name]
            assert values.tolist() == other.tolist(), name
    np.testing.assert_array_equal(a.weights, b.weights)
    np.testing.assert_array_equal(a.mask, b.mask)


def test_round_trip_in_pieces(ending, tmp_path, monkeypatch):
    monkeypatch.setattr("understudy.storage.rows.LARGEST", 64 * 60)
    made, path = events(), tmp_path / f"events{ending}"
    with storage.writer(path, SCHEMA, provenance={"by": "hand"}) as file:
        for start in (0, 7, 100):
            file.append(made[start : {0: 7, 7: 100, 100: 230}[start]])
    same(storage.read(path), made)
    same(storage.read(path, start=55, stop=150), made[55:150])
    same(Events.concatenate(list(storage.iterate(path, 40))), made)
    with storage.reader(path) as file:
        assert file.provenance == {"by": "hand"}
        same(file.rows(np.array([200, 3, 77])), made[np.array([200, 3, 77])])


def test_conditions_alone_and_geometry(ending, tmp_path):
    path = tmp_path / f"events{ending}"
    schema = Schema((Block("incident_energy", "MeV", minimum=0.0),), (Block("showers", "MeV", shape=(89,), minimum=0.0),))
    made = Events(schema, {"incident_energy": np.arange(1.0, 9.0)}, {"showers": np.ones((8, 89))})
    storage.write(path, made, geometry=builtin("atlas-em-89"))
    with storage.reader(path) as file:
        assert file.geometry == builtin("atlas-em-89")
    assert File(str(path)).events()["showers"].shape == (8, 89)
    storage.write(path, made.without_response())
    assert not storage.read(path).response
    assert len(storage.read(path, response=False)) == 8


def test_parquet_has_equal_bytes_for_equal_events(tmp_path):
    one, two = (storage.write(tmp_path / f"{i}.parquet", events()).read_bytes() for i in range(2))
    assert one == two


def test_nothing_half_written_survives(ending, tmp_path):
    path = storage.write(tmp_path / f"events{ending}", events())
    before = path.read_bytes()
    other = events(seed=2)

    def interrupted():
        with storage.writer(path, SCHEMA) as file:
            file.append(other)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_tables_of_others_are_pointed_to_their_kind(ending, tmp_path):
    path = tmp_path / f"events{ending}"
    if ending == ".root":
        import uproot

        with uproot.recreate(path) as file:
            file.mktree("T", {"P": "f8"}).extend({"P": np.ones(3)})
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"P": np.ones(3)}), path)
    with pytest.raises(ValueError, match=r"does not say which of its columns are .* kind 'table' \(`understudy info events"):
        storage.read(path)
    assert storage.read(path, conditions=["P"], response=False)["P"].tolist() == [1, 1, 1]


def test_csv_is_no_file_of_events(tmp_path):
    with pytest.raises(ValueError, match=r"a.csv is a table of numbers, which is read as a reference of kind 'table'"):
        storage.read(tmp_path / "a.csv")
    with pytest.raises(ValueError, match="not written; events are kept in"):
        storage.write(tmp_path / "a.csv", events())
