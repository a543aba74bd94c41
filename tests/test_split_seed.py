from __future__ import annotations

import numpy as np

from small import small
from understudy import storage
from understudy.console import Console
from understudy.recipe import Recipe
from understudy.rundir import RunDirectory
from understudy.splits import prepare


def test_runs_of_other_seeds_share_their_test_events_where_the_division_has_a_seed_of_its_own(tmp_path):
    words = small(events=300)
    reference = Recipe.from_dict(words).reference()
    storage.write(tmp_path / "e.h5", reference.generate(300, np.random.default_rng(1)), geometry=reference.geometry)

    def test_energies(seed, split_seed):
        split = {**words["split"], "seed": split_seed}
        recipe = Recipe.from_dict({**words, "seed": seed, "split": split}).using(data=tmp_path / "e.h5")
        place = RunDirectory(tmp_path / f"{seed}-{split_seed}", recipe)
        return prepare(recipe, place, Console(quiet=True)).test["incident_energy"]

    assert np.array_equal(test_energies(1, 7), test_energies(2, 7))
    assert np.array_equal(test_energies(1, None), test_energies(3, 1))
    assert not np.array_equal(test_energies(1, None), test_energies(2, None))
