from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from understudy import cli, storage
from understudy.domain import OutOfDomainWarning


@pytest.fixture
def understudy(monkeypatch, capfd):
    """Run the command line in this process: status, standard output, standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["understudy", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        capfd.readouterr()
        status = 0
        with monkeypatch.context() as patch:
            patch.setattr("warnings.showwarning", None)
            warnings.simplefilter("default", OutOfDomainWarning)  # the command line tells it, and goes on
            try:
                cli.main()
            except SystemExit as stop:
                status = int(stop.code or 0)
        out, err = capfd.readouterr()
        return status, out, err

    return call


def fails(result, *words):
    """A failure is one sentence on standard error, a status, and no traceback."""
    status, _, err = result
    assert status != 0
    last = err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert "Traceback" not in err
    for word in words:
        assert word in last, f"{word!r} not in {last!r}"


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory):
    from small import small

    path = tmp_path_factory.mktemp("recipe") / "small.yaml"
    path.write_text(yaml.safe_dump(small(name="small")))
    return path


@pytest.fixture(scope="module")
def finished(recipe_file, tmp_path_factory):
    """A whole run through the command line."""
    out = tmp_path_factory.mktemp("runs") / "small"
    done = subprocess.run(
        [sys.executable, "-m", "understudy.cli", "run", str(recipe_file), "--out", str(out), "--seed", "5"],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_help_teaches_and_imports_nothing_heavy():
    code = "import sys, understudy.cli; print([m for m in ('torch', 'numpy', 'sklearn', 'h5py', 'pydantic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("command", ["run", "simulate", "train", "sample", "validate", "export", "recipes", "info"])
def test_every_command_has_a_help_with_an_example(understudy, command):
    status, out, _ = understudy(command, "--help")
    assert status == 0
    assert "Example" in out


def test_recipes_are_listed_and_printed(understudy):
    status, out, _ = understudy("recipes")
    assert status == 0
    assert all(name in out for name in ("quickstart", "atlas-photon-89-paper", "lhcb-ecal"))
    status, out, _ = understudy("recipes", "lhcb-ecal")
    assert yaml.safe_load(out)["name"] == "lhcb-ecal"
    fails(understudy("recipes", "nothing"), "no shipped recipe 'nothing'", "quickstart")


def test_a_run_leaves_all_that_is_promised(finished):
    out, said = finished
    for name in ("recipe.yaml", "manifest.json", "history.json", "checkpoints", "samples.h5", "report", "bundle"):
        assert (out / name).exists(), name
    assert (out / "report" / "report.html").stat().st_size > 10_000
    assert str(out / "bundle") in said.replace("\n", "")
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["finished"]
    assert manifest["seed"] == 5
    metrics = json.loads((out / "report" / "metrics.json").read_text())
    assert metrics["format"] == 1
    assert {"low_level", "high_level", "combined"} <= set(metrics["classifier"])
    assert {"small", "small given total_energy", "library"} == set(metrics["candidates"])
    assert metrics["observables"]["total_energy"]["wasserstein1"]["floor"] > 0
    assert {"1", "100", "10000"} <= set(metrics["timing"]["onnx"])
    assert metrics["training"]["parameters"] > 40_000
    assert metrics["verdict"] == "fail"  # two epochs teach nothing, and the report must say so
    assert metrics["reasons"]
    samples = storage.read(out / "samples.h5")
    assert len(samples) == metrics["candidate"]["events"] == 180


def test_the_same_recipe_and_seed_give_the_same_showers(finished, recipe_file, understudy, tmp_path):
    out, _ = finished
    status, _, err = understudy("train", recipe_file, "--out", tmp_path / "again", "--seed", 5)
    assert status == 0, err
    name = "checkpoints/surrogate.safetensors"
    assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()


def test_a_run_is_not_overwritten_unasked_and_resume_of_a_finished_one_ends_the_same(finished, recipe_file, understudy, tmp_path):
    out, _ = finished
    fails(understudy("run", recipe_file, "--out", out, "--seed", 5), "holds a run already", "--resume", "--overwrite")
    fails(understudy("run", recipe_file, "--out", out, "--seed", 6, "--resume"), "the recipe has changed", "seed")
    shutil.copytree(out, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "bundle")
    before = (out / "samples.h5").read_bytes()
    (tmp_path / "copy" / "samples.h5").unlink()
    status, _, err = understudy("run", recipe_file, "--out", tmp_path / "copy", "--seed", 5, "--resume")
    assert status == 0, err
    assert (tmp_path / "copy" / "samples.h5").read_bytes() == before
    assert (tmp_path / "copy" / "bundle" / "manifest.json").exists()


def test_sample_validate_and_export_work_alone(finished, understudy, tmp_path):
    out, _ = finished
    status, said, err = understudy("sample", out, "-n", 60, "--seed", 2, "--out", tmp_path / "a.h5")
    assert status == 0, err
    assert "a.h5" in said
    status, _, err = understudy("sample", out / "bundle", "--conditions", tmp_path / "a.h5", "--out", tmp_path / "b.npz")
    assert status == 0, err
    assert len(storage.read(tmp_path / "b.npz")) == 60
    files = (out / "reference.h5", out / "samples.h5")
    status, said, err = understudy("validate", *files, "--recipe", out / "recipe.yaml", "-o", tmp_path / "r")
    assert status == 0, err
    assert json.loads((tmp_path / "r" / "metrics.json").read_text())["candidate"]["name"] == "samples"
    assert (tmp_path / "r" / "report.html").exists()
    status, _, err = understudy("export", out, "--out", tmp_path / "bundle")
    assert status == 0, err
    assert (tmp_path / "bundle" / "weights.safetensors").read_bytes() == (out / "bundle" / "weights.safetensors").read_bytes()


def test_info_of_a_file_a_run_and_a_bundle(finished, understudy):
    out, _ = finished
    status, said, _ = understudy("info", out / "samples.h5")
    assert status == 0
    assert "incident_energy" in said
    assert "MeV" in said
    assert "atlas-em-89" in said
    status, said, _ = understudy("info", out)
    assert "finished" in said
    status, said, _ = understudy("info", out / "bundle")
    assert "trained from" in said
    fails(understudy("info", out / "nothing.h5"), "does not exist")
    fails(understudy("info", out / "history.json"), "history.json")


def test_simulate_writes_a_file_that_can_be_learned_from(understudy, tmp_path):
    path = tmp_path / "showers.h5"
    options = ("--reference", "parametric", "--seed", 7, "--energies", 2000, 100000)
    status, said, err = understudy("simulate", "lhcb-ecal", "-n", 20, *options, "--out", path)
    assert status == 0, err
    assert "showers.h5" in said
    with h5py.File(path) as file:
        assert file["showers"].shape == (20, 900)
        assert file["incident_energies"].shape == (20, 1)
        assert 2000 <= file["incident_energies"][:].min() < 60000 < file["incident_energies"][:].max() <= 100000
        assert file["momentum"].shape == (20, 3)
        assert file["showers"].attrs["unit"] == "MeV"
        assert file["position"].attrs["unit"] == "mm"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "quickstrat"), ("no recipe 'quickstrat'", "quickstart")),
        (("run", "lhcb-ecal"), ("--data FILE",)),
        (("run", "lhcb-ecal", "--data", "nothing.h5"), ("nothing.h5",)),
        (("run", "lhcb-ecal", "--reference", "delphes"), ("no reference 'delphes'", "geant4")),
        (("simulate", "lhcb-ecal", "-n", "0", "-o", "x.h5"), ("--events", "greater than or equal to 1")),
        (("simulate", "lhcb-ecal", "-n", "5", "-o", "x.txt"), ("'.txt'", ".h5")),
        (("simulate", "lhcb-ecal", "-n", "5", "--reference", "file", "-o", "x.h5"), ("is a file and cannot simulate",)),
        (("sample", "nowhere", "-n", "5", "-o", "x.h5"), ("nowhere",)),
        (("export", "nowhere"), ("holds no trained surrogate",)),
        (("validate", "a.h5", "b.h5", "-o", "r"), ("a.h5",)),
        (("nonsense",), ("nonsense",)),
        (("run",), ("Missing argument", "recipe")),
    ],
)
def test_wrong_arguments_are_one_sentence_and_leave_nothing(understudy, monkeypatch, tmp_path, arguments, words):
    monkeypatch.chdir(tmp_path)
    fails(understudy(*arguments), *words)
    left = [p for p in tmp_path.rglob("*") if p.is_file() and p.name not in ("recipe.yaml", "manifest.json")]
    assert left == []


@pytest.fixture
def data_file(finished, tmp_path):
    return Path(shutil.copyfile(finished[0] / "reference.h5", tmp_path / "data.h5"))


def spoil(name, index, value):
    def change(path):
        with h5py.File(path, "a") as file:
            file[name][index] = value

    return change


def drop(name):
    def change(path):
        with h5py.File(path, "a") as file:
            del file[name]

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (spoil("showers", (3, 4), np.nan), ("showers", "NaN", "event 3")),
        (spoil("showers", (3, 4), -50.0), ("showers", "-50", "event 3")),
        (drop("position"), ("position",)),
        (drop("showers"), ("showers",)),
        (lambda path: path.write_bytes(path.read_bytes()[:5000]), ("data.h5",)),
        (lambda path: path.write_text("energy,cells\n1,2\n"), ("data.h5",)),
    ],
)
def test_bad_data_is_one_sentence(understudy, data_file, recipe_file, tmp_path, change, words):
    change(data_file)
    fails(understudy("run", recipe_file, "--data", data_file, "--out", tmp_path / "run"), *words)
    assert not (tmp_path / "run" / "samples.h5").exists()


def test_conditions_outside_the_domain_are_no_error(finished, understudy, tmp_path):
    out, _ = finished
    events = storage.read(out / "samples.h5")
    energy = np.array(events["incident_energy"][:4])
    energy[2] = 9e6
    far = events[:4].without_response().with_condition(events.schema.block("incident_energy"), energy)
    storage.write(tmp_path / "far.h5", far)
    status, said, err = understudy("sample", out, "--conditions", tmp_path / "far.h5", "--out", tmp_path / "out.h5")
    assert status == 0, err
    assert "1 outside the trained domain" in said
    np.testing.assert_array_equal(storage.read(tmp_path / "out.h5")["out_of_domain"], [0, 0, 1, 0])


def test_info_of_a_table_drafts_the_reference(understudy, tmp_path):
    (tmp_path / "tracks.csv").write_text("P,DLLk,sWeight\n5000,1,1\n9000,-2,-0.5\n")
    status, out, _ = understudy("info", tmp_path / "tracks.csv")
    assert status == 0
    assert "kind: table" in out
    assert "weight: sWeight" in out
    (tmp_path / "empty.csv").write_text("")
    fails(understudy("info", tmp_path / "empty.csv"), "empty.csv is empty; choose a file with events")
