"""Files that were not written here: the schema is inferred."""

import h5py
import numpy as np
import pytest

from understudy import storage
from understudy.events import Block, Schema


def write(path, attributes=None, **data_sets):
    """An HDF5 or npz file of bare data sets."""
    if path.suffix == ".npz":
        np.savez(path, **data_sets)
        return path
    with h5py.File(path, "w") as file:
        for name, values in data_sets.items():
            file[name] = values
            file[name].attrs.update((attributes or {}).get(name, {}))
    return path


E = np.arange(1.0, 7.0)[:, None]
CELLS = np.arange(24.0).reshape(6, 4)


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_a_calochallenge_file(tmp_path, suffix):
    """Public files hold double precision energies and nothing but the two data sets."""
    events = storage.read(write(tmp_path / f"dataset{suffix}", incident_energies=E, showers=CELLS))
    assert events.schema == Schema(
        (Block("incident_energy", "MeV", minimum=0.0),), (Block("showers", "MeV", shape=(4,), minimum=0.0),)
    )
    assert events["incident_energy"].tolist() == [1, 2, 3, 4, 5, 6]
    assert events["showers"].dtype == np.float32
    np.testing.assert_array_equal(events["showers"], CELLS)


def test_known_conditions_are_taken_and_others_only_by_name(tmp_path):
    path = write(
        tmp_path / "a.h5",
        incident_energies=E,
        showers=CELLS,
        position=CELLS[:, :2],
        momentum=CELLS[:, :3],
        eta=E[:, 0],
        run=E[:, 0],
    )
    events = storage.read(path)
    assert list(events.conditions) == ["incident_energy", "momentum", "position"]
    assert events.schema.block("position") == Block("position", "mm", shape=(2,), columns=("x", "y"))
    assert events.schema.block("momentum") == Block("momentum", "MeV", shape=(3,), columns=("px", "py", "pz"))
    assert list(storage.read(path, conditions=["eta", "incident_energy"]).conditions) == ["eta", "incident_energy"]
    assert list(storage.read(path, conditions=[]).conditions) == []


def test_without_known_conditions_all_of_the_same_length_are_taken(tmp_path):
    path = write(tmp_path / "a.h5", showers=CELLS, eta=E, flag=E[:, 0] > 3, layers=np.ones(5), text=np.array([b"a"] * 6))
    events = storage.read(path)
    assert list(events.conditions) == ["eta", "flag"]
    assert events["eta"].shape == (6,)
    assert events["flag"].tolist() == [0, 0, 0, 1, 1, 1]


def test_a_schema_may_be_given(tmp_path):
    path = write(tmp_path / "a.h5", pt=E, weights=-E[:, 0], mask=E[:, 0] > 2, out=CELLS)
    schema = Schema((Block("pt", "MeV"),), (Block("out", shape=(4,)),))
    events = storage.read(path, schema=schema)
    assert events.schema == schema
    assert events.weights.tolist() == [-1, -2, -3, -4, -5, -6]
    assert events.mask.tolist() == [False, False, True, True, True, True]


def test_a_file_of_conditions_needs_no_showers(tmp_path):
    path = write(tmp_path / "a.h5", incident_energies=E, eta=E)
    events = storage.read(path, conditions=["eta", "incident_energy"], response=False)
    assert list(events.conditions) == ["eta", "incident_energy"]
    assert events.schema.response == ()


@pytest.mark.parametrize(
    ("unit", "base", "scale"),
    [
        ("GeV", "MeV", 1e3),
        ("keV", "MeV", 1e-3),
        ("MeV", "MeV", 1),
        ("cm", "mm", 10),
        ("deg", "rad", np.pi / 180),
        ("furlong", "furlong", 1),
    ],
)
def test_units_become_those_of_the_house(tmp_path, unit, base, scale):
    path = write(tmp_path / "a.h5", {"x": {"unit": unit}}, showers=CELLS, x=E)
    events = storage.read(path)
    assert events.schema.block("x").unit == base
    np.testing.assert_allclose(events["x"], E[:, 0] * scale, rtol=1e-6)


def test_energies_in_gev(tmp_path):
    path = write(
        tmp_path / "a.h5", {"showers": {"unit": b"GeV"}, "incident_energies": {"unit": "GeV"}}, incident_energies=E, showers=CELLS
    )
    events = storage.read(path)
    assert [b.unit for b in (*events.schema.conditions, *events.schema.response)] == ["MeV", "MeV"]
    np.testing.assert_allclose(events["showers"], CELLS * 1000)
    np.testing.assert_allclose(next(iter(storage.iterate(path, 2)))["incident_energy"], [1000, 2000])


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("a b c", ("a", "b", "c")),
        ("a, b; c", ("a", "b", "c")),
        ("a (along eta), b (along phi), c", ("a", "b", "c")),
        ("a b", ()),
        ("a a b", ()),
        ("the three components", ("the", "three", "components")),
        ("a b 3", ()),
        ("x y at the front face, face centre = (0, 0)", ()),
    ],
)
def test_column_names_are_taken_where_they_parse(tmp_path, text, columns):
    path = write(tmp_path / "a.h5", {"x": {"columns": text}}, showers=CELLS, x=CELLS[:, :3])
    assert storage.read(path).schema.block("x").columns == columns


def test_showers_as_images_keep_their_shape(tmp_path):
    events = storage.read(write(tmp_path / "a.h5", incident_energies=E, showers=CELLS.reshape(6, 2, 2)))
    assert events["showers"].shape == (6, 2, 2)
    np.testing.assert_array_equal(events.packed(), CELLS)


def test_arrays_of_the_other_memory_order(tmp_path):
    path = write(tmp_path / "a.npz", incident_energies=E, showers=np.asfortranarray(CELLS))
    np.testing.assert_array_equal(storage.read(path)["showers"], CELLS)
    np.testing.assert_array_equal(storage.read(path, start=2, stop=5)["showers"], CELLS[2:5])
    assert [len(part) for part in storage.iterate(path, 4)] == [4, 2]


def test_big_endian_numbers(tmp_path):
    for suffix in (".h5", ".npz"):
        events = storage.read(write(tmp_path / f"a{suffix}", incident_energies=E.astype(">f8"), showers=CELLS.astype(">f4")))
        np.testing.assert_array_equal(events["showers"], CELLS)


@pytest.mark.parametrize(
    ("name", "cells", "conditions"),
    [
        ("atlas_photons", 247, ["incident_energy", "position"]),
        ("lhcb_ecal_electrons", 900, ["incident_energy", "momentum", "position"]),
    ],
)
def test_real_geant4_files(shared, name, cells, conditions):
    path = shared / "geant4" / f"{name}.h5"
    with storage.reader(path) as file:
        assert len(file) == 20000
        assert [b.name for b in file.schema.conditions] == conditions
        events = file.read(12000, 12100)
    assert events.packed().shape == (100, cells)
    with h5py.File(path) as raw:
        np.testing.assert_array_equal(events["showers"], raw["showers"][12000:12100])
        np.testing.assert_array_equal(events["incident_energy"], raw["incident_energies"][12000:12100, 0])
