"""A whole search in seconds; its trials are made in this process, but one that shows that the processes find their way."""

from __future__ import annotations

import json
import re
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
import yaml
from optuna.trial import TrialState

from small import small
from understudy import cli, cli_search
from understudy.cli_errors import sentence
from understudy.domain import OutOfDomainWarning
from understudy.files import write_json
from understudy.recipe import Recipe
from understudy.scan.plan import make_plan as plan_of_scan
from understudy.scan.processes import OUTSIDE, run_all
from understudy.scan.settings import Scan
from understudy.scan.worker import alone_in, shared_events
from understudy.search import search as of_search
from understudy.search.page import write_page
from understudy.search.search import search
from understudy.search.shared import quiet, without_password
from understudy.search.trials import LOST, Trials
from understudy.search.worker import work

MODEL = "stages.response.model"


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A folder with a recipe and a space."""
    folder = tmp_path_factory.mktemp("words")
    recipe = small(name="tiny", events=300)
    recipe["stages"][1]["model"]["generator"]["width"] = recipe["stages"][1]["model"]["critic"]["width"] = 8
    (folder / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    training = {"epochs": 3, "batch_size": 50, "score_every": 1}
    parameters = {
        "rate": {"path": f"{MODEL}.generator_optimiser.lr", "between": [1e-5, 1e-2], "log": True},
        "noise <z>": {"path": f"{MODEL}.noise", "values": [2, 100]},
        "broken": {"path": f"{MODEL}.critic_optimiser.lr", "values": [0.001, 1e30]},
    }
    space = {"name": "few", "title": "A <few>", "budget": "next to nothing", "trials": 7, "parameters": parameters}
    space["common"] = {f"stages.response.training.{key}": value for key, value in training.items()}
    (folder / "space.yaml").write_text(yaml.safe_dump(space | {"sampler": "random", "pruner": "none"}, sort_keys=False))
    return folder


def in_this_process(stop_after=None, data={}):  # noqa: B006 - the events are prepared once for all tests
    """What `run_all` does, one trial after the other, the events read once; Ctrl-C after some trials."""

    def run(jobs, processes, progress, *, watcher):
        for made, job in enumerate(jobs):
            if made == stop_after:
                raise KeyboardInterrupt
            recipe, base = (Recipe.from_dict(job.words[name]) for name in ("recipe", "base"))
            key = job.words["reference"]
            if key not in data:
                data[key] = shared_events(base, Path(key))
            try:
                job.folder.mkdir(parents=True, exist_ok=True)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", OutOfDomainWarning)
                    work(job.folder, recipe, base, data[key], job.words["key"])
            except Exception as error:
                write_json(job.folder / "failure.json", {"error": sentence(error)})
            watcher.goes_on(job)
            watcher.ended(job)
            progress(made, 0)

    return run


@pytest.fixture(autouse=True)
def _no_processes_and_no_page(monkeypatch):
    monkeypatch.setattr(of_search, "run_all", in_this_process())
    monkeypatch.setattr(of_search, "write_page", lambda study, found, origin, folder: (folder / "report.html").touch())


def begin(words, out, **options):
    return search(words / "tiny.yaml", words / "space.yaml", out=out, **options)


@pytest.fixture(scope="module")
def done(words, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(of_search, "run_all", in_this_process())
        patch.setattr(of_search, "write_page", write_page)
        return begin(words, tmp_path_factory.mktemp("search") / "out")


@pytest.fixture(scope="module")
def written(done):
    return json.loads((done.directory / "search.json").read_text())


def test_trials_are_scored_and_failing_ones_told(done, written):
    trials = written["trials"]
    assert len(trials) == 7
    assert trials[0]["base"]
    assert trials[0]["parameters"] == {"rate": 1e-3, "noise <z>": "100", "broken": "0.001"}
    states = {t["state"] for t in trials}
    assert states == {"finished", "failed"}
    assert all((t["state"] == "failed") == (t["parameters"]["broken"] == "1e+30") for t in trials)
    failed = next(t for t in trials if t["state"] == "failed")
    assert re.search("the loss of turn '[a-z]+' became|a weight became NaN", failed["error"])
    finished = [t for t in trials if t["state"] == "finished"]
    assert all(list(t["curve"]) == ["1", "2", "3"] for t in finished)
    assert all(t["value"] == t["score"]["score"] > written["floor"] > 0 for t in finished)
    assert written["best"] == min(finished, key=lambda t: t["value"])["number"]
    assert not list(done.directory.rglob("checkpoints"))


def test_the_best_recipe_and_the_scan_can_be_read(done, written):
    best = Recipe.load(done.directory / "best.yaml")
    trial = written["trials"][written["best"]]
    assert best.stages[-1].model.arguments["generator_optimiser"].lr == trial["parameters"]["rate"]
    assert best.stages[-1].training.epochs == 2  # the recipe's own, not the search's
    plan = plan_of_scan(Scan.load(done.directory / "confirm.yaml"))
    assert plan.scan.seeds == 3
    assert plan.base.stages[-1].training.epochs == 3
    assert set(plan.groups["best"]) == {"as it is", *(f"trial {t.number}" for t in done.found.ranked if t.number)}


def test_the_page_is_self_contained_and_escapes_words(done):
    page = (done.directory / "report.html").read_text()
    assert "A &lt;few&gt;" in page
    assert "noise &lt;z&gt;" in page
    assert "next to nothing" in page
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert f"understudy run {done.directory / 'best.yaml'}" in page
    assert "Importances are told from 10 finished trials on" in page


def timeless(trials):
    kept = ("number", "state", "value", "parameters", "curve")
    return [{k: t[k] for k in kept} for t in trials]


def test_an_interrupted_search_goes_on_and_ends_the_same(words, written, tmp_path, monkeypatch):
    monkeypatch.setattr(of_search, "run_all", in_this_process(stop_after=2))
    with pytest.raises(KeyboardInterrupt, match="interrupted after 2 of 4 trials; give the same command with --resume"):
        begin(words, tmp_path / "out", trials=4)
    with pytest.raises(FileExistsError, match="holds a search already; go on with it with --resume"):
        begin(words, tmp_path / "out")
    monkeypatch.setattr(of_search, "run_all", in_this_process())
    resumed = begin(words, tmp_path / "out", trials=4, resume=True)
    after = json.loads((resumed.directory / "search.json").read_text())
    assert timeless(after["trials"]) == timeless(written["trials"][:4])


def test_finished_trials_are_kept_and_what_was_drawn_before_is_not_trained_again(words, done, monkeypatch):
    monkeypatch.setattr(of_search, "run_all", lambda jobs, *_, **__: [pytest.fail(str(j.folder)) for j in jobs])
    again = begin(words, done.directory, resume=True)
    assert len(again.found.trials) == 7
    study = optuna.load_study(study_name="tiny-few", storage=f"sqlite:///{done.directory / 'study.db'}")
    study.enqueue_trial(study.trials[0].params)
    again = begin(words, done.directory, resume=True)
    last = again.found.trials[-1]
    assert last.user_attrs["same_as"] == 0
    assert last.value == again.found.trials[0].value
    assert last not in again.found.ranked


@pytest.fixture
def other(words, tmp_path):
    """A search of another recipe or space."""

    def call(recipe=None, space=None):
        changed = yaml.safe_load((words / "tiny.yaml").read_text()) | (recipe or {})
        (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(changed))
        told = yaml.safe_load((words / "space.yaml").read_text())
        told["parameters"] |= space or {}
        (tmp_path / "space.yaml").write_text(yaml.safe_dump(told, sort_keys=False))
        return tmp_path

    return call


def test_a_study_of_another_recipe_or_space_or_events_is_refused(done, other, tmp_path, monkeypatch):
    storage = f"sqlite:///{done.directory / 'study.db'}"
    options = {"storage": storage, "study": "tiny-few", "resume": True}
    with pytest.raises(ValueError, match=r"the study 'tiny-few' in .* was made for another recipe: .* differs from that in seed"):
        begin(other({"seed": 5}), tmp_path / "a", **options)
    space = {"noise <z>": {"path": f"{MODEL}.noise", "values": [2, 50]}}
    with pytest.raises(ValueError, match="was made for another search space, which differs in noise <z>; give another --study"):
        begin(other(space=space), tmp_path / "b", **options)
    with pytest.raises(ValueError, match="was made for another recipe"):
        begin(other(), tmp_path / "c", events=250, **options)
    with pytest.raises(FileExistsError, match=r"there is a study 'tiny-few' in .* already; go on with it or join it with --res"):
        begin(other(), tmp_path / "d", **options | {"resume": False})


def test_other_events_in_the_directory_of_a_search_are_refused(words, done):
    with pytest.raises(ValueError, match=r"the recipe has changed since the run in .* began"):
        begin(words, done.directory, resume=True, events=250)


def test_wrong_storages_places_and_numbers_are_one_sentence(words, tmp_path):
    with pytest.raises(ValueError, match=r"cannot use the storage mysterious://me:\*\*\*@there .*; give the URL of a database"):
        begin(words, tmp_path / "a", storage="mysterious://me:secret@there")
    assert without_password("mysql://me:secret@host/db") == "mysql://me:***@host/db"
    (tmp_path / "recipe.yaml").write_text("name: a")
    with pytest.raises(FileExistsError, match="holds a run or a scan, not a search"):
        begin(words, tmp_path)
    with pytest.raises(ValueError, match="a search makes at least 1 trial, not 0"):
        begin(words, tmp_path / "b", trials=0)
    (tmp_path / "c").mkdir()
    with alone_in(tmp_path / "c"), pytest.raises(FileExistsError, match="another process is at work in"):
        begin(words, tmp_path / "c")


def test_pruned_killed_and_lost_trials(done, words, tmp_path):
    """What the study is told of a trial that promises little, of one that was killed, and of one whose machine is gone."""
    with quiet():
        study = optuna.create_study(storage=f"sqlite:///{tmp_path / 's.db'}", sampler=optuna.samplers.RandomSampler(1))
        study.pruner = optuna.pruners.ThresholdPruner(upper=1.0)
        trials = Trials(study, done.found.plan, tmp_path / "here", "digest", 2)
        jobs = trials.jobs()
        job = replace(next(jobs), epochs=6)
        (job.folder / "checkpoints" / "response").mkdir(parents=True)
        rows = [{"epoch": e, "score": {"score": s}, "seconds": 60.0} for e, s in ((1, 0.5), (2, None), (3, 2.0), (4, 0.1))]
        write_json(job.folder / "checkpoints" / "response" / "history.json", rows)
        assert not trials.goes_on(job)
        trials.ended(job)
        assert study.trials[0].state == TrialState.PRUNED
        assert study.trials[0].intermediate_values == {1: 0.5, 3: 2.0}
        job = next(jobs)
        job.folder.mkdir(parents=True)
        write_json(job.folder / "failure.json", {"error": OUTSIDE})
        trials.ended(job)
        assert next(jobs, None) is None
        theirs = study.ask()
        theirs.set_user_attr("place", "elsewhere")
        theirs.set_user_attr("seen", time.time() - 2 * LOST)
        later = Trials(study, done.found.plan, tmp_path / "here", "digest", 3)
        later.prepare_queue()
        made = [trials_job.folder.name for trials_job in later.jobs()]
        assert made == ["0003", "0004"]  # one for the killed, one for the lost
        states = [t.state for t in study.trials]
        assert states[:3] == [TrialState.PRUNED, TrialState.FAIL, TrialState.FAIL]
        assert [t.user_attrs["again"] for t in study.trials[3:]] == [1, 2]
        assert study.trials[3].params == study.trials[1].params


def test_the_command_shows_the_best_trials(words, tmp_path, monkeypatch, capsys):
    told = ["search", str(words / "tiny.yaml"), str(words / "space.yaml"), "--trials", "1", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["understudy", *told, "--sampler", "tpe", "--pruner", "median"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    shown = capsys.readouterr()
    assert (stop.value.code, "report.html" in shown.out) == (0, True)
    assert "0 (as it is)" in shown.out
    assert "[I " not in shown.err  # Optuna's own words


@pytest.mark.slow
def test_trials_in_processes_are_the_same(words, written, tmp_path, monkeypatch):
    monkeypatch.setattr(of_search, "run_all", run_all)
    begin(words, tmp_path / "out", jobs=2)
    after = json.loads((tmp_path / "out" / "search.json").read_text())
    assert timeless(after["trials"]) == timeless(written["trials"])


def test_without_optuna_the_command_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError, match=r"a search needs Optuna, which is not installed; install it with: pip install 'unde"):
        cli_search._search()
