"""What can go wrong in a run as a whole: each is one sentence, a status, no traceback, and earlier files stay as they were."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from small import small
from understudy import cli, rundir, storage
from understudy.domain import OutOfDomainWarning
from understudy.files import sha256
from understudy.journey import run


def understudy(*arguments: object, limit: int | None = None) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, which may write no file larger than `limit` bytes."""
    before = (
        ""
        if limit is None
        else (
            "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
            f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit},) * 2);"
        )
    )
    code = f"{before}import sys; from understudy.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture
def inside(monkeypatch, capfd):
    """The command line in this process, so that a test can stand in the way of the file system."""

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["understudy", *map(str, arguments)])
        with warnings.catch_warnings():
            warnings.simplefilter("default", OutOfDomainWarning)
            with pytest.raises(SystemExit) as stop:
                cli.main()
        out, err = capfd.readouterr()
        return subprocess.CompletedProcess(arguments, int(stop.value.code or 0), out, err)

    return call


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """The one sentence of a failure."""
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    return last.removeprefix("error: ")


def state(folder: Path) -> dict[str, str]:
    """The sha256 of every file in a folder."""
    return {str(p.relative_to(folder)): sha256(p) for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory):
    words = small(name="small", events=200, baseline=None)
    path = tmp_path_factory.mktemp("recipe") / "small.yaml"
    path.write_text(yaml.safe_dump(words))
    return path


