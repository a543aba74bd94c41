"""Figures of numbers: areas under the curve, distances over their floors, timing, and the course of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from understudy.validation import figures

JUDGES = {
    "low_level": "network\non cells",
    "high_level": "trees on\nobservables",
    "combined": "trees on\nboth",
    "neighbour": "nearest\nneighbour",
}
SHOWN = (0.1, 300.0)
"""Distances outside this range, in floors, are arrows."""


def auc_figure(classifiers: Mapping[str, Mapping[str, Any]], size: tuple[float, float] = (9.2, 3.4)) -> Figure:
    """AUC of each judge for each candidate, with errors, and the floor as a grey box.

    Args:
        classifiers: the `classifier` part of `metrics.json` by candidate.
        size: width and height in inches.
    """
    with figures.styled():
        figure = Figure(size)
        axes = figure.add_axes((0.07, 0.14, 0.92, 0.74))
        draw_aucs(axes, classifiers)
        columns = min(len(classifiers) + 1, 4)
        figure.legend(*axes.get_legend_handles_labels(), ncols=columns, loc="upper center", borderaxespad=0.2, columnspacing=1.2)
    return figure


def draw_aucs(axes: Axes, classifiers: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw on given axes; see `auc_figure`."""
    colour, shape = figures.colours(classifiers), figures.markers(classifiers)
    judges = [j for j in JUDGES if any(j in c for c in classifiers.values())]
    n = max(len(classifiers), 1)
    axes.axhline(0.5, color=figures.REFERENCE_LINE, lw=0.7, ls=":")
    floor_label: str | None = "floor"
    shown = [0.5]
    for i, (name, judged) in enumerate(classifiers.items()):
        label: str | None = figures.shortened(name)
        for k, judge in enumerate(judges):
            auc, error, floor, floor_error = (
                _number(judged.get(judge, {}).get(q)) for q in ("auc", "error", "floor", "floor_error")
            )
            x = k - 0.36 + 0.72 * (i + 0.5) / n
            if math.isfinite(floor):
                half = max(0.0 if math.isnan(floor_error) else floor_error, 0.0015)
                box = mpl.patches.Rectangle(
                    (x - 0.3 / n, floor - half), 0.6 / n, 2 * half, color=figures.BAND, lw=0, label=floor_label
                )
                axes.add_patch(box)
                floor_label = None
                shown += [floor - half, floor + half]
            if math.isfinite(auc):
                error = 0.0 if math.isnan(error) else error
                axes.errorbar(x, auc, error, fmt=shape[name], ms=5, color=colour[name], lw=1.2, capsize=2.5, label=label)
                label = None
                shown += [auc + error, auc - error]
    axes.set_xticks(range(len(judges)), [JUDGES[j] for j in judges])
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.5, len(judges) - 0.5)
    axes.set_ylim(min(0.47, min(shown) - 0.02), max(0.56, min(max(shown) + 0.03, 1.02)))
    axes.set_ylabel("AUC")


