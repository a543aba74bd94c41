"""Each shipped recipe, cut down to seconds: trained, exported, loaded and run on its own conditions."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from small import small
from understudy import storage
from understudy.console import Console
from understudy.deployment.bundle import load_bundle
from understudy.recipes import shipped
from understudy.steps import export_run, sample_bundle, train_only


@pytest.mark.filterwarnings("ignore::understudy.domain.OutOfDomainWarning")
@pytest.mark.parametrize("name", sorted(shipped()))
def test_from_events_to_a_bundle_that_answers(name, tmp_path):
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(small(name, events=200)))
    quiet = Console(quiet=True)
    run = train_only(tmp_path / "small.yaml", out=tmp_path / "run", console=quiet)
    bundle = load_bundle(export_run(run, console=quiet))
    sample_bundle(run, tmp_path / "out.h5", events=50, seed=3, console=quiet)
    made = storage.read(tmp_path / "out.h5")
    assert made["showers"].shape == (50, bundle.geometry.n_cells)
    assert (made["showers"] >= 0).all()
    assert (made["showers"].sum(1) > 0).mean() > 0.5  # hardly trained, and a soft photon may stay below every threshold
    assert np.isin(made["out_of_domain"], [0, 1]).all()