@pytest.fixture(scope="module")
def trained(recipe_file, tmp_path_factory):
    """A run that was trained."""
    out = tmp_path_factory.mktemp("runs") / "small"
    done = understudy("train", recipe_file, "--out", out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture
def earlier(trained, tmp_path):
    """A copy of that run."""
    return Path(shutil.copytree(trained, tmp_path / "earlier"))


def test_a_disk_that_fills_up_in_the_middle_of_a_run(recipe_file, tmp_path):
    """The events fit, the first checkpoint does not; with more room, the same command goes on."""
    out = tmp_path / "run"
    said = sentence(understudy("train", recipe_file, "--out", out, limit=200_000))
    assert said.startswith(f"cannot write {out / 'checkpoints'}")
    assert "the file would be larger than this system allows" in said
    assert (out / "reference.h5").exists()
    assert not list(out.rglob("*.partial"))
    assert understudy("train", recipe_file, "--out", out, "--resume").returncode == 0
    assert (out / "checkpoints" / "surrogate.safetensors").exists()


@pytest.mark.parametrize("command", ["run", "train"])
def test_no_permission_for_the_directory_of_a_run(inside, recipe_file, tmp_path, monkeypatch, command):
    def forbidden(self, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.mkdir", forbidden)
    said = sentence(inside(command, recipe_file, "--out", tmp_path / "run"))
    assert (
        said == f"cannot write {tmp_path / 'run'}: no permission to write there; choose another folder or change its permissions"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "quickstart", "--out", "FOLDER"),
        ("simulate", "quickstart", "-n", "5", "--out", "FOLDER/s.h5"),
    ],
)
def test_a_folder_that_may_not_be_written_to_is_noticed_before_the_work(inside, tmp_path, monkeypatch, arguments):
    monkeypatch.setattr("os.access", lambda path, mode: not (mode & os.W_OK and Path(path).is_relative_to(tmp_path)))
    done = inside(*(a.replace("FOLDER", str(tmp_path)) for a in arguments))
    assert sentence(done).startswith(f"cannot write {tmp_path}: no permission to write there")
    assert "Simulating" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_directory_whose_name_a_file_has(inside, recipe_file, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert "is a file; give a directory for the run with --out" in sentence(
        inside("run", recipe_file, "--out", tmp_path / "file")
    )
    assert "part of the path is a file" in sentence(inside("run", recipe_file, "--out", tmp_path / "file" / "run"))
    assert (tmp_path / "file").read_text() == "mine"


def test_a_run_is_not_resumed_with_a_changed_recipe(inside, earlier, tmp_path, recipe_file):
    before = state(earlier)
    words = yaml.safe_load(recipe_file.read_text())
    words["stages"][1]["training"]["epochs"] = 3
    (tmp_path / "changed.yaml").write_text(yaml.safe_dump(words))
    said = sentence(inside("run", tmp_path / "changed.yaml", "--out", earlier, "--resume"))
    assert "the recipe has changed since the run" in said
    assert "(in stages)" in said
    assert "not both" in sentence(inside("run", recipe_file, "--out", earlier, "--resume", "--overwrite"))
    (earlier / "recipe.yaml").write_text("name: [unclosed")
    assert "is not YAML" in sentence(inside("run", recipe_file, "--out", earlier, "--resume"))
    assert {k: v for k, v in state(earlier).items() if k != "recipe.yaml"} == {
        k: v for k, v in before.items() if k != "recipe.yaml"
    }


def with_a_nan(path):
    with h5py.File(path, "a") as file:
        file["showers"][3, 4] = np.nan


def with_other_cells(path):
    events = storage.read(path)
    storage.write(path, events.with_response({"showers": events["showers"][:, :80]}, [resized(events.schema.response[0], 80)]))


def resized(block, cells):
    return replace(block, shape=(cells,))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_a_nan, "'showers' holds NaN"),
        (with_other_cells, "80"),
        (lambda path: path.write_bytes(b""), "data.h5"),
        (lambda path: path.unlink(), "data.h5"),
    ],
)
def test_a_wrong_file_does_not_cost_the_run_that_was_to_be_replaced(inside, earlier, recipe_file, tmp_path, change, words):
    data = Path(shutil.copyfile(earlier / "reference.h5", tmp_path / "data.h5"))
    change(data)
    before = state(earlier)
    assert words in sentence(inside("run", recipe_file, "--data", data, "--out", earlier, "--overwrite"))
    assert state(earlier) == before
    sentence(inside("run", recipe_file, "--data", data, "--out", tmp_path / "new"))
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"features": {"incident_energy": "logg"}}, "unknown encoding 'logg'"),
        ({"features": {"energy": "log"}}, "unknown condition 'energy'"),
    ],
)
def test_a_recipe_that_does_not_fit_its_reference_is_noticed_before_simulating(tmp_path, change, words):
    recipe = small(name="wrong")
    recipe["stages"][1] |= change
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.raises(ValueError, match=words):
        run(tmp_path / "wrong.yaml", out=tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize(("key", "value"), [("select", {"energy": [0, 1]}), ("conditions", ["energy"]), ("derived", ["energy"])])
def test_names_that_the_reference_does_not_have_are_noticed_before_simulating(inside, tmp_path, key, value):
    recipe = small(name="wrong", **{key: value})
    if key == "derived":
        recipe["stages"] = recipe["stages"][1:]
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(recipe))
    done = inside("run", tmp_path / "wrong.yaml", "--out", tmp_path / "run")
    assert "'energy'" in sentence(done)
    assert "Simulating" not in done.stderr


def test_a_reference_without_a_number_of_events(inside, tmp_path):
    recipe = small(name="wrong")
    del recipe["events"]
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(recipe))
    assert "give --events N or the key 'events'" in sentence(inside("run", tmp_path / "wrong.yaml", "--out", tmp_path / "run"))


@pytest.mark.parametrize("name", ["surrogate.onnx", "weights.safetensors", "recipe.yaml"])
def test_a_bundle_whose_checksum_fails(inside, bundle, tmp_path, name):
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    with (copy / name).open("ab") as file:
        file.write(b" ")
    (tmp_path / "out.h5").write_text("earlier")
    said = sentence(inside("sample", copy, "-n", 5, "--out", tmp_path / "out.h5"))
    assert f"{name} differs from its checksum" in said
    assert (tmp_path / "out.h5").read_text() == "earlier"


