import awkward
import numpy as np
import pytest
import uproot

from understudy.recipe import Recipe
from understudy.references.table import TableFile
from understudy.registry import factory
from understudy.schema import Block
from understudy.simulator import Source

N = 250


@pytest.fixture(scope="module")
def made():
    rng = np.random.default_rng(1)
    counts = rng.integers(1, 5, N)
    return {
        "P": rng.uniform(3, 150, N),
        "ETA": rng.uniform(2, 5, N),
        "ID": rng.choice([211, -211, 321], N),
        "DLLk": rng.normal(size=N),
        "DLLp": rng.normal(size=N),
        "sWeight": rng.normal(0.6, 0.5, N),
        "hasRich": rng.integers(0, 2, N),
        "xyz": rng.normal(size=(N, 3)),
        "trk_p": awkward.unflatten(rng.uniform(3, 150, counts.sum()), counts),
        "trk_dll": awkward.unflatten(rng.normal(size=counts.sum()), counts),
        "pair": awkward.unflatten(rng.normal(size=2 * N), np.full(N, 2)),
        "odd": awkward.unflatten(rng.normal(size=N + 3), np.r_[np.full(N - 1, 1), 4]),
    }


@pytest.fixture(scope="module")
def path(made, tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "tracks.root"
    with uproot.recreate(path) as file:
        file.mktree("T", {k: (v.dtype, v.shape[1:]) if isinstance(v, np.ndarray) else v.type for k, v in made.items()}).extend(
            made
        )
    return str(path)


def table(path, **words):
    words = {"conditions": {"momentum": {"branch": "P", "unit": "GeV"}}, "response": {"dll": ["DLLk", "DLLp"]}, **words}
    return factory("references", {"kind": "table", "path": path, **words})()


def test_blocks_units_and_weights(path, made):
    source = table(
        path,
        conditions={
            "momentum": {"branch": "P", "unit": "GeV/c", "minimum": 0},
            "eta": "ETA",
            "species": {"branch": "ID", "kind": "categorical", "classes": [[211, -211], 321]},
            "magnet": {"value": 1, "kind": "categorical"},
        },
        weight="sWeight",
        aux={"where": {"branch": "xyz", "unit": "cm", "columns": ["x", "y", "z"]}, "y": "xyz[1]", "pair": "pair"},
    )
    assert isinstance(source, Source)
    events = source.events()
    assert len(source) == len(events) == N
    np.testing.assert_allclose(events["momentum"], made["P"] * 1000, rtol=1e-6)
    np.testing.assert_array_equal(events["species"], made["ID"] == 321)
    assert (events["magnet"] == 1).all()
    np.testing.assert_allclose(events["dll"], np.stack([made["DLLk"], made["DLLp"]], 1), rtol=1e-6)
    np.testing.assert_array_equal(events.weights, made["sWeight"])
    np.testing.assert_allclose(events["where"], made["xyz"] * 10, rtol=1e-6)
    np.testing.assert_allclose(events["y"], made["xyz"][:, 1], rtol=1e-6)
    np.testing.assert_allclose(events["pair"], awkward.to_numpy(made["pair"]), rtol=1e-6)
    assert events.schema.block("momentum") == Block("momentum", "MeV", minimum=0.0)
    assert events.schema.block("dll").columns == ("DLLk", "DLLp")
    assert events.schema.block("where").columns == ("x", "y", "z")


def test_chunks_and_draws(path, made):
    source = table(path)
    parts = list(source.chunks(60))
    assert [len(p) for p in parts] == [60, 60, 60, 60, 10]
    np.testing.assert_array_equal(np.concatenate([p["dll"] for p in parts]), source.events()["dll"])
    drawn = source.generate(200, np.random.default_rng(1))["momentum"]
    assert len(set(drawn.tolist())) == 200
    np.testing.assert_array_equal(drawn, source.generate(200, np.random.default_rng(1))["momentum"])
    with pytest.raises(ValueError, match="cannot give 251 different events: it has 250; ask for fewer"):
        source.generate(251, np.random.default_rng(0))
    assert len(table(path, events=70).events()) == 70
    with pytest.raises(ValueError, match="holds 250 rows where the first 300 are asked for"):
        table(path, events=300).events()


def test_the_mask_lets_missing_answers_be_nan(tmp_path):
    (tmp_path / "a.csv").write_text("P,DLLk,seen\n1,2,1\n3,nan,0\n")
    words = {"conditions": {"p": "P"}, "response": {"dll": "DLLk"}}
    events = table(str(tmp_path / "a.csv"), **words, mask="seen").events()
    assert events.mask.tolist() == [True, False]
    with pytest.raises(ValueError, match=r"a.csv: 'dll' holds NaN or infinity, first in event 1"):
        table(str(tmp_path / "a.csv"), **words).events()


def test_items_of_lists_become_rows(path, made):
    words = {"conditions": {"momentum": {"branch": "trk_p", "unit": "GeV"}, "eta": "ETA"}, "response": {"dll": "trk_dll"}}
    source = table(path, **words, rows="items", weight="sWeight")
    counts = awkward.to_numpy(awkward.num(made["trk_p"]))
    events = source.events()
    assert len(source) == len(events) == counts.sum()
    np.testing.assert_allclose(events["momentum"], 1000 * awkward.to_numpy(awkward.flatten(made["trk_p"])), rtol=1e-6)
    np.testing.assert_allclose(events["eta"], np.repeat(made["ETA"], counts), rtol=1e-6)
    np.testing.assert_array_equal(events.weights, np.repeat(made["sWeight"], counts))
    assert len(table(path, **words, rows="items", events=77).events()) == 77
    with pytest.raises(ValueError, match="none of the named branches holds lists, so rows are entries; leave 'rows' out"):
        table(path, rows="items").events()


def test_lists_stay_lists(path, made):
    hits = {"branch": ["trk_p", "trk_dll"], "kind": "jagged"}
    events = table(path, aux={"tracks": hits, "energies": {"branch": "trk_p", "kind": "jagged", "unit": "GeV"}}).events()
    assert events.schema.block("tracks").shape == (2,)
    np.testing.assert_allclose(events["energies"][3], 1000 * made["trk_p"][3], rtol=1e-6)
    np.testing.assert_allclose(events["tracks"][3][:, 1], made["trk_dll"][3], rtol=1e-6)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"response": {"dll": ["DLLk", "DLLpp"]}}, r"tree 'T': there is no branch 'DLLpp' \(did you mean 'DLLp'\?\)"),
        ({"weight": "sweight"}, r"there is no branch 'sweight' \(did you mean 'sWeight'\?\)"),
        ({"conditions": {"p": {"branch": "P", "unit": "GEV"}}}, "unknown unit 'GEV'; known are MeV, eV"),
        ({"conditions": {"p": {"unit": "GeV"}}}, "needs either a 'branch' .* or a 'value'"),
        ({"conditions": {"p": {"branch": "P", "value": 3}}}, "needs either a 'branch' .* or a 'value'"),
        ({"conditions": {"p": {"brunch": "P"}}}, "brunch"),
        ({"conditions": {}}, "at least one block of 'conditions'"),
        ({"conditions": {"p": {"branch": "P", "classes": [1]}}}, "only a quantity of kind categorical has 'classes'"),
        (
            {"conditions": {"s": {"branch": "ID", "kind": "categorical", "classes": [211, 321]}}},
            "'s' holds -211 in row .*, which 'classes'",
        ),
        ({"conditions": {"s": {"branch": "ID", "kind": "categorical"}}}, "'s' is categorical and holds -211"),
        ({"response": {"d": "trk_dll"}}, r"entry \d+ of 'trk_dll' has \d numbers where entry 0 has \d; take one with an index"),
        ({"response": {"d": "odd"}}, "entry 249 of 'odd' has 4 numbers where entry 0 has 1"),
        ({"response": {"d": "trk_dll[3]"}}, r"entry \d+ of 'trk_dll' has \d numbers, so there is no \[3\]"),
        ({"response": {"d": "xyz[3]"}}, r"'xyz\[3\]' asks for number 3 of 3 \(counted from 0\)"),
        ({"response": {"d": ["DLLk", "xyz"]}}, r"the branches of 'd' hold one number and \(3,\) per row"),
        (
            {"response": {"d": {"branch": ["trk_p", "odd"], "kind": "jagged"}}},
            r"entry \d+ has \d numbers in 'trk_p' and \d in 'odd'",
        ),
        (
            {"conditions": {"p": "trk_p"}, "response": {"d": "odd"}, "rows": "items"},
            r"entry \d+ has \d numbers in 'trk_p' and \d in 'odd'",
        ),
        ({"tree": "U"}, "there is no tree 'U'"),
        ({"events": 0}, "cannot give its first 0 rows"),
    ],
)
def test_bad_words(path, words, message):
    with pytest.raises(ValueError, match=message):
        table(path, **words).events()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("1,-1,0", "the weights 'w' of 3 events add up to 0; weights that describe a sample add up to more than zero"),
        ("-1,-1,1", "add up to -1"),
        ("1,nan,1", "the weights hold NaN or infinity"),
    ],
)
def test_bad_weights(weights, message, tmp_path):
    (tmp_path / "a.csv").write_text("P,D,w\n" + "".join(f"1,2,{w}\n" for w in weights.split(",")))
    with pytest.raises(ValueError, match=message):
        table(str(tmp_path / "a.csv"), conditions={"p": "P"}, response={"d": "D"}, weight="w").events()


