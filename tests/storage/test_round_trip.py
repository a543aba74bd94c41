import itertools
import json
import subprocess
import sys
import zipfile

import awkward
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy import storage
from understudy.events import Block, Events, Schema
from understudy.files import sha256
from understudy.geometry import builtin, load

FORMATS = (".h5", ".hdf5", ".npz")

SCHEMA = Schema(
    conditions=(
        Block("incident_energy", "MeV", minimum=0.0),
        Block("momentum", "MeV", shape=(3,), columns=("px", "py", "pz")),
        Block("phi", "rad", "periodic", period=6.283185307179586),
        Block("total", "MeV", derived=True),
    ),
    response=(Block("showers", "MeV", shape=(7,), minimum=0.0), Block("image", kind="image", shape=(2, 3))),
    aux=(Block("species", kind="categorical"), Block("tracks", "mm", "jagged", shape=(2,)), Block("times", "ns", "jagged")),
)


def made(n: int, seed: int = 0, plain: bool = False) -> Events:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, n)
    items = int(counts.sum())
    return Events(
        SCHEMA,
        {
            "incident_energy": rng.exponential(1e4, n),
            "momentum": rng.normal(size=(n, 3)),
            "phi": rng.random(n),
            "total": rng.random(n),
        },
        {"showers": rng.random((n, 7)) * (rng.random((n, 7)) < 0.3), "image": rng.random((n, 2, 3))},
        weights=None if plain else rng.normal(size=n),
        mask=None if plain else rng.random(n) < 0.5,
        aux={
            "species": rng.integers(0, 3, n),
            "tracks": awkward.unflatten(rng.normal(size=(items, 2)).astype(np.float32), counts),
            "times": awkward.unflatten(rng.normal(size=items).astype(np.float32), counts),
        },
    )


def assert_same(a: Events, b: Events) -> None:
    assert a.schema == b.schema
    for part in ("conditions", "response", "aux"):
        assert list(getattr(a, part)) == list(getattr(b, part))
        for name, values in getattr(a, part).items():
            assert awkward.to_list(values) == awkward.to_list(getattr(b, part)[name]), name
    for part in ("weights", "mask"):
        x, y = getattr(a, part), getattr(b, part)
        assert (x is None) == (y is None)
        assert x is None or (x.dtype == y.dtype and x.tolist() == y.tolist())


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("n", [1, 499, 500, 1203])
def test_what_is_written_is_read_back(tmp_path, suffix, n, plain):
    path = storage.write(tmp_path / f"events{suffix}", made(n, plain=plain))
    assert_same(storage.read(path), made(n, plain=plain))
    with storage.reader(path) as file:
        assert len(file) == n
        assert file.geometry is None
        assert file.provenance == {}


@pytest.mark.parametrize("suffix", FORMATS)
def test_conditions_waiting_to_be_simulated(tmp_path, suffix):
    asked = made(5).without_response()
    read = storage.read(storage.write(tmp_path / f"events{suffix}", asked))
    assert_same(read, asked)
    assert read.schema.response_width == 13


@pytest.mark.parametrize("suffix", FORMATS)
def test_undefined_responses_of_what_was_not_detected(tmp_path, suffix):
    schema = Schema((Block("p", "MeV"),), (Block("reconstructed", "MeV"),))
    events = Events(schema, {"p": [1.0, 2.0]}, {"reconstructed": [np.nan, 3.0]}, mask=np.array([False, True]))
    read = storage.read(storage.write(tmp_path / f"events{suffix}", events))
    assert np.isnan(read["reconstructed"][0])
    assert read["reconstructed"][1] == 3.0


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
@given(sizes=st.lists(st.integers(0, 700), min_size=1, max_size=4), chunk=st.integers(60, 900))
@settings(max_examples=8, deadline=None)
def test_chunks_of_any_size_make_the_same_bytes_and_the_same_events(tmp_path_factory, suffix, sizes, chunk):
    sizes = [*sizes, 1]
    folder, events = tmp_path_factory.mktemp("chunks"), made(sum(sizes))
    whole = storage.write(folder / f"whole{suffix}", events)
    with storage.writer(folder / f"parts{suffix}", SCHEMA) as file:
        for size, end in zip(sizes, np.cumsum(sizes), strict=True):
            file.append(events[int(end) - size : int(end)])
        assert len(file) == len(events)
    assert sha256(folder / f"parts{suffix}") == sha256(whole)
    parts = list(storage.iterate(whole, chunk))
    assert all(len(p) == chunk for p in parts[:-1])
    assert_same(Events.concatenate(parts), events)