def without(key):
    def change(manifest):
        del manifest[key]

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("schema"), "is no manifest of a bundle: it lacks schema"),
        (without("kind"), "is no manifest of a run: it lacks"),
        (lambda m: m["files"].pop("surrogate.onnx"), "has no checksum of surrogate.onnx"),
        (lambda m: m.update(format=2), "is not a manifest of format 1"),
    ],
)
def test_a_bundle_whose_manifest_was_changed(inside, bundle, tmp_path, change, words):
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    manifest = json.loads((copy / "manifest.json").read_text())
    change(manifest)
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert words in sentence(inside("sample", copy, "-n", 5, "--out", tmp_path / "out.h5"))


def test_a_run_whose_files_are_damaged(inside, earlier):
    note = earlier / "checkpoints" / "surrogate.json"
    whole = note.read_text()
    note.write_text(whole[:100])
    assert "surrogate.json is damaged" in sentence(inside("export", earlier))
    note.write_text(whole)
    with (earlier / "checkpoints" / "surrogate.safetensors").open("ab") as file:
        file.write(b" ")
    assert "surrogate.safetensors is missing or damaged" in sentence(inside("export", earlier))
    assert not (earlier / "bundle").exists()
    (earlier / "manifest.json").write_text("[]")
    assert "manifest.json is damaged: expected names and values, found list" in sentence(inside("info", earlier))


def test_a_replacement_that_is_killed_half_way_can_be_repeated(trained, earlier, recipe_file, monkeypatch):
    """Whatever was removed by then, the directory is still known to be a run."""
    recipe = rundir.Recipe.load(recipe_file)
    removed = []

    def killed(path):
        if len(removed) == 6:
            raise KeyboardInterrupt
        removed.append(path.name)
        shutil.rmtree(path, ignore_errors=True)
        path.unlink(missing_ok=True)

    monkeypatch.setattr(rundir, "_remove", killed)
    with pytest.raises(KeyboardInterrupt):
        rundir.RunDirectory.open(earlier, recipe, overwrite=True).begin()
    monkeypatch.undo()
    assert not (earlier / "checkpoints").exists()
    place = rundir.RunDirectory.open(earlier, recipe, overwrite=True)
    place.begin()
    assert sorted(p.name for p in earlier.iterdir()) == ["manifest.json", "recipe.yaml"]


def test_conditions_outside_the_domain_are_a_warning_and_a_flag(inside, bundle, events, tmp_path):
    asked = events[:6].without_response()
    energy = np.array(asked["incident_energy"])
    energy[[1, 4]] = 9e6
    storage.write(tmp_path / "far.h5", asked.with_condition(asked.schema.block("incident_energy"), energy))
    done = inside("sample", bundle, "--conditions", tmp_path / "far.h5", "--chunk", 3, "--out", tmp_path / "out.h5")
    assert done.returncode == 0, done.stderr
    warned = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert len(warned) == 1  # not one for each chunk
    assert "2 of 6 events have incident_energy outside the trained range" in warned[0]
    assert "MeV" in warned[0]
    assert "2 outside the trained domain" in done.stdout
    np.testing.assert_array_equal(storage.read(tmp_path / "out.h5")["out_of_domain"], [0, 1, 0, 0, 1, 0])


def test_an_interruption_of_several_processes_is_one_sentence(bundle, tmp_path):
    out = tmp_path / "out.h5"
    command = [sys.executable, "-m", "understudy.cli", "sample", str(bundle), "-n", "400000", "--chunk", "1000", "-j", "2"]
    process = subprocess.Popen([*command, "--out", str(out)], stderr=subprocess.PIPE, text=True, start_new_session=True)
    parts = tmp_path / ".out.h5.parts"
    while not list(parts.glob("0*.h5")):
        assert process.poll() is None, process.communicate()[1]
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.strip().splitlines()[-1] == "error: interrupted; give the same command again to continue"
    assert "Traceback" not in said
    assert not out.exists()
