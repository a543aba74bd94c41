"""Each shipped recipe, cut down to seconds: trained, exported, loaded and run on its own conditions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import yaml

from small import small
from understudy import storage
from understudy.console import Console
from understudy.deployment.bundle import load_bundle, read_asked, read_trained
from understudy.prepare import FROM_CONDITIONS, derived
from understudy.recipe import Recipe
from understudy.recipes import shipped
from understudy.steps import export_run, sample_bundle, train_only

QUIET = Console(quiet=True)


VARIANTS = {"atlas-photon-247", "atlas-photon-89", "atlas-photon-89-flow", "atlas-photon-89-distilled", "lhcb-ecal-fast"}
VARIANTS |= {"lhcb-ecal-gan", "atlas-photon-247-gan"}
VARIANTS |= {name for name in shipped() if name.startswith("delphes-electron-")}
VARIANTS |= {"cifar10", "cifar10-small", "cifar10-paper", "mnist-paper", "mnist-vanilla"}
"""Recipes that differ from a tested one in size, model or calibration. Their large graphs take long to export: those of
models and transforms are tested in `laws`, of calibrations and symmetries by `lhcb-ecal`; `make test-slow` exports all."""

TAUGHT = {name for name in VARIANTS if Recipe.load(name).needs}
"""Variants that need an exported run."""

ELSEWHERE = {name for name in shipped() if name.startswith(("lhcb-rich", "lhcb-hcal"))}
"""Recipes of tables and of the LHCb HCAL, which have tests of their own beside this file."""
SHOWERS = sorted(set(shipped()) - ELSEWHERE)


def trained(name, folder, export=True):
    """A shipped recipe cut down to seconds, what it needs trained before; its run's directory and its bundle, if exported."""
    words = small(name, events=200)
    for need, said in words.get("needs", {}).items():
        run, _ = trained(said["recipe"], folder / need)
        words["needs"][need] = {"run": str(run)}
    (folder / "small.yaml").parent.mkdir(exist_ok=True)
    (folder / "small.yaml").write_text(yaml.safe_dump(words))
    run = train_only(folder / "small.yaml", out=folder / "run", console=QUIET)
    return run, load_bundle(export_run(run, console=QUIET)) if export else None


def test_no_recipe_is_another_one_under_a_shorter_name():
    contents = {n: {k: v for k, v in Recipe.load(n).to_dict().items() if k not in ("name", "title", "source")} for n in shipped()}
    assert all(contents[a] != contents[b] for a, b in itertools.combinations(contents, 2))


@pytest.mark.filterwarnings("ignore::understudy.domain.OutOfDomainWarning")
@pytest.mark.filterwarnings("ignore:.*their covariance was shrunk")
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in VARIANTS else n for n in SHOWERS])
def test_from_events_to_a_bundle_that_answers(name, tmp_path):
    run, bundle = trained(name, tmp_path)
    images = any(b.kind == "image" for b in bundle.schema.given)
    asked = run / "reference.h5" if images else None
    sample_bundle(run, tmp_path / "out.h5", conditions=asked, events=50, seed=3, console=QUIET)
    made = storage.read(tmp_path / "out.h5")
    assert len(made) == 50
    for block in bundle.schema.response:
        assert np.isfinite(made[block.name][slice(None) if made.mask is None else made.mask]).all()
    if images:
        with pytest.raises(ValueError, match="no particle gun draws showers: give the events to read with --conditions FILE"):
            sample_bundle(run, tmp_path / "drawn.h5", events=5, console=QUIET)
    elif bundle.geometry is not None:
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


@pytest.mark.filterwarnings("ignore::understudy.domain.OutOfDomainWarning")
@pytest.mark.filterwarnings("ignore:.*their covariance was shrunk")
@pytest.mark.parametrize("name", sorted(VARIANTS - TAUGHT))
def test_variants_are_trained_and_answer(name, tmp_path):
    run, _ = trained(name, tmp_path, export=False)
    surrogate, recipe, _ = read_trained(run)
    asked = read_asked(run, surrogate)[:50]
    answer = surrogate.simulate({b.name: asked[b.name] for b in surrogate.schema.given}, np.random.default_rng(1))
    assert recipe.name == name
    if surrogate.detection is not None:
        assert answer.mask is not None
        assert np.isfinite(answer["reconstructed_pt"][answer.mask]).all()
        return
    packed = answer.packed()
    assert np.isfinite(packed).all()
    assert (packed >= 0).all()
    assert (packed.sum(1) > 0).mean() > 0.5
