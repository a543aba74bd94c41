"""A whole scan in seconds: simulated events, two variants, and one that cannot be trained."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml

from small import small
from understudy import cli
from understudy.scan import page as of_page
from understudy.scan import processes
from understudy.scan.judge import Judge
from understudy.scan.page import Page
from understudy.scan.plan import make_plan
from understudy.scan.results import load
from understudy.scan.settings import Scan
from understudy.scan.study import scan
from understudy.scan.worker import shared_events
from understudy.validation.distances import wasserstein1
from understudy.validation.figures import Picture
from understudy.validation.figures_report import Panel

NOISE = "stages.response.model.noise"


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """The file of a scan, beside its recipe."""
    folder = tmp_path_factory.mktemp("words")
    recipe = small(name="tiny", events=300)
    recipe["stages"][1]["model"]["generator"]["width"] = recipe["stages"][1]["model"]["critic"]["width"] = 8
    (folder / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    training = {"epochs": 40, "batch_size": 50, "score_every": 10, "checkpoint_seconds": 0.05}
    groups = {
        "latent": {"title": "Latent <size>", "parameter": "latent size", "path": NOISE, "values": [2, 100]},
        "same": {"title": "Base", "variants": {"as it is": {}}},
        "broken": {"title": "Broken", "variants": {"far": {"stages.response.model.critic_optimiser.lr": 1e30}}},
    }
    found = {"name": "tiny", "recipe": "tiny.yaml", "seeds": 1, "budget": "next to nothing", "groups": groups}
    found["common"] = {f"stages.response.training.{key}": value for key, value in training.items()}
    path = folder / "scan.yaml"
    path.write_text(yaml.safe_dump(found, sort_keys=False))
    return path


@pytest.fixture(scope="module", autouse=True)
def few_figures():
    """Draw one observable only: the other figures are the same, and take most of the time."""
    draw = Page._panel

    def drawn(page, name, *rest):
        return draw(page, name, *rest) if name == "total_energy" else Panel(name, Picture(b"", "image/png", 1, 1, name))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Page, "_panel", drawn)
        yield


@pytest.fixture(scope="module")
def study(words, tmp_path_factory):
    return scan(words, out=tmp_path_factory.mktemp("study") / "out", jobs=2)


@pytest.fixture(scope="module")
def written(study):
    return json.loads((study.directory / "scan.json").read_text())


def test_a_failing_run_is_told_and_does_not_lose_the_others(study, written):
    assert [(r.task.variant, r.status) for r in study.runs] == [
        ("base", "finished"),
        ("latent-2", "finished"),
        ("broken-far", "failed"),
    ]
    (failed,) = study.failed
    assert re.search("the loss of turn '[a-z]+' became|a weight became NaN", failed.error)
    told = {run["variant"]: run for run in written["runs"]}
    assert told["broken-far"] == {"variant": "broken-far", "seed": 1, "status": "failed", "error": failed.error}
    page = (study.directory / "report.html").read_text()
    assert "1 run without a result" in page


def test_numbers_are_distances_to_the_events_that_all_runs_share(study, written):
    floors, run = written["floors"]["observables"], written["runs"][0]
    assert set(floors) == set(run["observables"])
    assert {"wasserstein1", "separation_power", "ks"} < set(run["observables"]["total_energy"])
    assert 0 < written["floors"]["score"]["score"] < run["score"]["score"]
    assert run["training"]["parameters"] > 100
    assert set(run["training"]["losses"]) == {"critic", "generator"}
    assert (study.directory / "reference" / "reference.h5").exists()  # simulated once
    assert not list((study.directory / "runs").rglob("*.h5"))
    first, second = (r.values() for r in study.runs[:2])
    assert len(first["total_energy"]) == len(second["total_energy"]) == 90
    name = "hits_strips"
    a, b = (written["runs"][i]["observables"][name]["wasserstein1"] for i in (0, 1))
    assert abs(a - b) <= wasserstein1(first[name].astype(float), second[name].astype(float)) + 1e-9  # one reference for both


def test_the_table_has_every_variant_and_observable(study, written):
    rows = list(csv.DictReader((study.directory / "table.csv").read_text().splitlines()))
    names = {"score", "correlation_mse", *written["floors"]["observables"]}
    assert {(r["group"], r["variant"], r["quantity"]) for r in rows} == {
        (g, v, name) for g, v in (("latent", "2"), ("latent", "100"), ("same", "as it is"), ("broken", "base")) for name in names
    }
    row = next(r for r in rows if r["variant"] == "2" and r["quantity"] == "total_energy")
    assert float(row["ks"]) == pytest.approx(written["variants"]["latent-2"]["observables"]["total_energy"]["ks"]["value"], 1e-4)
    assert row["unit"] == "MeV"


def test_the_page_is_self_contained_and_escapes_words(study):
    page = (study.directory / "report.html").read_text()
    assert "Latent &lt;size&gt;" in page
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert "next to nothing" in page


def timeless(value):
    """Without how long it took, and without sentences, which name the folder."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k not in ("minutes", "error") or (k == "error" and v is None)}
    return [timeless(v) for v in value] if isinstance(value, list) else value


