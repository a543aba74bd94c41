from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState

from understudy.search.sampling import draw, pruner, sampler
from understudy.search.shared import quiet
from understudy.search.space import Space

SPACE = Space.model_validate(
    {
        "name": "s",
        "parameters": {
            "rate": {"path": "a", "between": [1e-5, 1e-2], "log": True},
            "part": {"path": "b", "between": [0, 1], "step": 0.25},
            "size": {"path": "c", "between": [4, 64], "integer": True, "log": True},
            "loss": {"path": "d", "values": ["JS", "W"]},
            "weight": {"path": "e", "between": [1, 30], "when": {"loss": "W"}},
        },
    }
)


@pytest.fixture(autouse=True)
def _silent():
    with quiet():
        yield


def draws(name, seed, count, value=lambda drawn: drawn["rate"]):
    study = optuna.create_study(sampler=sampler(name, seed))
    found = []
    for _ in range(count):
        trial = study.ask()
        found.append(draw(trial, SPACE))
        study.tell(trial, value(found[-1]))
    return found


def test_draws_lie_in_the_space():
    found = draws("random", 1, 60)
    assert all(1e-5 <= d["rate"] <= 1e-2 and d["part"] in (0, 0.25, 0.5, 0.75, 1) and isinstance(d["size"], int) for d in found)
    assert {d["loss"] for d in found} == {"JS", "W"}
    assert all(("weight" in d) == (d["loss"] == "W") for d in found)
    assert sum(d["rate"] < 10**-3.5 for d in found) == pytest.approx(30, abs=15)  # even in the logarithm


def test_random_trials_depend_on_seed_and_number_alone():
    found = draws("random", 1, 4)
    assert draws("random", 1, 4) == found
    assert draws("random", 2, 4) != found
    study = optuna.create_study(sampler=sampler("random", 1))
    _ = [study.ask() for _ in range(2)]
    study.sampler = sampler("random", 1)  # another process, or the same after an interruption
    assert [draw(study.ask(), SPACE) for _ in range(2)] == found[2:]


def test_tpe_finds_the_better_end():
    found = draws("tpe", 1, 40)
    assert found == draws("tpe", 1, 40)
    assert sum(d["rate"] for d in found[20:]) < sum(d["rate"] for d in found[:10])


@pytest.mark.parametrize(("name", "ends"), [("none", False), ("median", True), ("halving", True), ("hyperband", True)])
def test_pruners_end_trials_that_are_far_behind(name, ends):
    study = optuna.create_study(study_name="s", pruner=pruner(name, 0.3, 20, 2))
    for _ in range(12):
        trial = study.ask()
        for epoch in range(2, 21, 2):
            trial.report(1.0 / epoch, epoch)
            assert not trial.should_prune()
        study.tell(trial, 0.05)
    verdicts = []
    for _ in range(4):  # hyperband gives each trial a bracket, and one of them is generous
        trial, said = study.ask(), []
        for epoch in range(2, 20, 2):
            trial.report(9.0, epoch)
            said.append(trial.should_prune())
        verdicts.append(said)
        study.tell(trial, state=TrialState.PRUNED)
    assert any(any(said) for said in verdicts) == ends
    if name == "median":
        assert verdicts[0] == [False, False] + [True] * 7  # none in the first three tenths
