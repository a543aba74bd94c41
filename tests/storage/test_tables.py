import numpy as np
import pytest

from understudy import extras
from understudy.storage.tables import open_table

N = 130


def columns(rng=None):
    rng = rng or np.random.default_rng(1)
    return {"P": rng.uniform(3000, 9000, N), "DLLk": rng.normal(size=N).astype(np.float32), "n": rng.integers(0, 9, N)}


def lists(seed=2):
    counts = np.random.default_rng(seed).integers(1, 5, N)
    return [list(range(i, i + k)) for i, k in enumerate(counts)]


def write_root(path, extra=None):
    import awkward
    import uproot

    branches = {**columns(), "xyz": np.arange(3.0 * N).reshape(N, 3), "hits": awkward.Array(lists()), **(extra or {})}
    with uproot.recreate(path) as file:
        file.mktree("Tracks", {k: (v.dtype, v.shape[1:]) if isinstance(v, np.ndarray) else v.type for k, v in branches.items()})
        for start in range(0, N, 50):
            file["Tracks"].extend({k: v[start : start + 50] for k, v in branches.items()})
    return path


def write_parquet(path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = {k: pa.array(v) for k, v in columns().items()}
    rows["xyz"] = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(3.0 * N)), 3)
    rows["hits"] = pa.array(lists(), pa.list_(pa.float64()))
    rows["mother"] = pa.StructArray.from_arrays([pa.array(np.arange(N) * 0.5), pa.array(["x"] * N)], ["pt", "name"])
    pq.write_table(pa.table(rows), path, row_group_size=40)
    return path


def write_csv(path):
    c = columns()
    rows = zip(c["P"], c["DLLk"].astype(float), c["n"], strict=True)
    path.write_text(
        "P,DLLk,n\n" + "".join(f"{p!r},{d!r},{n}\n" for p, d, n in ((float(a), float(b), int(k)) for a, b, k in rows))
    )
    return path


def write_hdf5(path):
    import h5py

    with h5py.File(path, "w") as file:
        for name, values in {**columns(), "xyz": np.arange(3.0 * N).reshape(N, 3)}.items():
            file[name] = values
        file["other/short"] = np.zeros(4)
        file["table"] = np.array([(i, 2.0 * i) for i in range(N)], dtype=[("a", int), ("b", float)])
    return path


WRITERS = {".root": write_root, ".parquet": write_parquet, ".csv": write_csv, ".h5": write_hdf5}


@pytest.fixture(params=WRITERS)
def path(request, tmp_path, monkeypatch):
    monkeypatch.setattr("understudy.storage.table_arrow._BLOCK", 500)
    return WRITERS[request.param](tmp_path / f"tracks{request.param}")


def test_any_rows_in_any_order(path):
    with open_table(path) as table:
        assert len(table) == N
        for start, stop in [(0, N), (10, 60), (100, 130), (0, 1), (39, 41), (5, 5), (90, 999)]:
            found = table.take(["P", "DLLk", "n"], start, min(stop, N))
            for name, values in columns().items():
                np.testing.assert_allclose(found[name], values[start:stop], rtol=1e-7)


def test_fixed_arrays(path):
    with open_table(path) as table:
        if "xyz" in table.columns:
            assert table.columns["xyz"].shape == (3,)
            np.testing.assert_array_equal(table.take(["xyz"], 38, 43)["xyz"], np.arange(3.0 * N).reshape(N, 3)[38:43])


def test_lists(path):
    with open_table(path) as table:
        if "hits" in table.columns:
            assert table.columns["hits"].jagged
            assert table.take(["hits"], 35, 90)["hits"].tolist() == lists()[35:90]


def test_fields_inside_others(tmp_path):
    with open_table(write_parquet(tmp_path / "a.parquet")) as table:
        assert table.take(["mother.pt"], 50, 52)["mother.pt"].tolist() == [25.0, 25.5]
        with pytest.raises(ValueError, match=r"the branch 'mother.name' has type string, which is not made of numbers"):
            table.find("mother.name")
    with open_table(write_hdf5(tmp_path / "a.h5")) as table:
        assert table.take(["table.b"], 50, 52)["table.b"].tolist() == [100.0, 102.0]
        assert "other/short" not in table.columns


def test_an_unknown_branch_is_answered_with_the_nearest(path):
    with open_table(path) as table, pytest.raises(ValueError, match=r"there is no branch 'dllK' \(did you mean 'DLLk'\?\)"):
        table.find("dllK")
    with open_table(path) as table, pytest.raises(ValueError, match=r"there is no branch 'zzzzzz'; there are .*DLLk"):
        table.find("zzzzzz")


