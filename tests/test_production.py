"""Reference events in any number: resumable, bounded, and the same bytes however often they were interrupted."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from understudy import seeds, storage
from understudy.console import Console
from understudy.files import sha256
from understudy.production import produce, with_energies
from understudy.recipe import Recipe
from understudy.registry import factory
from understudy.steps import simulate_to_file, simulating_reference


@pytest.fixture(scope="module")
def source():
    return factory("references", {"kind": "parametric-atlas"})()


class Stops:
    """A source whose simulator is interrupted in a chunk of its own choice."""

    def __init__(self, source, at, error=KeyboardInterrupt):
        self.source, self.at, self.error, self.calls = source, at, error, 0
        self.simulator, self.geometry = source.simulator, source.geometry

    def generate(self, n, generator):
        self.calls += 1
        if self.calls > self.at:
            raise self.error("worker died")
        return self.source.generate(n, generator)


def test_an_interrupted_production_goes_on_and_ends_with_the_same_bytes(source, tmp_path):
    whole = produce(source, 53, tmp_path / "whole.h5", seed=4, chunk=20)
    with pytest.raises(RuntimeError, match="worker died"):
        produce(Stops(source, 1, RuntimeError), 53, tmp_path / "torn.h5", seed=4, chunk=20)
    with pytest.raises(KeyboardInterrupt):
        produce(Stops(source, 1), 53, tmp_path / "torn.h5", seed=4, chunk=20)
    assert not (tmp_path / "torn.h5").exists()
    seen = []
    last = Stops(source, 1)
    torn = produce(last, 53, tmp_path / "torn.h5", seed=4, chunk=20, progress=seen.append)
    assert last.calls == 1  # the two finished chunks are kept
    assert seen == [40, 53]
    assert sha256(torn) == sha256(whole)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["torn.h5", "whole.h5"]


def test_chunks_are_the_sources_own_events_from_seeds_of_their_own(source, tmp_path):
    made = storage.read(produce(source, 30, tmp_path / "a.h5", seed=4, chunk=20))
    np.testing.assert_array_equal(made["showers"][:20], source.generate(20, seeds.generator(4, "reference", 0))["showers"])
    np.testing.assert_array_equal(made["showers"][20:], source.generate(10, seeds.generator(4, "reference", 1))["showers"])
    longer = storage.read(produce(source, 45, tmp_path / "b.h5", seed=4, chunk=20))
    np.testing.assert_array_equal(longer["showers"][:20], made["showers"][:20])
    assert not np.array_equal(made["showers"], storage.read(produce(source, 30, tmp_path / "c.h5", seed=5, chunk=20))["showers"])


def test_chunks_of_another_production_are_not_mixed_in(source, tmp_path):
    expected = produce(source, 40, tmp_path / "expected.h5", seed=4, chunk=20)
    for seed, words in ((3, {}), (4, {"kind": "another"})):
        with pytest.raises(KeyboardInterrupt):
            produce(Stops(source, 1), 40, tmp_path / "out.h5", seed=seed, words=words, chunk=20)
        assert sha256(produce(source, 40, tmp_path / "out.h5", seed=4, chunk=20)) == sha256(expected)


def test_a_production_that_fails_at_once_leaves_nothing(source, tmp_path):
    with pytest.raises(RuntimeError):
        produce(Stops(source, 0, RuntimeError), 40, tmp_path / "out.h5")
    with pytest.raises(ValueError, match="at least one event"):
        produce(source, 0, tmp_path / "out.h5")
    with pytest.raises(ValueError, match=r"'.txt'"):
        produce(source, 10, tmp_path / "out.txt")
    assert not list(tmp_path.iterdir())


def test_npz_and_provenance(source, tmp_path):
    path = produce(source, 30, tmp_path / "a.npz", seed=4, words={"kind": "parametric-atlas"}, chunk=20)
    with storage.reader(path) as file:
        assert len(file) == 30
        assert file.geometry == source.geometry
        assert file.provenance == {"source": {"kind": "parametric-atlas"}, "seed": 4, "chunk": 20}


def test_other_energies_of_the_gun(source, tmp_path):
    path = simulate_to_file("quickstart", 50, tmp_path / "a.h5", energies=(70e3, 100e3), console=Console(quiet=True))
    energy = storage.read(path)["incident_energy"]
    assert energy.min() >= 70e3
    assert energy.max() <= 100e3
    with pytest.raises(ValueError, match="must go upwards"):
        with_energies(source, 9e4, 1e3)
    with pytest.raises(ValueError, match="no range of energies"):
        with_energies(replace(source, gun=None), 1e3, 9e4)


PRODUCTION = """
import sys
from understudy.production import produce
from understudy.registry import factory
source = factory("references", {"kind": "parametric-atlas"})()
produce(source, 3000, sys.argv[1], seed=4, chunk=300)
"""


def test_a_killed_process_goes_on_where_it_stopped(source, tmp_path):
    """SIGKILL in the middle, as a batch system does it."""
    command = [sys.executable, "-c", PRODUCTION, str(tmp_path / "out.h5")]
    expected = produce(source, 3000, tmp_path / "expected.h5", seed=4, chunk=300)
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    parts = tmp_path / ".out.h5.parts"
    deadline = time.monotonic() + 60
    while not (parts / "000000.h5").exists() and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert not (tmp_path / "out.h5").exists()
    assert 1 <= len(list(parts.glob("??????.h5"))) < 10
    subprocess.run(command, check=True, timeout=60)
    assert sha256(tmp_path / "out.h5") == sha256(expected)
    assert not parts.exists()


@pytest.mark.geant4
def test_geant4_goes_on_too_whatever_the_number_of_processes(shared, tmp_path, monkeypatch):
    """Real Geant4, twelve low-energy events: the result depends neither on an interruption nor on the processes."""
    if importlib.util.find_spec("geant4_pybind") is None:
        pytest.skip("needs geant4-pybind")
    monkeypatch.setenv("G4LEDATA", str(shared / "geant4" / "ledata"))
    source = with_energies(simulating_reference(Recipe.load("lhcb-ecal"), "geant4"), 100.0, 200.0)
    one = replace(source, simulator=replace(source.simulator, processes=1))
    two = replace(source, simulator=replace(source.simulator, processes=2))
    seen = []
    whole = produce(one, 12, tmp_path / "whole.h5", seed=2, chunk=6, progress=seen.append)
    assert seen == sorted(seen)
    assert {0, 6, 12} <= set(seen)

    def dies(count):
        if count > 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        produce(one, 12, tmp_path / "torn.h5", seed=2, chunk=6, progress=dies)
    torn = produce(two, 12, tmp_path / "torn.h5", seed=2, chunk=6)
    assert sha256(torn) == sha256(whole)
    events = storage.read(torn)
    assert (events["showers"].sum(1) > 0).all()
    assert events["incident_energy"].max() < 200