def test_a_killed_scan_that_is_resumed_ends_the_same_whatever_the_number_of_processes(words, study, written, tmp_path):
    command = [sys.executable, "-m", "understudy.cli", "scan", str(words), "--out", str(tmp_path / "out"), "--only", "same"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **processes.ONE_THREAD})
    state = tmp_path / "out" / "runs" / "base" / "seed-1" / "checkpoints" / "response" / "history.json"
    deadline = time.monotonic() + 60
    while not state.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with pytest.raises(FileExistsError, match="holds a scan already; continue it with --resume"):
        scan(words, out=tmp_path / "out")
    resumed = scan(words, out=tmp_path / "out", jobs=1, resume=True, only=["same"])
    assert [r.status for r in resumed.runs] == ["finished"]
    before, after = timeless(written), timeless(json.loads((tmp_path / "out" / "scan.json").read_text()))
    assert after.pop("runs") == before.pop("runs")[:1]
    assert after.pop("variants")["base"] == before.pop("variants")["base"]
    assert after == before


def test_finished_runs_are_kept_and_groups_can_be_chosen(words, study, written, tmp_path, monkeypatch):
    monkeypatch.setattr("understudy.scan.study.run_all", lambda *_: pytest.fail("a finished run was made again"))
    again = scan(words, out=study.directory, resume=True, only=["latent"])
    assert not again.failed
    assert timeless(json.loads((study.directory / "scan.json").read_text()))["variants"] == timeless(
        {k: v for k, v in written["variants"].items() if k != "broken-far"}
    )


def test_other_events_or_another_recipe_are_no_continuation(words, study):
    with pytest.raises(ValueError, match=r"the recipe has changed since the run in .* began"):
        scan(words, out=study.directory, resume=True, events=250)


def test_a_result_of_something_else_does_not_count(words, study, tmp_path):
    (task, *_) = make_plan(Scan.load(words)).tasks(study.directory, ["latent"])
    assert load(task, "another key").status == "missing"


def test_a_process_that_dies_leaves_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(processes.sys, "executable", "/bin/false")
    told = []
    jobs = [processes.Job(tmp_path / name, {}, 1) for name in "ab"]
    processes.run_all(jobs, 1, lambda *done: told.append(done), every=0.01)
    assert processes.failure(tmp_path / "a") == "its process ended with status 1: it said nothing"
    assert processes.failure(tmp_path / "b") == "its process ended with status 1: it said nothing"
    assert told[-1] == (2, 2)


def test_a_run_s_folder_is_no_place_for_a_scan(words, tmp_path):
    (tmp_path / "recipe.yaml").write_text("name: a")
    with pytest.raises(FileExistsError, match="holds a run, not a scan"):
        scan(words, out=tmp_path)


def test_values_are_read_as_they_were_written(study):
    values = study.runs[0].values()
    assert values["fraction_middle"].dtype == np.float32
    moments = study.runs[0].moments()
    assert moments is not None
    assert moments.weight == len(values["total_energy"])
    assert moments.mean.sum() == pytest.approx(values["total_energy"].mean(), rel=1e-4)


def test_the_seeds_of_the_base_are_drawn_where_they_differ_most(words, study, written, monkeypatch):
    monkeypatch.setattr(of_page, "VARIABLE", 1)
    plan = make_plan(Scan.load(words))
    judge = Judge(shared_events(plan.base, study.directory / "reference"), plan.base.validation, plan.base.seed)
    assert judge.floors() == written["floors"]
    base, other, _ = study.runs
    (panel,) = Page(plan, {"base": [base, other]}, judge, written["floors"], "parametric").variability()
    spreads = {
        name: abs(base.number("observables", name, "wasserstein1") - other.number("observables", name, "wasserstein1"))
        / written["floors"]["observables"][name]["wasserstein1"]
        for name in base.values()
        if written["floors"]["observables"][name]["wasserstein1"]
    }
    assert panel.key == max(spreads, key=lambda name: -1 if math.isnan(spreads[name]) else spreads[name])
    assert Page(plan, {"base": [base]}, judge, written["floors"], "parametric").variability() == []


def test_the_command_says_how_many_runs_failed(study, monkeypatch, capsys):
    monkeypatch.setattr("understudy.scan.study.scan", lambda *_, **__: study)
    monkeypatch.setattr(sys, "argv", ["understudy", "scan", "atlas-photon-89", "--data", "x.h5"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    out, err = capsys.readouterr()
    assert stop.value.code == 1
    assert "scan.json" in out
    assert "report.html" in out
    assert "1 of 3 runs failed (first broken-far, seed 1: the loss of turn" in err
