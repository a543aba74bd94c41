"""Each mistake gives one sentence, and leaves earlier files as they were."""

import errno
import os
import re
import subprocess
import sys
import zipfile

import h5py
import numpy as np
import pytest

from understudy import storage
from understudy.events import Block, Events, Schema
from understudy.geometry import builtin

BOTH = pytest.mark.parametrize("suffix", [".h5", ".npz"])

SCHEMA = Schema((Block("incident_energy", "MeV", minimum=0.0),), (Block("showers", "MeV", shape=(4,), minimum=0.0),))
E = np.arange(1.0, 7.0)[:, None]
CELLS = np.arange(24.0).reshape(6, 4)


def made(n=6, value=1.0):
    return Events(SCHEMA, {"incident_energy": np.full(n, value)}, {"showers": np.full((n, 4), value)})


def bare(path, **data_sets):
    if path.suffix == ".npz":
        np.savez(path, **data_sets)
    else:
        with h5py.File(path, "w") as file:
            for name, values in data_sets.items():
                file[name] = values
    return path


def refused(path, *words, error=ValueError, **arguments):
    with pytest.raises(error) as caught:
        storage.read(path, **arguments)
    sentence = str(caught.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    for word in words:
        assert re.search(word, sentence), sentence
    return sentence


@BOTH
def test_no_such_file(tmp_path, suffix):
    refused(tmp_path / f"none{suffix}", "^there is no file .*; check the path", error=FileNotFoundError)


@BOTH
def test_a_folder(tmp_path, suffix):
    path = tmp_path / f"folder{suffix}"
    path.mkdir()
    refused(path, error=(IsADirectoryError, ValueError))


@pytest.mark.parametrize("name", ["events.dat", "events", "events.h5.txt"])
def test_an_unknown_ending(tmp_path, name):
    for call in (storage.read, lambda p: storage.write(p, made()), storage.check_ending):
        with pytest.raises(ValueError, match=r"is no file format for events; use \.h5, \.hdf5, \.npz"):
            call(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_text_file_of_the_name_of_an_hdf5_file(tmp_path):
    path = tmp_path / "events.h5"
    path.write_text("energy, cells\n" * 1000)
    refused(path, "is not an HDF5 file; convert it")
    path.write_text("")
    refused(path, "is not an HDF5 file|is truncated|is damaged")


def test_a_text_file_of_the_name_of_an_npz_file(tmp_path):
    path = tmp_path / "events.npz"
    path.write_text("energy, cells\n" * 1000)
    refused(path, "is not a complete npz file")


@BOTH
@pytest.mark.parametrize("kept", [0.5, 0.9, 0.99])
def test_a_truncated_file(tmp_path, suffix, kept):
    path = storage.write(tmp_path / f"events{suffix}", Events.concatenate([made(500, i + 1.0) for i in range(8)]))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    refused(path, "is truncated|is not a complete npz file", "copy or write it again")


@BOTH
def test_damaged_content(tmp_path, suffix):
    rng = np.random.default_rng(0)
    events = Events(SCHEMA, {"incident_energy": rng.random(3000)}, {"showers": rng.random((3000, 4))})
    path = storage.write(tmp_path / f"events{suffix}", events)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = bytes(200)
    path.write_bytes(bytes(content))
    refused(path, "is damaged|is not a complete npz file", "copy or write it again")


@BOTH
def test_a_missing_data_set_says_what_there_is(tmp_path, suffix):
    path = bare(tmp_path / f"a{suffix}", incident_energies=E, shower=CELLS)
    refused(path, "there is no data set 'showers'; there are incident_energies, shower; rename")
    path = bare(tmp_path / f"b{suffix}", incident_energies=E, showers=CELLS)
    refused(path, "there is no data set 'position'; there are incident_energies, showers", conditions=["position"])
    refused(path, "there is no data set 'pt'", schema=Schema((Block("pt"),), SCHEMA.response))


def test_an_empty_hdf5_file(tmp_path):
    refused(bare(tmp_path / "a.h5"), "there is no data set 'showers'; there are none")


def test_a_data_set_missing_from_a_file_with_a_schema(tmp_path):
    path = storage.write(tmp_path / "a.h5", made())
    with h5py.File(path, "a") as file:
        del file["showers"]
    refused(path, "there is no data set 'showers'; there are incident_energies")


@BOTH
def test_zero_events(tmp_path, suffix):
    refused(
        bare(tmp_path / f"a{suffix}", incident_energies=E[:0], showers=CELLS[:0]), "holds zero events; choose a file with events"
    )


@BOTH
def test_different_lengths(tmp_path, suffix):
    path = bare(tmp_path / f"a{suffix}", incident_energies=E, showers=CELLS[:5])
    refused(path, r"different numbers of events \(incident_energies 6, showers 5\)")
    path = bare(tmp_path / f"b{suffix}", incident_energies=E, showers=CELLS, weights=np.ones(3))
    refused(path, r"different numbers of events \(.*weights 3\)")


@BOTH
@pytest.mark.parametrize(
    ("value", "words"), [(np.nan, "holds NaN or infinity"), (np.inf, "holds NaN or infinity"), (-5.0, "'showers' holds -5 MeV")]
)
def test_values_that_are_no_energies(tmp_path, suffix, value, words):
    cells = CELLS.copy()
    cells[4, 2] = value
    path = bare(tmp_path / f"a{suffix}", incident_energies=E, showers=cells)
    refused(path, words, "in event 4")
    with pytest.raises(ValueError, match=r"counted from event 3\): .* in event 1"):
        list(storage.iterate(path, 3))
    energies = E.copy()
    energies[1] = value
    refused(bare(tmp_path / f"b{suffix}", incident_energies=energies, showers=CELLS), "'incident_energy' holds", "in event 1")


@BOTH
def test_showers_of_the_wrong_shape(tmp_path, suffix):
    path = bare(tmp_path / f"a{suffix}", incident_energies=np.ones((6, 3)), showers=CELLS)
    refused(path, r"'incident_energy' has shape \(6, 3\) where \(6,\) is expected", schema=SCHEMA)
    path = bare(tmp_path / f"b{suffix}", incident_energies=E, showers=CELLS[:, :3])
    refused(path, r"'showers' has shape \(6, 3\) where \(6, 4\) is expected", schema=SCHEMA)


@BOTH
def test_what_is_no_number(tmp_path, suffix):
    path = bare(tmp_path / f"a{suffix}", incident_energies=E, showers=np.array([b"a"] * 6))
    refused(path, r"the data set 'showers' has type \|S1, which is not a number")


def test_python_objects_are_never_loaded(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, allow_pickle=True, incident_energies=E, showers=np.array([{"a": 1}] * 6, dtype=object))
    refused(path, "has type object, which is not a number")


@pytest.mark.parametrize("text", ["{}", "not json", '{"conditions": [{"name": "x", "colour": 1}]}', "[]"])
def test_a_header_that_makes_no_sense(tmp_path, text):
    path = storage.write(tmp_path / "a.h5", made())
    with h5py.File(path, "a") as file:
        file.attrs["understudy_schema"] = text
        file.attrs["understudy_response"] = "true" if text != "{}" else "maybe"
    refused(path, "its header cannot be read")


def test_a_later_format_is_refused(tmp_path):
    path = storage.write(tmp_path / "a.h5", made())
    with h5py.File(path, "a") as file:
        file.attrs["understudy_format"] = "2"
    refused(path, "format 2 is not 1")


def test_an_npz_header_that_makes_no_sense(tmp_path):
    for header in (np.array(1.0), np.array("not json")):
        refused(bare(tmp_path / "a.npz", incident_energies=E, showers=CELLS, understudy=header), "is not a complete npz file")


@BOTH
def test_jagged_offsets_that_do_not_fit(tmp_path, suffix):
    schema = Schema((Block("x"),), (Block("tracks", kind="jagged"),))
    for offsets in ([0, 2, 1], [0, 1, 9], [-1, 0, 1]):
        path = tmp_path / f"a{suffix}"
        bare(path, x=np.ones(2), **{"tracks/offsets": np.array(offsets), "tracks/content": np.ones(3)})
        refused(path, "the offsets of 'tracks' do not fit its content", schema=schema)
    refused(bare(tmp_path / f"b{suffix}", x=np.ones(2), tracks=np.ones(2)), "no data set 'tracks/offsets'", schema=schema)


@BOTH
@pytest.mark.parametrize("chunk", [0, -1])
def test_chunks_without_events(tmp_path, suffix, chunk):
    path = storage.write(tmp_path / f"a{suffix}", made())
    with pytest.raises(ValueError, match=f"cannot be read {chunk} events at a time"):
        list(storage.iterate(path, chunk))


class TestWriting:
    @BOTH
    def test_nothing_to_write(self, tmp_path, suffix):
        path = storage.write(tmp_path / f"a{suffix}", made())
        for write in (
            lambda: storage.write(path, made()[:0]),
            lambda: storage.writer(path, SCHEMA).__enter__().__exit__(None, None, None),
        ):
            with pytest.raises(ValueError, match=r"no events were given to write to .*; nothing was written"):
                write()
        assert len(storage.read(path)) == 6
        assert [p.name for p in tmp_path.iterdir()] == [path.name]

    @BOTH
    def test_events_that_do_not_belong_together(self, tmp_path, suffix):
        def append(*parts):
            with storage.writer(tmp_path / f"a{suffix}", SCHEMA) as file:
                for part in parts:
                    file.append(part)

        with pytest.raises(ValueError, match="another schema than the file"):
            append(made(), made().select_conditions([]))
        weighted = Events(SCHEMA, made().conditions, made().response, weights=np.ones(6))
        with pytest.raises(ValueError, match="either all or none of the appended events must have a response, weights or a mask"):
            append(made(), weighted)
        with pytest.raises(ValueError, match="either all or none"):
            append(made(), made().without_response())
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", ["weights", "mask", "incident_energies", "a/b", ".hidden"])
    def test_names_that_no_data_set_can_have(self, tmp_path, name):
        with pytest.raises(ValueError, match=f"a block cannot be called '{name}' in a file"):
            storage.writer(tmp_path / "a.h5", Schema((Block(name),)))

    def test_showers_that_do_not_fit_the_geometry(self, tmp_path):
        with pytest.raises(ValueError, match="has 4 cells per event where geometry 'atlas-em-89' has 89; name the geometry"):
            storage.write(tmp_path / "a.h5", made(), builtin("atlas-em-89"))
        assert list(tmp_path.iterdir()) == []

    @BOTH
    def test_an_error_in_the_middle_keeps_the_earlier_file(self, tmp_path, suffix):
        path = storage.write(tmp_path / f"a{suffix}", made())

        def interrupted():
            with storage.writer(path, SCHEMA) as file:
                file.append(made(2000, 2.0))
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert storage.read(path)["incident_energy"].max() == 1.0
        assert [p.name for p in tmp_path.iterdir()] == [path.name]

    @BOTH
    def test_a_full_disk_at_the_last_step(self, tmp_path, suffix, monkeypatch):
        path = storage.write(tmp_path / f"a{suffix}", made())

        def full(descriptor):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=f"^cannot write {path}: the disk is full; free some space or choose another folder$"):
            storage.write(path, made(600, 2.0))
        monkeypatch.undo()
        assert storage.read(path)["incident_energy"].max() == 1.0
        assert [p.name for p in tmp_path.iterdir()] == [path.name]

    @BOTH
    def test_no_place_to_write(self, tmp_path, suffix):
        (tmp_path / "file").write_text("not a folder")
        with pytest.raises(OSError, match=r"^cannot write .*: part of the path is a file, not a folder"):
            storage.write(tmp_path / "file" / f"a{suffix}", made())

    @BOTH
    def test_no_permission(self, tmp_path, suffix, monkeypatch):
        def forbidden(self, *args, **kwargs):
            raise PermissionError(errno.EACCES, "Permission denied", str(self))

        monkeypatch.setattr("pathlib.Path.mkdir", forbidden)
        with pytest.raises(PermissionError, match=r"^cannot write .*: no permission to write there"):
            storage.write(tmp_path / f"a{suffix}", made())


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
import numpy as np
from understudy import storage
from understudy.events import Block, Events, Schema
schema = Schema((Block("incident_energy", "MeV"),), (Block("showers", "MeV", shape=(64,)),))
rng = np.random.default_rng(0)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    with storage.writer(sys.argv[1], schema) as file:
        for _ in range(6):
            file.append(Events(schema, {"incident_energy": rng.random(500)}, {"showers": rng.random((500, 64))}))
except OSError as error:
    print(error)
"""


@BOTH
@pytest.mark.parametrize("limit", [300, 5_000, 150_000, 600_000])
def test_a_disk_that_takes_no_more(tmp_path, suffix, limit):
    """The operating system really refuses to write; the process goes on and ends well."""
    path = storage.write(tmp_path / f"a{suffix}", made())
    ended = subprocess.run([sys.executable, "-c", LIMITED, str(path), str(limit)], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert re.fullmatch(rf"cannot write {path}: the file would be larger than this system allows; .*\n", ended.stdout)
    assert len(storage.read(path)) == 6
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


ENDLESS = """
import sys
import numpy as np
from understudy import storage
from understudy.events import Block, Events, Schema
schema = Schema((Block("incident_energy", "MeV", minimum=0.0),), (Block("showers", "MeV", shape=(4,), minimum=0.0),))
with storage.writer(sys.argv[1], schema) as file:
    while True:
        file.append(Events(schema, {"incident_energy": np.full(500, 2.0)}, {"showers": np.full((500, 4), 2.0)}))
        if len(file) == 5000:
            print("writing", flush=True)
"""


@BOTH
def test_a_killed_process(tmp_path, suffix):
    path = storage.write(tmp_path / f"a{suffix}", made())
    with subprocess.Popen([sys.executable, "-c", ENDLESS, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        process.kill()
    assert process.returncode == -9
    assert storage.read(path)["incident_energy"].tolist() == [1.0] * 6
    remains = {p.name for p in tmp_path.iterdir()} - {path.name}
    assert remains <= {f".a{suffix}.partial"}
    for name in remains:
        with pytest.raises(ValueError, match="is no file format for events"):
            storage.read(tmp_path / name)
    storage.write(path, made(6, 3.0))
    assert storage.read(path)["incident_energy"].max() == 3.0
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_zip_archive_that_is_no_npz(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("showers.npy", b"not numpy")
    refused(tmp_path / "a.npz", "is not a complete npz file")