def test_without_a_path():
    with pytest.raises(ValueError, match="the reference is a table, but no file is named; give --data FILE"):
        table(None).events()


def test_another_file_for_the_same_words(recipe, path):
    words = {"kind": "table", "conditions": {"momentum": "P"}, "response": {"dll": "DLLk"}, "weight": "sWeight"}
    changed = Recipe.from_dict({**recipe.to_dict(), "reference": words}).using(data="other.csv")
    assert changed.reference.kind == "table"
    assert changed.reference.arguments["path"] == "other.csv"
    assert Recipe.from_dict(changed.to_dict()).reference.to_dict() == changed.reference.to_dict()
    assert isinstance(changed.reference(), TableFile)


def test_calibration_rows_of_lhcb_as_they_are(shared):
    path = shared / "data" / "lhcb" / "pidcalib_sweighted_99rows.csv"
    if not path.exists():
        pytest.skip("needs ../shared/data/lhcb")
    source = table(
        str(path),
        conditions={"momentum": {"branch": "P", "unit": "MeV", "minimum": 0}},
        response={"dll": {"branch": "DLLK", "columns": []}},
        weight="sWeight",
        aux={"ghost": "probe_TRACK_GHOSTPROB"},
    )
    events = source.events()
    assert len(events) == 99
    assert events.weights.min() < 0 < events.weights.sum()
    assert events["momentum"][0] == pytest.approx(231688.833)
    assert events["dll"][1] == pytest.approx(-92.629)