@pytest.mark.parametrize(
    ("ending", "damage"),
    [(e, d) for e in WRITERS for d in ("empty", "half", "text") if (e, d) != (".csv", "half")],  # half a CSV file is a CSV file
)
def test_damaged_files(ending, damage, tmp_path):
    path = WRITERS[ending](tmp_path / f"tracks{ending}")
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "half": content[: len(content) // 2], "text": b"not\0 what,it,says\nabout,itself\n"}[damage])
    with pytest.raises(ValueError, match=f"tracks{ending} .*(damaged|empty|not an HDF5|truncated|no .* file)"), open_table(path):
        pass


@pytest.mark.parametrize("ending", WRITERS)
def test_no_rows_and_no_file(ending, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        open_table(tmp_path / f"nothing{ending}")
    (tmp_path / f"folder{ending}").mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder"):
        open_table(tmp_path / f"folder{ending}")


def test_zero_rows(tmp_path):
    (tmp_path / "a.csv").write_text("P,DLLk\n")
    with pytest.raises(ValueError, match=r"a.csv holds no rows; choose a file with events"):
        open_table(tmp_path / "a.csv")


def test_unequal_rows_of_a_csv_file(tmp_path):
    (tmp_path / "a.csv").write_text("P,DLLk\n1,2\n3\n")
    with pytest.raises(ValueError, match=r"a.csv is damaged or no CSV file .*Expected 2 columns"):
        open_table(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("P,P\n1,2\n")
    with pytest.raises(ValueError, match="names 'P' more than once"):
        open_table(tmp_path / "b.csv")


def test_empty_cells_of_a_csv_file(tmp_path):
    (tmp_path / "a.csv").write_text("P,n\n1.5,2\n,3\n2.5,\n")
    with open_table(tmp_path / "a.csv") as table:
        np.testing.assert_array_equal(table.take(["P"], 0, 3)["P"], [1.5, np.nan, 2.5])
        np.testing.assert_array_equal(table.take(["n"], 1, 3)["n"], [3, np.nan])


def test_missing_lists_and_numbers_of_a_parquet_file(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(
        pa.table({"n": [1, None, 3], "hits": [[1.0], [2.0, None], []], "fine": [[1], [], [2]]}), tmp_path / "a.parquet"
    )
    with open_table(tmp_path / "a.parquet") as table:
        np.testing.assert_array_equal(table.take(["n"], 0, 3)["n"], [1, np.nan, 3])
        with pytest.raises(ValueError, match="the column 'hits' lacks lists or numbers in some rows; fill or remove these rows"):
            table.take(["hits"], 0, 3)
        assert table.take(["fine"], 1, 3)["fine"].tolist() == [[], [2]]


def test_whole_numbers_at_first_may_be_others_further_down(tmp_path, monkeypatch):
    monkeypatch.setattr("understudy.storage.table_arrow._BLOCK", 100)
    (tmp_path / "a.csv").write_text("P,w\n" + "1,\n" * 100 + "1.5,2\n")
    with open_table(tmp_path / "a.csv") as table:
        assert table.take(["P", "w"], 99, 101)["P"].tolist() == [1, 1.5]
        assert np.isnan(table.take(["w"], 0, 3)["w"]).all()


def test_branches_of_unequal_numbers_of_entries(tmp_path):
    with open_table(write_root(tmp_path / "a.root")) as table:
        table._entries["P"] = 7  # uproot does not write such a tree
        with pytest.raises(ValueError, match="the branch 'P' has 7 entries where the tree has 130; write the tree again"):
            table._length()


def test_which_tree(tmp_path):
    import uproot

    with uproot.recreate(tmp_path / "a.root") as file:
        file.mktree("pions/Tuple", {"P": "f8"}).extend({"P": np.ones(3)})
        file.mktree("kaons/Tuple", {"P": "f8"}).extend({"P": np.ones(4)})
    with pytest.raises(ValueError, match=r"holds the trees pions/Tuple, kaons/Tuple; say which with 'tree'"):
        open_table(tmp_path / "a.root")
    with open_table(tmp_path / "a.root", "kaons/Tuple") as table:
        assert len(table) == 4
    with pytest.raises(ValueError, match=r"there is no tree 'kaon/Tuple' \(did you mean 'kaons/Tuple'\?\)"):
        open_table(tmp_path / "a.root", "kaon/Tuple")
    with uproot.recreate(tmp_path / "b.root") as file:
        file["h"] = np.histogram([1, 2])
    with pytest.raises(ValueError, match="holds no tree"):
        open_table(tmp_path / "b.root")


@pytest.mark.parametrize(
    ("ending", "extra", "package"),
    [(".root", "root", "uproot"), (".parquet", "parquet", "pyarrow"), (".csv", "parquet", "pyarrow")],
)
def test_without_the_extra(ending, extra, package, tmp_path, monkeypatch):
    path = WRITERS[ending](tmp_path / f"a{ending}")

    def missing(name):
        raise ModuleNotFoundError("no", name=name)

    monkeypatch.setattr(extras.importlib, "import_module", missing)
    with pytest.raises(
        ModuleNotFoundError, match=rf"needs the package {package}; install it with: pip install 'understudy\[{extra}\]'"
    ):
        open_table(path)


def test_other_endings(tmp_path):
    with pytest.raises(ValueError, match=r"has the ending '.txt', which is no table; use .root, .parquet, .csv"):
        open_table(tmp_path / "a.txt")
