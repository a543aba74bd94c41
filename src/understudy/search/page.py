"""`report.html` of a search: one self-contained page, as that of a scan."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial

from understudy.console import number
from understudy.files import write_text
from understudy.search.figures import curves_figure, history_figure, importance_figure, parallel_figure, slice_figure
from understudy.search.results import SEEDS, STATES, Found, Origin, called
from understudy.validation import figures
from understudy.validation.figures import Picture
from understudy.validation.figures_report import Panel
from understudy.validation.html_tables import quantity

ENOUGH = 10
"""Finished trials from which on importances are told."""


@dataclass(frozen=True)
class Line:
    """A trial in the table."""

    name: str
    score: str
    cells: tuple[str, ...]
    minutes: str
    parameters: str
    own: bool


def write_page(study: optuna.Study, found: Found, origin: Origin, folder: Path) -> Path:
    """Write `report.html` into `folder`; returns its path."""
    loaders = [PackageLoader("understudy.search", "templates"), PackageLoader("understudy.validation", "templates")]
    environment = Environment(
        loader=ChoiceLoader(loaders), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    space, best = found.plan.space, found.ranked[0]
    importances = _importances(study, found)
    text = environment.get_template("search.html.j2").render(
        space=space,
        title=space.title or space.name,
        recipe=found.plan.base.name,
        study=origin.study,
        reference=found.name,
        events=found.events,
        floor=quantity(found.floor),
        best=best.number,
        best_score=quantity(best.value),
        own_score=None if found.own is None else quantity(found.own.value),
        own_is_best=found.own is not None and found.own.number == best.number,
        counts={state: found.count(state) for state in STATES.values() if found.count(state)},
        left_out=found.plan.left_out,
        names=list(space.parameters),
        lines=[_line(t, found) for t in found.shown()],
        history=figures.svg(history_figure(found), "Physics score of every trial, and the best so far"),
        curves=figures.svg(curves_figure(found), "Physics score of every trial during its training"),
        importances=_importance_picture(importances),
        enough=ENOUGH,
        parallel=figures.svg(parallel_figure(found), "Every finished trial as a line through its values"),
        slices=_slices(found, list(importances)),
        failed=[(t.number, t.user_attrs["error"]) for t in found.trials if "error" in t.user_attrs],
        seeds=SEEDS,
        run=origin.command("run", folder / "best.yaml"),
        confirm=origin.command("scan", folder / "confirm.yaml"),
    )
    return write_text(folder / "report.html", text)


def _line(trial: FrozenTrial, found: Found) -> Line:
    cells = tuple(number(trial.params.get(name)) for name in found.plan.space.parameters)
    training = trial.user_attrs.get("training", {})
    size = number(training.get("parameters"))
    minutes = quantity(training.get("minutes"))
    return Line(called(trial), quantity(trial.value), cells, minutes, size, bool(trial.user_attrs.get("base")))


def _importances(study: optuna.Study, found: Found) -> dict[str, float]:
    """By parameter, the most important first; empty with too few trials, or where all scores are alike."""
    if len(found.ranked) < ENOUGH:
        return {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            evaluator = FanovaImportanceEvaluator(seed=found.plan.space.seed)
            return {k: float(v) for k, v in get_param_importances(study, evaluator=evaluator).items()}
    except (RuntimeError, ValueError):
        return {}


def _importance_picture(importances: dict[str, float]) -> Picture | None:
    if not importances:
        return None
    return figures.svg(importance_figure(importances), "How much of the variance of the scores each parameter explains")


def _slices(found: Found, first: Sequence[str]) -> list[Panel]:
    """A panel for each parameter, the most important first."""
    names = [*first, *(name for name in found.plan.space.parameters if name not in first)]
    parameters = found.plan.space.parameters
    drawn = [name for name in names if any(name in t.params for t in found.ranked)]
    return [
        Panel(name, figures.svg(slice_figure(name, parameters[name], found), f"Physics score against {name}")) for name in drawn
    ]