def floors_figure(distances: Mapping[str, Mapping[str, tuple[float, float]]], what: str) -> Figure:
    """Each observable's distance in units of its floor, for all candidates: one look at everything.

    Args:
        distances: value and floor by observable, by candidate.
        what: name of the distance.
    """
    names = list(next(iter(distances.values())))
    colour, shape = figures.colours(distances), figures.markers(distances)
    height = 0.85 + 0.19 * len(names)
    with figures.styled():
        figure = Figure((9.2, height))
        axes = figure.add_axes((0.22, 0.5 / height, 0.76, (height - 0.85) / height))
        axes.axvspan(SHOWN[0], 1.0, color="#ececec", lw=0)
        axes.axvline(1.0, color=figures.REFERENCE_LINE, lw=0.7)
        everything = [3.0]
        for i, (key, found) in enumerate(distances.items()):
            ratios = np.array([_over_floor(*found[name]) if name in found else np.nan for name in names])
            y = np.arange(len(names)) + 0.5 * ((i + 0.5) / len(distances) - 0.5)
            inside = (ratios >= SHOWN[0]) & (ratios <= SHOWN[1])
            style: dict[str, Any] = {"ls": "none", "color": colour[key]}
            axes.plot(ratios[inside], y[inside], marker=shape[key], ms=4, label=figures.shortened(key, 40), **style)
            for beyond, at, arrow in ((ratios < SHOWN[0], SHOWN[0], "<"), (ratios > SHOWN[1], SHOWN[1], ">")):
                axes.plot(np.full(int(beyond.sum()), at), y[beyond], marker=arrow, ms=5, clip_on=False, **style)
            everything += [float(r) for r in np.clip(ratios, *SHOWN) if r > 0]
        axes.set_xscale("log")
        axes.set_xlim(SHOWN[0], SHOWN[1] if max(everything) >= SHOWN[1] else 1.3 * max(everything))
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_yticks(range(len(names)), [figures.shortened(n.replace("_", " "), 34) for n in names])
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", color="#e4e4e4", lw=0.6)
        axes.set_axisbelow(True)
        axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
        axes.set_xlabel(f"{what} over its floor")
        figure.legend(*axes.get_legend_handles_labels(), ncols=min(len(distances), 3), loc="upper center", borderaxespad=0.3)
    return figure


def timing_figure(timing: Mapping[str, Any], size: tuple[float, float] = (4.6, 2.9)) -> Figure:
    """Milliseconds per event against the batch size, for each engine of the `timing` part of `metrics.json`."""
    with figures.styled():
        figure = Figure(size)
        axes = figure.add_axes((0.17, 0.18, 0.8, 0.78))
        for i, engine in enumerate(("torch", "onnx")):
            batches = sorted((int(b), _number(ms)) for b, ms in (timing.get(engine) or {}).items())
            if batches:
                axes.plot(*zip(*batches, strict=True), marker=figures.MARKERS[i], color=figures.PALETTE[i], ms=4, label=engine)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("batch size")
        axes.set_ylabel("time per event [ms]")
        low, high = axes.get_ylim()
        axes.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1.0, 2.0, 5.0) if high < 200 * low else (1.0,)))
        axes.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(mpl.ticker.NullFormatter())
        axes.legend()
    return figure


def history_figure(rows: Sequence[Mapping[str, Any]], size: tuple[float, float] = (9.2, 3.0)) -> Figure | None:
    """The physics score (lower is better) and the losses of the turns against the epoch; None where no row has either.

    Args:
        rows: rows of `history.json`, with `epoch`, `score` (named numbers, one of them `score`) and `losses` by turn.
        size: width and height in inches.
    """
    scores = _courses(rows, "score")
    scores = {"score": scores["score"]} if "score" in scores else {}
    losses = _courses(rows, "losses")
    if not scores and not losses:
        return None
    with figures.styled():
        figure = Figure(size)
        panels = figure.subplots(1, 2)
        figure.subplots_adjust(0.07, 0.17, 0.99, 0.95, wspace=0.2)
        for axes, courses, label in zip(panels, (scores, losses), ("physics score", "loss"), strict=True):
            for name, points in courses.items():
                axes.plot(*zip(*points, strict=True), lw=1.1, label=figures.shortened(name))
            axes.set_xlabel("epoch")
            axes.set_ylabel(label)
            figures.minor_ticks(axes)
            if len(courses) > 1:
                axes.legend()
    return figure


def _courses(rows: Sequence[Mapping[str, Any]], part: str) -> dict[str, list[tuple[float, float]]]:
    """Epoch and number of each named number of `part`, where it is known."""
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for name, value in (row.get(part) or {}).items():
            if math.isfinite(_number(value)):
                found.setdefault(name, []).append((float(row["epoch"]), float(value)))
    return found


def _over_floor(value: float, floor: float) -> float:
    return value / floor if floor > 0 else float("nan")


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")