FLAT = Schema(
    (Block("incident_energy", "MeV", minimum=0.0), Block("phi", "rad")),
    (Block("showers", "MeV", shape=(7,), minimum=0.0),),
    (Block("species", kind="categorical"),),
)


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
@pytest.mark.parametrize("cuts", [(1000, 2000), (500,), (700, 1200), (10,)])
@pytest.mark.parametrize("weights", [True, False])
def test_files_joined_have_the_bytes_of_their_events_written_at_once(tmp_path, suffix, cuts, weights):
    rng = np.random.default_rng(1)
    events = Events(
        FLAT,
        {"incident_energy": rng.exponential(1e4, 2345), "phi": rng.random(2345)},
        {"showers": rng.random((2345, 7)) * (rng.random((2345, 7)) < 0.3)},
        weights=rng.normal(size=2345) if weights else None,
        aux={"species": rng.integers(0, 3, 2345)},
    )
    whole = storage.write(tmp_path / f"whole{suffix}", events)
    bounds = (0, *cuts, 2345)
    parts = [storage.write(tmp_path / f"{a}.h5", events[a:b]) for a, b in itertools.pairwise(bounds)]
    joined = tmp_path / f"joined{suffix}"
    with storage.writer(joined, FLAT) as file:
        for part in parts:
            with storage.reader(part) as source:
                file.append_file(source)
        assert len(file) == 2345
    assert sha256(joined) == sha256(whole)


def test_a_foreign_file_is_converted_when_it_is_joined(tmp_path):
    energies, showers = np.ones((500, 1), np.float32), np.ones((500, 7), np.float32)
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        for name, values in (("incident_energies", energies), ("showers", showers)):
            stored = file.create_dataset(name, data=values, chunks=(500, values.shape[1]), compression="gzip", compression_opts=4)
            stored.attrs["unit"] = "GeV"
    with storage.reader(tmp_path / "foreign.h5") as source, storage.writer(tmp_path / "own.h5", source.schema) as file:
        file.append_file(source)
    assert np.all(storage.read(tmp_path / "own.h5")["showers"] == 1000)


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_jagged_files_are_joined_too(tmp_path, suffix):
    events = made(1200)
    parts = [storage.write(tmp_path / f"{a}.h5", events[a:b]) for a, b in ((0, 500), (500, 1200))]
    with storage.writer(tmp_path / f"joined{suffix}", SCHEMA) as file:
        for part in parts:
            with storage.reader(part) as source:
                file.append_file(source)
    assert_same(storage.read(tmp_path / f"joined{suffix}"), events)


