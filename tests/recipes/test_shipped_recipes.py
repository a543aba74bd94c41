"""Each shipped recipe, cut down to seconds: trained, exported, loaded and run on its own conditions."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from small import small
from understudy import storage
from understudy.console import Console
from understudy.deployment.bundle import load_bundle
from understudy.prepare import FROM_CONDITIONS, derived
from understudy.recipe import Recipe
from understudy.recipes import shipped
from understudy.steps import export_run, sample_bundle, train_only

QUIET = Console(quiet=True)


def trained(name, folder):
    """A shipped recipe cut down to seconds, what it needs trained before; its run's directory and its bundle."""
    words = small(name, events=200)
    for need, said in words.get("needs", {}).items():
        run, _ = trained(said["recipe"], folder / need)
        words["needs"][need] = {"run": str(run)}
    (folder / "small.yaml").parent.mkdir(exist_ok=True)
    (folder / "small.yaml").write_text(yaml.safe_dump(words))
    run = train_only(folder / "small.yaml", out=folder / "run", console=QUIET)
    return run, load_bundle(export_run(run, console=QUIET))


def contents(name):
    """All that a shipped recipe does, without what it is called."""
    return {k: v for k, v in Recipe.load(name).to_dict().items() if k not in ("name", "title", "source")}


DIFFERENT = [
    name for i, name in enumerate(sorted(shipped())) if all(contents(name) != contents(o) for o in sorted(shipped())[:i])
]
"""Recipes without those that are another one under a shorter name."""


def test_short_names_stand_for_recipes_that_are_tested():
    assert set(shipped()) - set(DIFFERENT) == {"atlas-photon-89-gan", "atlas-photon-247-gan"}
    for name in ("atlas-photon-89", "atlas-photon-247"):
        assert contents(name) == contents(f"{name}-gan")


@pytest.mark.filterwarnings("ignore::understudy.domain.OutOfDomainWarning")
@pytest.mark.filterwarnings("ignore:.*their covariance was shrunk")
@pytest.mark.parametrize("name", DIFFERENT)
def test_from_events_to_a_bundle_that_answers(name, tmp_path):
    run, bundle = trained(name, tmp_path)
    images = any(b.kind == "image" for b in bundle.schema.given)
    asked = run / "reference.h5" if images else None
    sample_bundle(run, tmp_path / "out.h5", conditions=asked, events=50, seed=3, console=QUIET)
    made = storage.read(tmp_path / "out.h5")
    assert len(made) == 50
    for block in bundle.schema.response:
        assert np.isfinite(made[block.name]).all()
    if images:
        with pytest.raises(ValueError, match="no particle gun draws showers: give the events to read with --conditions FILE"):
            sample_bundle(run, tmp_path / "drawn.h5", events=5, console=QUIET)
    else:
        assert made["showers"].shape == (50, bundle.geometry.n_cells)
        assert (made["showers"] >= 0).all()
        assert (made["showers"].sum(1) > 0).mean() > 0.5  # hardly trained, and a soft photon may stay below every threshold
    assert np.isin(made["out_of_domain"], [0, 1]).all()
    told = [b.name for b in bundle.schema.conditions if b.derived and b.name not in FROM_CONDITIONS]
    if told:  # derived conditions that are given are used in place of drawn ones
        given = {b.name: made[b.name] for b in bundle.schema.given}
        energies = {name: derived(name, bundle.geometry)[1](made) for name in told}
        answer = bundle.simulate({**given, **energies}, np.random.default_rng(1))
        for name, asked_for in energies.items():
            found = derived(name, bundle.geometry)[1](answer)
            assert found.shape == asked_for.shape
            assert (found <= asked_for * (1 + 1e-4) + 1e-3).all()  # thresholds take some away, where the transforms do not
            assert found.sum() > 0
