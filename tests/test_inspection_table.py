import numpy as np
import pytest
import uproot
import yaml

from understudy import storage
from understudy.events import Block, Events, Schema
from understudy.inspection import describe, drafts
from understudy.registry import factory


@pytest.fixture
def calibration(tmp_path):
    rng = np.random.default_rng(1)
    path = tmp_path / "pidcalib.root"
    rows = {
        "probe_P": rng.uniform(3000, 90_000, 50),
        "probe_ETA": rng.uniform(2, 5, 50),
        "nTracks": rng.integers(10, 300, 50),
        "probe_DLLK": rng.normal(size=50),
        "sWeight": np.linspace(-0.25, 1, 50),
        "hasRich": rng.integers(0, 2, 50),
        "chi2": np.where(np.arange(50) < 5, np.nan, 1.0),
    }
    with uproot.recreate(path) as file:
        file.mktree("Kaons", {k: v.dtype for k, v in rows.items()}).extend(rows)
        file.mktree("Pions", {k: v.dtype for k, v in rows.items()}).extend(rows)
    return path


def test_what_a_table_holds(calibration):
    tables = describe(calibration)
    assert list(tables) == ["pidcalib.root: Kaons: 50 rows", "pidcalib.root: Pions: 50 rows"]
    rows = {row["branch"]: row for row in tables["pidcalib.root: Kaons: 50 rows"]}
    assert rows["sWeight"]["type"] == "double"
    assert rows["sWeight"]["per row"] == "1"
    assert [rows["sWeight"][key] for key in ("from", "mean", "to", "NaN", "negative")] == [-0.25, 0.375, 1.0, "0.0%", "20.0%"]
    assert rows["chi2"]["NaN"] == "10.0%"
    assert rows["nTracks"]["type"] == "int64_t"


def test_the_draft_of_a_table_reads_it(calibration):
    said = [d["reference"] for d in yaml.safe_load_all(drafts(calibration))]
    assert [d["tree"] for d in said] == ["Kaons", "Pions"]
    assert said[0]["conditions"] == {
        "probe_P": {"branch": "probe_P", "unit": "MeV"},
        "probe_ETA": "probe_ETA",
        "nTracks": "nTracks",
    }
    assert said[0]["response"] == {"probe_DLLK": "probe_DLLK"}
    assert (said[0]["weight"], said[0]["mask"]) == ("sWeight", "hasRich")
    del said[0]["aux"]["chi2"]
    events = factory("references", said[0])().events()
    assert len(events) == 50
    assert events.weights.min() < 0


@pytest.mark.parametrize("name", ["lhcb/pidcalib_sweighted_99rows.csv", "geant4_root/uproot-from-geant4.root"])
def test_drafts_of_real_tables_read_them(shared, name):
    path = shared / "data" / name
    if not path.exists():
        pytest.skip(f"needs ../shared/data/{name}")
    for document in yaml.safe_load_all(drafts(path)):
        assert len(factory("references", document["reference"])().events()) > 0


def test_particles_are_drafted_item_by_item(shared):
    path = shared / "data" / "edm4hep" / "p8_ee_WW_ecm240_edm4hep.root"
    if not path.exists():
        pytest.skip("needs ../shared/data/edm4hep")
    (said,) = (d["reference"] for d in yaml.safe_load_all(drafts(path)))
    assert said["rows"] == "items"
    assert len(factory("references", said)().events()) > 10


def test_hdf5_without_showers_is_a_table(tmp_path):
    import h5py

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["p"], file["dll"] = np.arange(1000.0, 1009.0), np.arange(27.0).reshape(9, 3)
    ((title, rows),) = describe(tmp_path / "a.h5").items()
    assert title == "a.h5: 9 rows"
    assert {r["branch"]: r["per row"] for r in rows} == {"dll": "3", "p": "1"}
    said = yaml.safe_load(drafts(tmp_path / "a.h5"))["reference"]
    assert factory("references", said)().events()["dll"].shape == (9, 3)


@pytest.mark.parametrize("ending", [".h5", ".npz", ".parquet", ".root"])
def test_files_of_events_are_described_as_before(ending, tmp_path):
    schema = Schema((Block("momentum", "MeV"),), (Block("dll", shape=(2,), columns=("k", "p")),))
    made = Events(
        schema,
        {"momentum": np.ones(4)},
        {"dll": np.array([[1.0, -1], [2, 2], [3, 3], [4, 4]])},
        weights=np.array([1.0, 1, 1, -1]),
    )
    path = storage.write(tmp_path / f"a{ending}", made)
    (rows,) = describe(path).values()
    assert [r["role"] for r in rows] == ["conditions", "response", "weights"]
    assert [r["negative"] for r in rows] == ["0.0%", "12.5%", "25.0%"]
    assert drafts(path) == ""


@pytest.mark.parametrize("ending", [".h5", ".csv", ".root", ".parquet"])
def test_damaged_files(ending, tmp_path):
    (tmp_path / f"a{ending}").write_bytes(b"")
    with pytest.raises(ValueError, match=f"a{ending}"):
        describe(tmp_path / f"a{ending}")
