"""A run that is killed or interrupted again and again, and then resumed, gives the same weights and showers to the last bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from small import small
from understudy.console import Console
from understudy.files import sha256
from understudy.recipe import Recipe
from understudy.rundir import RunDirectory
from understudy.splits import prepare

SAME = ("reference.h5", "floor.h5", "checkpoints/surrogate.safetensors", "samples.h5")
"""Files that an interruption must not change by a byte."""


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory):
    words = small(name="resumed", events=300, baseline=None)
    words["stages"][1]["training"] = {"epochs": 60, "batch_size": 50, "score_every": 5, "checkpoint_seconds": 0.1}
    words["validation"]["classifier"] = {"seeds": 1, "epochs": 1, "iterations": 2}
    path = tmp_path_factory.mktemp("recipe") / "resumed.yaml"
    path.write_text(yaml.safe_dump(words))
    return path


def start(recipe_file: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "understudy.cli", "run", str(recipe_file), "--out", str(out), *options]
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **threads})


def stop(process: subprocess.Popen[str], number: signal.Signals, when) -> str:
    """Send the signal once `when` holds; what the process said."""
    deadline = time.monotonic() + 60
    while not when():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    return process.communicate(timeout=60)[1]


def rows(out: Path) -> int:
    history = out / "checkpoints" / "response" / "history.json"
    return len(json.loads(history.read_text())) if history.exists() else 0


@pytest.fixture(scope="module")
def whole(recipe_file, tmp_path_factory):
    """A run that is not interrupted until all that is compared is there."""
    out = tmp_path_factory.mktemp("whole") / "run"
    stop(start(recipe_file, out), signal.SIGKILL, (out / "samples.h5").exists)
    return out


def test_killed_and_interrupted_during_training_then_resumed(recipe_file, whole, tmp_path):
    out = tmp_path / "run"
    process = start(recipe_file, out)
    stop(process, signal.SIGKILL, lambda: rows(out) >= 2)
    assert process.returncode == -signal.SIGKILL
    assert not (out / "checkpoints" / "surrogate.safetensors").exists()

    begun, before = (out / "reference.h5").stat().st_mtime_ns, rows(out)
    process = start(recipe_file, out, "--resume")
    said = stop(process, signal.SIGINT, lambda: rows(out) > before)
    assert process.returncode == 130
    assert said.splitlines()[-1].startswith("error: training was interrupted after round ")
    assert "--resume" in said
    assert "Traceback" not in said

    process = start(recipe_file, out, "--resume")
    said = stop(process, signal.SIGINT, (out / "samples.h5").exists)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "error: interrupted; give the same command with --resume to continue"
    assert "Simulating" not in said
    assert (out / "reference.h5").stat().st_mtime_ns == begun
    for name in SAME:
        assert sha256(out / name) == sha256(whole / name), name
    assert not json.loads((out / "manifest.json").read_text())["finished"]


def test_resumed_with_other_reference_events(recipe_file, tmp_path):
    recipe = Recipe.load(recipe_file)
    place = RunDirectory.open(tmp_path / "run", recipe)
    data = prepare(recipe, place, Console(quiet=True))
    again = prepare(recipe, RunDirectory.open(place.path, recipe, resume=True), Console(quiet=True))
    assert again.digest == data.digest
    (place.path / "reference.h5").unlink()  # simulated again, to the same bytes
    assert prepare(recipe, RunDirectory.open(place.path, recipe, resume=True), Console(quiet=True)).digest == data.digest

    with (place.path / "reference.h5").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ValueError, match=r"the reference events of the run in .* have changed since it began: .* --overwrite"):
        prepare(recipe, RunDirectory.open(place.path, recipe, resume=True), Console(quiet=True))
