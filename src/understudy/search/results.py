"""What the trials of a search came to: `search.json`, `best.yaml` and `confirm.yaml`."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from optuna.trial import FrozenTrial, TrialState

from understudy.console import number
from understudy.files import write_json, write_text
from understudy.search.plan import Plan
from understudy.validation.html_tables import quantity
from understudy.versions import hardware, versions

BEST = 10
"""Trials in the tables."""
CONFIRMED = 3
"""Trials that `confirm.yaml` trains again."""
SEEDS = 3
"""Seeds that it trains them with."""
STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


@dataclass(frozen=True)
class Origin:
    """What the search was asked for, to say how it goes on.

    Args:
        recipe: name or path.
        data: file of reference events, if given.
        reference: name of another reference, if given.
        events: number of events, if given.
        study: its name.
        storage: its URL, if given.
    """

    recipe: str
    data: str | Path | None = None
    reference: str | None = None
    events: int | None = None
    study: str = ""
    storage: str | None = None

    def command(self, what: str, file: Path) -> str:
        """`understudy run FILE` or `scan` with the same events."""
        said = {"--data": self.data, "--reference": self.reference, "--events": self.events}
        options = [f"{key} {shlex.quote(str(value))}" for key, value in said.items() if value is not None]
        return " ".join([f"understudy {what} {shlex.quote(str(file))}", *options])

    def beside(self, folder: Path) -> str:
        """The recipe as a file in `folder` calls it."""
        return os.path.relpath(self.recipe, folder) if Path(self.recipe).is_file() else self.recipe


@dataclass(frozen=True)
class Found:
    """The trials of a study and what they are compared with.

    Args:
        trials: all of them.
        plan: space and recipe.
        floor: score of as many other reference events.
        events: validation events that they are compared with.
        name: of the reference.
    """

    trials: Sequence[FrozenTrial]
    plan: Plan
    floor: float
    events: int
    name: str

    @property
    def ranked(self) -> list[FrozenTrial]:
        """Finished trials, the best first, each draw once."""
        done = [t for t in self.trials if t.state == TrialState.COMPLETE and "same_as" not in t.user_attrs]
        return sorted(done, key=lambda t: (float(t.value or 0.0), t.number))

    @property
    def own(self) -> FrozenTrial | None:
        """The trial of the recipe as it is, if the space holds it and it has finished."""
        return next((t for t in self.ranked if t.user_attrs.get("base")), None)

    def count(self, *states: str) -> int:
        """Number of trials in some states; those that were queued again are not told."""
        again = {t.user_attrs["again"] for t in self.trials if "again" in t.user_attrs}
        return sum(STATES[t.state] in states and t.number not in again for t in self.trials)

    def shown(self) -> list[FrozenTrial]:
        """The best trials, and the recipe as it is."""
        best = self.ranked[:BEST]
        return best if self.own is None or self.own in best else [*best, self.own]

    def rows(self) -> list[dict[str, object]]:
        """The best trials for a table."""
        rows: list[dict[str, object]] = []
        for trial in self.shown():
            said = [f"{name} {number(trial.params[name])}" for name in self.plan.space.parameters if name in trial.params]
            rows.append({"trial": called(trial), "score": quantity(trial.value), "values": ", ".join(said)})
        return [*rows, {"trial": "floor", "score": quantity(self.floor), "values": ""}]


def called(trial: FrozenTrial) -> str:
    """A trial's number; that of the recipe as it is says so."""
    return f"{trial.number} (as it is)" if trial.user_attrs.get("base") else str(trial.number)


def write_results(found: Found, origin: Origin, storage: str, folder: Path) -> None:
    """Write `search.json`, the recipe of the best trial and the scan that confirms the best ones into `folder`."""
    space, base = found.plan.space, found.plan.base
    write_json(
        folder / "search.json",
        {
            "format": 1,
            "study": origin.study,
            "storage": storage,
            "space": space.model_dump(mode="json"),
            "left_out": list(found.plan.left_out),
            "recipe": base.to_dict(),
            "reference": {"name": found.name, "validation_events": found.events},
            "floor": found.floor,
            "best": found.ranked[0].number,
            "hardware": hardware(),
            "versions": versions(),
            "trials": [_trial(trial) for trial in found.trials],
        },
    )
    write_text(folder / "best.yaml", best_recipe(found, origin, folder))
    write_text(folder / "confirm.yaml", confirmation(found, origin, folder))


def best_recipe(found: Found, origin: Origin, folder: Path) -> str:
    """A recipe that extends the original by what the best trial has drawn, at the original's own length."""
    trial, space = found.ranked[0], found.plan.space
    kept, left = _budget(space.common)
    words = {
        "extends": origin.beside(folder),
        "name": f"{found.plan.base.name}-best",
        "title": f"Trial {trial.number}, the best of {found.count('finished', 'pruned', 'failed')} in the search {space.name}",
        "change": {**kept, **found.plan.changes(trial.params)},
    }
    note = "".join(f"# {path}: {value}\n" for path, value in left.items())
    begin = f"# The search had in common, to save time, what is left out here:\n{note}" if note else ""
    return begin + yaml.safe_dump(words, sort_keys=False, width=120)


def _budget(common: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What trials have in common, without and with what only makes them shorter: length of training and number of events."""
    left = {path: v for path, v in common.items() if ".training." in path or path in ("events", "split.train_events")}
    return {path: v for path, v in common.items() if path not in left}, left


def confirmation(found: Found, origin: Origin, folder: Path) -> str:
    """A scan of the best trials and the recipe as it is, several seeds each, on test events."""
    space = found.plan.space
    own = found.own
    best = [trial for trial in found.ranked if own is None or trial.number != own.number][:CONFIRMED]
    words = {
        "name": f"{found.plan.base.name}-confirm",
        "title": f"The best trials of the search {space.name}, trained anew with {SEEDS} seeds each",
        "recipe": origin.beside(folder),
        "seed": found.plan.base.seed,
        "seeds": SEEDS,
        "budget": space.budget,
        "common": dict(space.common),
        "groups": {
            "best": {
                "title": "The best trials",
                "parameter": "trial",
                "base": "as it is",
                "variants": {f"trial {t.number}": found.plan.changes(t.params) for t in best or found.ranked[:1]},
            }
        },
    }
    return yaml.safe_dump(words, sort_keys=False, width=120)


def _trial(trial: FrozenTrial) -> dict[str, Any]:
    told = ("base", "same_as", "again", "error", "minutes", "score", "training", "place")
    values = {epoch: v if math.isfinite(v) else None for epoch, v in sorted(trial.intermediate_values.items())}
    return {
        "number": trial.number,
        "state": STATES[trial.state],
        "value": trial.value if trial.state == TrialState.COMPLETE else None,
        "parameters": trial.params,
        "curve": values,
        **{key: trial.user_attrs[key] for key in told if key in trial.user_attrs},
    }
