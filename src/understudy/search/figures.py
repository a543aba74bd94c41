"""Figures of a search: its history, the scores during the trainings, what each parameter does, and all of them together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from optuna.trial import FrozenTrial, TrialState

from understudy.schema import Array
from understudy.search.results import Found, called
from understudy.search.space import Drawn, Parameter
from understudy.validation import figures

DONE, PRUNED, BEST = figures.PALETTE[0], "#9a9a9a", figures.PALETTE[1]
LEADING = 3
"""Best trials that are drawn in colours of their own."""


def last_score(trial: FrozenTrial) -> float:
    """The score of a trial: of a pruned one the last before it was ended; NaN where there is none."""
    if trial.state == TrialState.COMPLETE:
        return float(trial.value or 0.0)
    curve = trial.intermediate_values
    return curve[max(curve)] if trial.state == TrialState.PRUNED and curve else math.nan


def history_figure(found: Found) -> Figure:
    """The score of every trial in the order of their numbers, and the best so far."""
    done = sorted((t for t in found.trials if t.state == TrialState.COMPLETE), key=lambda t: t.number)
    pruned = [t for t in found.trials if t.state == TrialState.PRUNED]
    scores = np.array([last_score(t) for t in done])
    with figures.styled():
        figure = Figure((5.6, 3.3), layout="constrained")
        axes = figure.add_subplot()
        axes.plot([t.number for t in pruned], [last_score(t) for t in pruned], ls="none", marker="x", ms=4, color=PRUNED)
        axes.plot([t.number for t in done], scores, ls="none", marker="o", ms=3.6, color=DONE)
        axes.step([t.number for t in done], np.minimum.accumulate(scores), where="post", color=BEST)
        _lines(axes, found)
        _set_scale(axes, [*scores, *map(last_score, pruned)], found.floor)
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
        axes.set_xlabel("trial")
        axes.set_ylabel("physics score")
    return figure


def curves_figure(found: Found) -> Figure:
    """The score on validation events during the training of every trial."""
    leading = found.ranked[:LEADING]
    with figures.styled():
        figure = Figure((5.6, 3.3), layout="constrained")
        axes = figure.add_subplot()
        every: list[float] = []
        for trial in found.trials:
            if not (curve := trial.intermediate_values) or trial in leading:
                continue
            pruned = trial.state == TrialState.PRUNED
            axes.plot(*_curve(curve), color=PRUNED if pruned else DONE, lw=0.7, alpha=0.55, marker="x" if pruned else "", **_END)
            every += curve.values()
        for colour, trial in zip(figures.PALETTE[1:], leading, strict=False):
            axes.plot(*_curve(trial.intermediate_values), color=colour, lw=1.7, label=f"trial {called(trial)}")
            every += trial.intermediate_values.values()
        _lines(axes, found)
        _set_scale(axes, every, found.floor)
        axes.legend(loc="upper right")
        axes.set_xlabel("epoch")
        axes.set_ylabel("physics score")
    return figure


_END: dict[str, Any] = {"markevery": [-1], "ms": 4}


def importance_figure(importances: Mapping[str, float]) -> Figure:
    """How much of the variance of the scores each parameter explains."""
    names = list(importances)[::-1]
    with figures.styled():
        figure = Figure((5.6, 0.75 + 0.27 * len(names)), layout="constrained")
        axes = figure.add_subplot()
        axes.barh(range(len(names)), [importances[n] for n in names], height=0.6, color=DONE)
        axes.set_yticks(range(len(names)), [figures.shortened(n, 30) for n in names])
        axes.tick_params(axis="y", which="both", left=False, right=False)
        axes.set_xlim(0.0, 1.0)
        axes.set_xlabel("part of the variance of the scores")
    return figure


def slice_figure(name: str, parameter: Parameter, found: Found) -> Figure:
    """The score against one parameter; all others vary as well."""
    trials = [t for t in found.trials if name in t.params and math.isfinite(last_score(t))]
    best = found.ranked[0]
    with figures.styled():
        figure = Figure((3.7, 2.9), layout="constrained")
        axes = figure.add_subplot()
        for state, marker, colour, size in ((TrialState.PRUNED, "x", PRUNED, 4.0), (TrialState.COMPLETE, "o", DONE, 3.6)):
            some = [t for t in trials if t.state == state]
            x = [_place(parameter, t.params[name]) + _aside(parameter, t.number) for t in some]
            axes.plot(x, [last_score(t) for t in some], ls="none", marker=marker, ms=size, color=colour, alpha=0.8)
        if name in best.params:
            x = [_place(parameter, best.params[name]) + _aside(parameter, best.number)]
            axes.plot(x, [last_score(best)], marker="D", ms=6, color=BEST)
        _set_scale(axes, [last_score(t) for t in trials], found.floor)
        _set_ticks(axes, parameter)
        axes.set_xlabel(figures.plain(name))
        axes.set_ylabel("physics score")
    return figure


def parallel_figure(found: Found) -> Figure:
    """Every finished trial as a line through the values that it has drawn; the better, the darker."""
    parameters = {n: p for n, p in found.plan.space.parameters.items() if any(n in t.params for t in found.ranked)}
    trials = found.ranked[::-1]
    rank = np.linspace(0.0, 1.0, len(trials)) if len(trials) > 1 else np.ones(1)
    shades = mpl.colormaps["viridis_r"]
    with figures.styled():
        figure = Figure((max(5.6, 1.3 * len(parameters) + 1.3), 3.5), layout="constrained")
        axes = figure.add_subplot()
        places = {name: _scaled(p) for name, p in parameters.items()}
        for part, trial in zip(rank, trials, strict=True):
            y = [places[n](trial.params[n]) if n in trial.params else math.nan for n in parameters]
            best = trial.number == found.ranked[0].number
            style = {"color": BEST, "lw": 2.2} if best else {"color": shades(part), "lw": 0.9, "alpha": 0.35 + 0.5 * part}
            axes.plot(range(len(parameters)), y, **style)
        for x, (name, parameter) in enumerate(parameters.items()):
            axes.axvline(x, color=figures.REFERENCE_LINE, lw=0.8)
            for value, text in _marks(parameter):
                axes.annotate(text, (x, places[name](value)), xytext=(4, 0), textcoords="offset points", fontsize=7, va="center")
        axes.set_xticks(range(len(parameters)), [_broken(n) for n in parameters])
        axes.set_xlim(-0.3, len(parameters) - 0.4)
        axes.set_yticks([])
        axes.tick_params(axis="x", which="both", top=False, bottom=False)
        for side in ("left", "right", "top", "bottom"):
            axes.spines[side].set_visible(False)
    return figure


def _broken(name: str) -> str:
    return figures.plain(name.replace(" ", "\n")) if len(name) > 12 else figures.plain(name)


def _curve(curve: Mapping[int, float]) -> tuple[Array, Array]:
    epochs = sorted(curve)
    return np.array(epochs), np.array([curve[e] for e in epochs])


def _lines(axes: Axes, found: Found) -> None:
    """Floor, and the score of the recipe as it is."""
    lines = [("floor", found.floor, "--")]
    if found.own is not None:
        lines.append(("recipe as it is", float(found.own.value or 0.0), ":"))
    for text, value, style in lines:
        axes.axhline(value, color=figures.REFERENCE_LINE, lw=0.9, ls=style)
        words = axes.annotate(text, (0.99, value), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=7.5)
        words.set_in_layout(False)  # one that lies outside the axes would leave no room for them


def _set_scale(axes: Axes, values: Sequence[float], floor: float) -> None:
    """Logarithmic where scores spread far; a few that are far off do not push the others together."""
    known = np.array([v for v in values if math.isfinite(v)])
    if not len(known):
        return
    low, high = min(float(known.min()), floor), float(np.quantile(known, 0.97))
    if low > 0 and high > 6 * low:
        axes.set_yscale("log")
        axes.set_ylim(0.8 * low, 1.5 * high)
        _in_plain_numbers(axes.yaxis)
    else:
        axes.set_ylim(0.0, 1.15 * high)


def _place(parameter: Parameter, value: Drawn) -> float:
    return float(parameter.labels.index(str(value))) if parameter.between is None else float(value)


def _aside(parameter: Parameter, number: int) -> float:
    """Trials with the same value stand side by side."""
    return 0.0 if parameter.between is not None else 0.24 * ((number * 0.618034) % 1 - 0.5)


def _set_ticks(axes: Axes, parameter: Parameter) -> None:
    if parameter.between is None:
        axes.set_xticks(range(len(parameter.labels)), [figures.shortened(x, 14) for x in parameter.labels])
        axes.tick_params(axis="x", which="both", top=False, bottom=False)
        axes.set_xlim(-0.5, len(parameter.labels) - 0.5)
        return
    (low, high), margin = parameter.between, 0.04
    if parameter.log:
        axes.set_xscale("log")
        axes.set_xlim(low * (low / high) ** margin, high * (high / low) ** margin)
        _in_plain_numbers(axes.xaxis, few=high > 30 * low)
    else:
        axes.set_xlim(low - margin * (high - low), high + margin * (high - low))
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(6, integer=parameter.integer))


def _in_plain_numbers(axis: Axis, few: bool = False) -> None:
    """Ticks of a logarithmic axis as 0.1, 0.2, 0.5, 1; only the powers of ten with `few`."""
    axis.set_major_locator(mpl.ticker.LogLocator(subs=(1.0,) if few else (1.0, 2.0, 5.0)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(mpl.ticker.NullFormatter())


def _scaled(parameter: Parameter) -> Callable[[Drawn], float]:
    """From a value to its place between 0 and 1 on the parameter's axis."""
    if parameter.between is None:
        return lambda value: _place(parameter, value) / max(1, len(parameter.labels) - 1)
    low, high = parameter.between
    turn = math.log if parameter.log else float
    return lambda value: (turn(float(value)) - turn(low)) / (turn(high) - turn(low))


def _marks(parameter: Parameter) -> list[tuple[Drawn, str]]:
    """Values with their names on the parameter's axis."""
    if parameter.between is None:
        return [(label, figures.shortened(label, 14)) for label in parameter.labels]
    return [(value, f"{value:g}") for value in parameter.between]
