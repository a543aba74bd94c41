"""What draws the trials, and what ends those early that promise little: Optuna's samplers and pruners, with seeds.

A sampler that is begun anew with the same seed would draw the same trials again after an interruption, and on every machine
that shares the study. So each trial has a seed of its own, from that of the search and the trial's number: random trials do
not depend on how many processes, machines and interruptions there were.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from understudy import seeds
from understudy.search.space import Drawn, PrunerName, SamplerName, Space

STARTUP = 10
"""Trials that TPE draws at random before it begins to learn."""
UNPRUNED = 5
"""Finished trials that the median needs."""


class PerTrial(BaseSampler):
    """A sampler with a seed for each trial.

    Args:
        make: from a seed to a sampler.
        seed: of the search.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self.make, self.seed = make, seed
        self._own = make(seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Begin the trial's own sequence."""
        self._own = self.make(seeds.integer(self.seed, "search", trial.number) % 2**32)
        self._own.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As the sampler does."""
        return self._own.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As the sampler does."""
        return self._own.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """As the sampler does."""
        return self._own.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """As the sampler does."""
        self._own.after_trial(study, trial, state, values)


def sampler(name: SamplerName, seed: int) -> BaseSampler:
    """A sampler by name; other trials that are still running count as poor ones, so that TPE does not repeat them."""
    if name == "random":
        return PerTrial(lambda own: RandomSampler(seed=own), seed)
    return PerTrial(lambda own: TPESampler(seed=own, n_startup_trials=STARTUP, constant_liar=True), seed)


def pruner(name: PrunerName, warm_up: float, epochs: int, score_every: int) -> BasePruner:
    """A pruner by name, for trainings of so many epochs that are scored every so many."""
    if name == "median":
        return MedianPruner(n_startup_trials=UNPRUNED, n_warmup_steps=round(warm_up * epochs))
    if name == "halving":
        return SuccessiveHalvingPruner(min_resource=score_every)
    if name == "hyperband":
        return HyperbandPruner(min_resource=score_every, max_resource=max(epochs, score_every))
    return NopPruner()


def draw(trial: optuna.Trial, space: Space) -> dict[str, Drawn]:
    """Draw every parameter that applies, in the space's order; what a trial has drawn before stays."""
    found: dict[str, Drawn] = {}
    for name, parameter in space.parameters.items():
        if not parameter.applies(found):
            continue
        if parameter.between is None:
            found[name] = trial.suggest_categorical(name, parameter.labels)
            continue
        low, high = parameter.between
        if parameter.integer:
            step = int(parameter.step or 1)
            found[name] = trial.suggest_int(name, int(low), int(high), step=step, log=parameter.log)
        else:
            found[name] = trial.suggest_float(name, low, high, step=parameter.step, log=parameter.log)
    return found
