"""Runs that a recipe needs: done first, on the same events, once."""

import json
import shutil
from pathlib import Path

import pytest

from small import small
from understudy.deployment.bundle import load_bundle, load_needs, write_bundle
from understudy.files import sha256, write_json, write_text
from understudy.needs import check_same_events, fulfil, pin, simulated_before
from understudy.recipe import Recipe


def recipe(folder, **changes):
    """A recipe that needs another one, which is in a file beside it."""
    (folder / "first.yaml").write_text(Recipe.from_dict(small(name="first", seed=9)).to_yaml())
    return Recipe.from_dict(small(name="second", needs={"first": {"recipe": str(folder / "first.yaml")}}, **changes))


@pytest.fixture
def doer(bundle):
    """Stands in for a run: leaves its recipe, its events, a bundle and a manifest, and notes how it was called."""
    calls = []

    def do(theirs, place, resume, overwrite):
        calls.append((theirs, place, resume, overwrite))
        shutil.rmtree(place / "bundle", ignore_errors=True)
        shutil.copytree(bundle, place / "bundle")
        write_text(place / "bundle" / "recipe.yaml", theirs.to_yaml())
        manifest = json.loads((place / "bundle" / "manifest.json").read_text())
        manifest["files"]["recipe.yaml"] = sha256(place / "bundle" / "recipe.yaml")
        write_json(place / "bundle" / "manifest.json", manifest)
        write_text(place / "recipe.yaml", theirs.to_yaml())
        (place / "reference.h5").write_bytes(b"events")
        facts = dict.fromkeys(("recipe", "fingerprint", "seed", "hardware", "files"), "")
        digest = sha256(place / "reference.h5")
        write_json(place / "manifest.json", {"format": 1, "finished": True, "data": {"sha256": digest}, **facts})

    do.calls = calls
    return do


def test_it_is_done_with_the_events_of_the_recipe_that_needs_it_and_pinned(tmp_path, doer):
    mine = recipe(tmp_path, seed=4, events=500)
    done = fulfil(mine, tmp_path / "out", doer)
    ((theirs, place, resume, overwrite),) = doer.calls
    assert place == tmp_path / "out" / "needs" / "first"
    assert (resume, overwrite) == (False, False)
    assert theirs.name == "first"
    for key in ("seed", "events", "split", "reference", "projections", "select", "derived"):
        assert getattr(theirs, key) == getattr(mine, key)
    assert done.needs["first"].run == str(place)
    assert done.needs["first"].sha256 == sha256(place / "bundle" / "manifest.json")
    assert pin(Recipe.from_dict(done.to_dict())) == done
    check_same_events(done, sha256(place / "reference.h5"))
    assert simulated_before(done) == place / "reference.h5"


def test_a_finished_one_is_not_done_again_and_an_unfinished_one_is_continued(tmp_path, doer):
    mine, out = recipe(tmp_path), tmp_path / "out"
    first = fulfil(mine, out, doer)
    assert fulfil(mine, out, doer) == first
    assert len(doer.calls) == 1
    manifest = out / "needs" / "first" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"finished": False}))
    fulfil(mine, out, doer)
    assert doer.calls[1][2:] == (True, False)


def test_one_with_another_seed_is_replaced_only_where_that_is_allowed(tmp_path, doer):
    out = tmp_path / "out"
    fulfil(recipe(tmp_path, seed=1), out, doer)
    fulfil(recipe(tmp_path, seed=2), out, doer)
    assert doer.calls[1][2:] == (True, False)  # which the run itself refuses, since its recipe has changed
    fulfil(recipe(tmp_path, seed=3), out, doer, overwrite=True)
    assert doer.calls[2][2:] == (False, True)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"seed": 5}, "split is .*'seed': 4.* there and .*'seed': 5.* here"),
        ({"events": 400}, "events is 500 there and 400 here"),
        ({"split": {"train": 0.6, "validation": 0.2, "test": 0.2}}, "split is .*'train': 0.5"),
        ({"select": {"total_energy": [0, 1000]}}, "derived is|select is"),
    ],
)
def test_a_run_on_other_events_would_leak_and_is_refused(tmp_path, doer, changes, what):
    done = fulfil(recipe(tmp_path, seed=4, events=500), tmp_path / "out", doer)
    run = done.needs["first"].run
    words = {"seed": 4, "events": 500, **changes}
    other = pin(Recipe.from_dict(small(name="third", needs={"first": {"run": run}}, **words)))
    with pytest.raises(ValueError, match=rf"needs 'first' from .* other training events \(.*({what})"):
        check_same_events(other, "")


def test_a_run_on_another_file_is_refused(tmp_path, doer):
    done = fulfil(recipe(tmp_path), tmp_path / "out", doer)
    with pytest.raises(ValueError, match="its file of events has another sha256"):
        check_same_events(done, "0" * 64)


def test_a_bundle_without_its_run_knows_the_file_that_it_was_trained_on(tmp_path, surrogate, graphs):
    trained = Recipe.from_dict(small(name="first"))
    data = {"name": "showers.h5", "sha256": "1" * 64}
    folder = write_bundle(tmp_path / "bundle", surrogate, trained, graphs, data=data)
    mine = pin(Recipe.from_dict(small(name="second", needs={"first": {"run": str(folder)}})))
    check_same_events(mine, "1" * 64)
    with pytest.raises(ValueError, match="its file of events has another sha256"):
        check_same_events(mine, "2" * 64)


def test_needs_in_a_circle_are_refused(tmp_path, doer):
    for name, other in (("a", "b"), ("b", "a")):
        words = small(name=name, needs={"x": {"recipe": str(tmp_path / f"{other}.yaml")}})
        (tmp_path / f"{name}.yaml").write_text(Recipe.from_dict(words).to_yaml())
    with pytest.raises(ValueError, match="in a circle: a needs b needs a; leave one need out"):
        fulfil(Recipe.load(tmp_path / "a.yaml"), tmp_path / "out", doer)
    assert not doer.calls


def test_what_is_not_there_is_named(tmp_path, doer):
    with pytest.raises(ValueError, match=r"needs.first.*names the directory of a 'run', or the 'recipe'"):
        Recipe.from_dict(small(needs={"first": {}}))
    lost = Recipe.from_dict(small(needs={"first": {"recipe": "no-such-recipe"}}))
    with pytest.raises(FileNotFoundError, match="no recipe 'no-such-recipe'"):
        fulfil(lost, tmp_path, doer)
    with pytest.raises(ValueError, match="needs a run of no-such-recipe that has not been done"):
        load_needs(lost)


def test_a_bundle_is_whole_without_the_runs_that_it_was_made_from(tmp_path, doer, surrogate, graphs):
    done = fulfil(recipe(tmp_path), tmp_path / "out", doer)
    folder = write_bundle(tmp_path / "bundle", surrogate, done, graphs)
    assert json.loads((folder / "manifest.json").read_text())["data"] == {}
    shutil.rmtree(tmp_path / "out")
    assert load_bundle(folder, engine="torch").noise_size == load_bundle(folder).noise_size == surrogate.noise_size
    assert set(load_needs(done, folder)) == {"first"}
    inside = Path(folder) / "needs" / "first" / "manifest.json"
    inside.write_text(inside.read_text().replace('"seed"', '"seed" '))
    with pytest.raises(ValueError, match=r"needs 'first' .* whose bundle has changed since it was pinned"):
        load_bundle(folder, engine="torch")