def test_a_file_without_weights_does_not_join_one_with(tmp_path):
    def join():
        with storage.writer(tmp_path / "out.h5", SCHEMA) as file:
            for plain in (False, True):
                with storage.reader(storage.write(tmp_path / f"{plain}.h5", made(500, plain=plain))) as source:
                    file.append_file(source)

    with pytest.raises(ValueError, match="all or none of the appended events"):
        join()


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_equal_events_give_equal_bytes_in_another_process(tmp_path, suffix):
    first = sha256(storage.write(tmp_path / f"a{suffix}", storage.read(storage.write(tmp_path / f"z{suffix}", made(30)))))
    program = (
        "import sys, time; from understudy import storage; time.sleep(1.1); storage.write(sys.argv[2], storage.read(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path / f"z{suffix}", tmp_path / f"b{suffix}"], check=True)
    assert sha256(tmp_path / f"b{suffix}") == first


@pytest.mark.parametrize("suffix", FORMATS)
def test_parts_of_a_file(tmp_path, suffix):
    events = made(1300)
    path = storage.write(tmp_path / f"events{suffix}", events)
    assert_same(storage.read(path, start=400, stop=1100), events[400:1100])
    assert_same(storage.read(path, start=1290, stop=9999), events[1290:])
    with storage.reader(path) as file:
        assert_same(file.read(600, 700), events[600:700])
        assert_same(file.read(10, 20), events[10:20])
        assert len(file.read(20, 10)) == 0


@pytest.mark.parametrize("suffix", FORMATS)
def test_rows_in_any_order(tmp_path, suffix, monkeypatch):
    events = made(1300)
    path = storage.write(tmp_path / f"events{suffix}", events)
    monkeypatch.setattr(storage.Reader, "chunk", 100)
    index = np.random.default_rng(3).choice(1300, 200, replace=False)
    with storage.reader(path) as file:
        assert_same(file.rows(index), events[index])
        assert_same(file.rows(np.array([5, 5, 1299, 0])), events[np.array([5, 5, 1299, 0])])
        for wrong in ([1300], [-1], []):
            with pytest.raises(IndexError, match="holds 1300 events; an index must name at least one from 0 to 1299"):
                file.rows(np.array(wrong, int))


@pytest.mark.parametrize("suffix", FORMATS)
def test_fewer_conditions_and_conditions_alone(tmp_path, suffix):
    path = storage.write(tmp_path / f"events{suffix}", made(9))
    assert list(storage.read(path, conditions=["momentum"]).conditions) == ["momentum"]
    assert list(storage.read(path, conditions=["total", "incident_energies"]).conditions) == ["total", "incident_energy"]
    alone = storage.read(path, conditions=["phi"], response=False)
    assert alone.response == {}
    assert alone["phi"].tolist() == made(9)["phi"].tolist()
    subset = Schema((SCHEMA.block("phi"),), (SCHEMA.block("image"),))
    assert storage.read(path, schema=subset).packed().shape == (9, 6)
    with pytest.raises(ValueError, match="'eta' is not one of its conditions, which are incident_energy, momentum, phi, total"):
        storage.read(path, conditions=["eta"])


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", ["atlas-em-89", "calochallenge/binning_dataset_3.xml"])
def test_geometry_and_provenance_travel_in_the_file(tmp_path, suffix, name, request):
    geometry = load(name, request.getfixturevalue("shared") / "data") if name.endswith(".xml") else builtin(name)
    schema = Schema((Block("incident_energy", "MeV"),), (Block("showers", "MeV", shape=(geometry.n_cells,), minimum=0.0),))
    events = Events(schema, {"incident_energy": np.ones(2)}, {"showers": np.ones((2, geometry.n_cells))})
    path = storage.write(tmp_path / f"events{suffix}", events, geometry, {"seed": 7, "physics": "opt0"})
    with storage.reader(path) as file:
        assert file.geometry == geometry
        assert file.provenance == {"seed": 7, "physics": "opt0"}


def test_the_hdf5_layout_is_that_of_the_calochallenge(tmp_path):
    events = made(20)
    path = storage.write(tmp_path / "events.h5", events)
    with h5py.File(path) as file:
        assert file["incident_energies"].shape == (20, 1)
        assert file["showers"].shape == (20, 7)
        assert file["showers"].dtype == file["incident_energies"].dtype == np.float32
        assert (file["showers"].compression, file["showers"].shuffle, file["showers"].chunks) == ("gzip", False, (500, 7))
        assert file["incident_energies"].attrs["unit"] == "MeV"
        assert file["momentum"].attrs["columns"] == "px py pz"
        assert file["species"].dtype == np.int64
        assert file["tracks/offsets"].shape == (21,)
        assert file["tracks/content"].shape[1:] == (2,)
        np.testing.assert_array_equal(file["showers"][:], events["showers"])
        schema = Schema.from_dict(json.loads(file.attrs["understudy_schema"]))
    assert schema == SCHEMA


def test_the_npz_file_opens_with_numpy_without_pickle(tmp_path):
    events = made(20)
    path = storage.write(tmp_path / "events.npz", events)
    with np.load(path, allow_pickle=False) as file:
        np.testing.assert_array_equal(file["showers"], events["showers"])
        assert file["incident_energies"].shape == (20, 1)
        header = json.loads(str(file["understudy"]))["header"]
    assert Schema.from_dict(json.loads(header["schema"])) == SCHEMA
    assert {entry.date_time for entry in zipfile.ZipFile(path).infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_large_showers_are_stored_in_small_chunks(tmp_path):
    schema = Schema((Block("incident_energy", "MeV"),), (Block("showers", "MeV", shape=(40500,)),))
    events = Events(schema, {"incident_energy": np.ones(60)}, {"showers": np.ones((60, 40500))})
    with h5py.File(storage.write(tmp_path / "events.h5", events)) as file:
        assert np.prod(file["showers"].chunks) * 4 <= 2**22


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_memory_does_not_grow_with_the_file(tmp_path, suffix):
    """Peak resident memory of writing and reading 4 times as many events grows by less than a fifth of their size."""
    program = (
        "import resource, sys, numpy as np\n"
        "from understudy import storage\n"
        "from understudy.events import Block, Events, Schema\n"
        "schema = Schema((Block('incident_energy', 'MeV'),), (Block('showers', 'MeV', shape=(2000,), minimum=0.0),))\n"
        "one = Events(schema, {'incident_energy': np.ones(500)}, {'showers': np.tile(np.arange(2000.0), (500, 1))})\n"
        "with storage.writer(sys.argv[1], schema) as file:\n"
        "    for _ in range(int(sys.argv[2])): file.append(one)\n"
        "total = sum(len(part) for part in storage.iterate(sys.argv[1], 500))\n"
        "print(total, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)\n"
    )

    def peak(chunks: int) -> float:
        arguments = [sys.executable, "-c", program, str(tmp_path / f"{chunks}{suffix}"), str(chunks)]
        total, mebibytes = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.split()
        assert int(total) == 500 * chunks
        return float(mebibytes)

    grown = peak(40) - peak(16)
    assert grown < 0.2 * 24 * 500 * 2000 * 4 / 2**20