@pytest.mark.parametrize(
    ("name", "tree", "particles"),
    [("fcc_winter2023_delphes", "events", 100), ("p8_ee_WW_ecm240_edm4hep", "events", 10)],
)
def test_particles_of_edm4hep(shared, name, tree, particles):
    path = shared / "data" / "edm4hep" / f"{name}.root"
    if not path.exists():
        pytest.skip("needs ../shared/data/edm4hep")
    momentum = [f"ReconstructedParticles.momentum.{axis}" for axis in "xyz"]
    words = {
        "conditions": {"momentum": {"branch": momentum, "unit": "GeV"}},
        "response": {"energy": {"branch": "ReconstructedParticles.energy", "unit": "GeV"}},
        "tree": tree,
    }
    events = table(str(path), **words, rows="items").events()
    assert events["momentum"].shape == (len(events), 3)
    assert events.schema.block("momentum").columns == ("x", "y", "z")
    assert len(events) > particles
    assert (events["energy"] >= 0.999 * np.linalg.norm(events["momentum"], axis=1)).all()
    first = table(
        str(path),
        **{
            **words,
            "conditions": {"px": {"branch": f"{momentum[0]}[0]", "unit": "GeV"}},
            "response": {"e": {"branch": "ReconstructedParticles.energy[0]", "unit": "GeV"}},
        },
    ).events()
    assert len(first) == particles
    assert first["px"][0] == events["momentum"][0, 0]


def test_cells_of_one_geant4_shower(shared):
    path = shared / "data" / "edm4hep" / "ild_photon_44gev.edm4hep.root"
    if not path.exists():
        pytest.skip("needs ../shared/data/edm4hep")
    words = {"conditions": {"n": {"value": 1}}, "tree": "events"}
    cells = {"branch": [f"ECalBarrelSiHitsOdd.position.{a}" for a in "xyz"], "unit": "mm", "kind": "jagged"}
    energy = {"branch": "ECalBarrelSiHitsOdd.energy", "unit": "GeV", "kind": "jagged"}
    events = table(str(path), **words, response={"energy": energy}, aux={"cells": cells}).events()
    assert len(events["energy"][0]) == len(events["cells"][0]) == 502


@pytest.mark.parametrize(("tree", "rows"), [("GeneratedTracks", 1000), ("HitStrips", 4808)])
def test_plain_trees_of_geant4(shared, tree, rows):
    path = shared / "data" / "geant4_root" / "uproot-from-geant4.root"
    if not path.exists():
        pytest.skip("needs ../shared/data/geant4_root")
    words = {"GeneratedTracks": ("phi", "p"), "HitStrips": ("Laystrip", "Energy")}[tree]
    events = table(str(path), tree=tree, conditions={"a": words[0]}, response={"b": words[1]}).events()
    assert len(events) == rows
