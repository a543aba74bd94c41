"""Real Geant4; skipped with a reason where the package or its data are not there."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from understudy.references import geant4
from understudy.references.geant4 import Geant4
from understudy.references.geant4_pool import Chunk, Pool, Worker
from understudy.references.geant4_stack import Section, Slab, Stack, ready
from understudy.registry import factory

LEDATA = Path(os.environ.get("G4LEDATA") or Path(__file__).resolve().parents[2] / "../shared/geant4/ledata").resolve()
HAVE_PACKAGE = importlib.util.find_spec("geant4_pybind") is not None

pytestmark = [
    pytest.mark.geant4,
    pytest.mark.skipif(not HAVE_PACKAGE, reason="geant4-pybind is not installed: pip install 'understudy[geant4]'"),
    pytest.mark.skipif(not LEDATA.is_dir(), reason="Geant4's data are not there: set G4LEDATA"),
]


@pytest.fixture(autouse=True)
def _data(monkeypatch):
    monkeypatch.setenv("G4LEDATA", str(LEDATA))


def normal(n, energy):
    return {"incident_energy": np.full(n, energy), "position": np.zeros((n, 2))}


def tiny(**changes):
    """A small calorimeter whose showers are quick."""
    slabs = (Slab(material="G4_Pb", thickness=2), Slab(material="G4_lAr", thickness=4, active=True))
    section = {"name": "ecal", "slabs": slabs, "repeat": 20, "cells": (4, 6), **changes}
    return Stack(name="tiny", size=(80, 120), sections=(Section(**section),))


@pytest.fixture(scope="module")
def testem3():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("G4LEDATA", str(LEDATA))
        simulator = Geant4(ready("testem3"), slopes=False, cut=1.0, deposits=True, depth_profile=True)
        return simulator.simulate(normal(100, 1000.511), np.random.default_rng(1))


def test_testem3_deposits_agree_with_geant4s_own_example(testem3):
    deposits = testem3["deposits"].astype(float)
    error = deposits.std(0, ddof=1) / np.sqrt(len(deposits))
    for measured, sigma, published, published_error in zip(deposits.mean(0), error, (774.03, 215.74), (1.46, 1.34), strict=True):
        assert abs(measured - published) < 4 * np.hypot(sigma, published_error)
    assert (deposits.sum(1) <= 1000.0 + 1e-3 + 1.022).all()  # a positron's annihilation adds at most two electron masses


def test_the_active_deposit_is_the_sum_of_its_layers_and_of_its_cells(testem3):
    active = testem3["deposits"][:, 1]
    np.testing.assert_allclose(testem3["depth_profile"].sum(1), active, rtol=1e-5)
    np.testing.assert_allclose(testem3["showers"].sum(1), active, rtol=1e-5)
    assert testem3.schema.block("deposits").columns == ("gap.G4_Pb.0", "gap.G4_lAr.1")


@pytest.mark.parametrize(("energy", "n"), [(1000.0, 50), (4000.0, 12)])
def test_lhcb_ecal_sampling_fraction(energy, n):
    events = Geant4(ready("lhcb-ecal"), slopes=False).simulate(normal(n, energy), np.random.default_rng(2))
    fraction = events["showers"].sum(1, dtype=float) / energy
    error = fraction.std(ddof=1) / np.sqrt(n)
    assert error < 0.004
    assert abs(fraction.mean() - 0.1725) < 4 * error


def test_same_seed_same_bytes_whatever_the_number_of_processes(monkeypatch):
    monkeypatch.setattr(geant4, "CHUNK", 10)
    conditions, runs = normal(27, 100.0), []
    for processes in (1, 3):
        generator = np.random.default_rng(5)
        events = Geant4(tiny(), slopes=False, processes=processes, depth_profile=True).simulate(conditions, generator)
        runs.append((events["showers"].tobytes(), events["depth_profile"].tobytes(), generator.bytes(8)))
    assert runs[0] == runs[1]
    cells = np.frombuffer(runs[0][0], np.float32).reshape(-1, 24)
    assert len(np.unique(cells, axis=0)) == len(cells), "two chunks share a seed"
    other = Geant4(tiny(), slopes=False).simulate(normal(3, 100.0), np.random.default_rng(6))
    assert not np.array_equal(other["showers"], cells[:3])


def test_kept_cells_and_calibration_are_a_crop_and_a_factor():
    whole = Geant4(tiny(), slopes=False).simulate(normal(5, 200.0), np.random.default_rng(7))["showers"].reshape(5, 4, 6)
    stack = tiny(keep=((1, 3), (2, 5)), calibration=3.0)
    crop = Geant4(stack, slopes=False).simulate(normal(5, 200.0), np.random.default_rng(7))["showers"].reshape(5, 2, 3)
    np.testing.assert_allclose(crop, 3 * whole[:, 1:3, 2:5], rtol=1e-6)
    assert crop.sum() > 0


def test_cells_lie_where_the_beam_points():
    stack, n, cells = tiny(), 5, (3, 14, 23)
    centres = stack.calorimeter().layers[0].centres[list(cells)]
    straight = {"incident_energy": np.full(3 * n, 300.0), "position": np.repeat(centres, n, axis=0)}
    showers = Geant4(stack, slopes=False).simulate(straight, np.random.default_rng(1))["showers"]
    assert tuple(showers.reshape(3, n, 24).sum(1).argmax(1)) == cells


def test_slopes_carry_the_shower_sideways():
    n, direction = 5, np.array([0.6, 0.48, 0.64])
    slanted = normal(n, 1000.0) | {"momentum": np.tile(1000.0 * direction, (n, 1))}
    showers = Geant4(tiny(), particle="gamma").simulate(slanted, np.random.default_rng(1))["showers"].reshape(n, 4, 6).sum(0)
    assert showers[2:, 3:].sum() > 10 * showers[:2, :3].sum()


def test_atlas_lar_answers_like_its_cluster():
    source = factory("references", {"kind": "geant4-atlas-lar", "gun": {"energy_range": [3000, 3000]}})()
    events = source.generate(20, np.random.default_rng(8))
    assert events.schema.given == source.simulator.schema.conditions
    assert events["showers"].shape == (20, source.geometry.n_cells) == (20, 247)
    scale = events["showers"].sum(1, dtype=float) / 3000.0
    assert abs(scale.mean() - 0.99) < 4 * max(scale.std(ddof=1) / np.sqrt(20), 0.01)
    middle = source.geometry.images(events["showers"])["middle"].sum(0)
    assert np.unravel_index(middle.argmax(), middle.shape) == (3, 5)


def test_progress_counts_every_event_once(monkeypatch):
    monkeypatch.setattr(geant4, "CHUNK", 10)
    counts = []
    Geant4(tiny(), slopes=False, processes=2, progress=counts.append).simulate(normal(13, 20.0), np.random.default_rng(1))
    assert sum(counts) == 13


def test_no_events_need_no_process():
    events = Geant4(tiny(), slopes=False).simulate(normal(0, 1.0), np.random.default_rng(1))
    assert events["showers"].shape == (0, 24)


def test_errors_of_the_detector_come_back_as_one_sentence():
    for stack, options, error, words in [
        (tiny(slabs=(Slab(material="G4_PB", thickness=2, active=True),)), {}, ValueError, "no NIST material 'G4_PB'.*'G4_Pb'"),
        (tiny(), {"physics": "opt9"}, ValueError, "no physics list 'opt9'; choose one of opt0.*FTFP_BERT"),
        (tiny(), {"particle": "photon"}, ValueError, "no particle 'photon'"),
        (tiny(), {"particle": "proton"}, ValueError, "event 0 has 10 MeV, not above"),
    ]:
        with pytest.raises(error, match=words) as caught:
            Geant4(stack, slopes=False, **options).simulate(normal(1, 10.0), np.random.default_rng(1))
        assert "\n" not in str(caught.value)


def test_energy_and_momentum_must_fit_the_particle(monkeypatch):
    monkeypatch.setattr(geant4, "CHUNK", 2)
    conditions = normal(6, 100.0) | {"momentum": np.tile([0.0, 0.0, 100.0], (6, 1))}
    conditions["momentum"][-1] = 0, 0, 90
    with pytest.raises(ValueError, match="event 5 has the total energy 100 MeV but the momentum 90 MeV"):
        Geant4(tiny()).simulate(conditions, np.random.default_rng(1))


def test_full_physics_lists_name_the_data_that_they_miss(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("GEANT4_DATA_DIR", "G4PARTICLEXSDATA", "G4LEVELGAMMADATA"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(
        FileNotFoundError, match="FTFP_BERT needs data that are not there; set G4LEVELGAMMADATA, G4PARTICLEXSDATA"
    ):
        Geant4(tiny(), slopes=False, physics="FTFP_BERT").simulate(normal(1, 1000.0), np.random.default_rng(1))


def test_what_geant4_refuses_is_quoted(monkeypatch, tmp_path):
    monkeypatch.setenv("G4LEDATA", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"Geant4 stopped: G4Exception : .*Bremsstrahlung data file"):
        Geant4(tiny(), slopes=False).simulate(normal(1, 1000.0), np.random.default_rng(1))


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGSEGV], ids=["killed", "crashed"])
def test_a_worker_that_dies_is_replaced_once_and_the_result_is_the_same(monkeypatch, by):
    monkeypatch.setattr(geant4, "CHUNK", 10)
    expected = Geant4(tiny(), slopes=False, processes=1).simulate(normal(13, 100.0), np.random.default_rng(5))
    started, counts = [], []
    start = Pool._start

    def watched(pool, environment, log):
        worker = start(pool, environment, log)
        started.append(worker)
        return worker

    def progress(count):
        counts.append(count)
        if len(counts) == 3:
            os.kill(started[0].process.pid, by)

    monkeypatch.setattr(Pool, "_start", watched)
    simulator = Geant4(tiny(), slopes=False, processes=1, progress=progress)
    again = simulator.simulate(normal(13, 100.0), np.random.default_rng(5))
    assert len(started) == 2
    assert sum(counts) == 13
    assert np.array_equal(expected["showers"], again["showers"])


def test_a_worker_that_is_killed_twice_is_an_error(monkeypatch):
    simulate = Worker.simulate

    def killed(worker: Worker, chunk: Chunk, on_event):
        worker.process.send_signal(signal.SIGTERM)
        return simulate(worker, chunk, on_event)

    monkeypatch.setattr(Worker, "simulate", killed)
    with pytest.raises(RuntimeError, match="killed twice, last by SIGTERM"):
        Geant4(tiny(), slopes=False, processes=1).simulate(normal(1, 100.0), np.random.default_rng(1))


def test_an_interrupted_simulation_leaves_no_process(monkeypatch):
    started = []
    start = Pool._start
    monkeypatch.setattr(Pool, "_start", lambda *a: started.append(start(*a)) or started[-1])

    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Geant4(tiny(), slopes=False, processes=2, progress=interrupt).simulate(normal(100, 500.0), np.random.default_rng(1))
    assert started
    assert all(worker.process.poll() is not None for worker in started)


SCRIPT = """
import json, os, sys, threading
import numpy as np
from understudy.references.geant4 import Geant4
from understudy.references.geant4_pool import Pool
from understudy.references.geant4_stack import ready
start = Pool._start
def announced(*arguments):
    worker = start(*arguments)
    print(worker.process.pid, flush=True)
    return worker
Pool._start = announced
n = int(sys.argv[1])
conditions = {"incident_energy": np.full(n, float(sys.argv[2])), "position": np.zeros((n, 2))}
simulator = Geant4(ready("testem3"), slopes=False, processes=1, progress=lambda k: print("event", flush=True))
events = simulator.simulate(conditions, np.random.default_rng(1))
print("left on standard input:", json.dumps(sys.stdin.read()))
"""


def test_workers_end_when_their_parent_is_killed():
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "10000", "2000"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    with process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        assert process.stdout.readline() == "event\n"
        process.kill()
    deadline = time.monotonic() + 30
    while _alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(worker)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().split(")")[-1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_standard_input_is_never_read_and_nothing_is_downloaded(tmp_path):
    """Only G4LEDATA is set, CI=true asks the wheel to download, and an answer waits on standard input."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("G4") and k != "GEANT4_DATA_DIR"}
    environment |= {"G4LEDATA": str(LEDATA), "CI": "true", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), "1", "100"],
        input="Y\n", env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"left on standard input: {json.dumps('Y' + chr(10))}" in done.stdout
    assert not (tmp_path / ".geant4_pybind").exists()
