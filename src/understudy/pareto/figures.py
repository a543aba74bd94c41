r"""The Pareto figure: AUC against milliseconds per shower and against minutes of training, one section per reference.

The AUC's axis is $\operatorname{arsinh}((\mathrm{AUC} - 1/2)/0.03)$: linear about the floor, where good stand-ins differ by their
errors, logarithmic far from it. The published points have a section of their own, on a grey ground, with a linear axis.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from understudy.pareto.points import Group, Point, on_front
from understudy.pareto.published import CITATION, FLOOR, Published, published_front
from understudy.schema import Array
from understudy.validation import figures

LINEAR = 0.03
"""Distance of an AUC from 1/2 up to which its axis is about linear."""
TICKS = (0.4, 0.45, 0.48, 0.5, 0.52, 0.55, 0.6, 0.7, 0.85, 1.0)
COSTS = {"ms": "ms per shower, {engine}, batches of {batch}", "minutes": "minutes of training"}
SHORTEST = 0.01
"""Minutes at which a training that took less is drawn."""
TITLES = {"low": "network on cells", "high": "trees on observables", "combined": "trees on both"}
OFFICIAL = {"low": "dense network on voxels", "high": "dense network on features"}
GROUND = "#ececec"
WIDTH, ROW, HEAD = 10.4, 2.35, 1.15


def group_figure(group: Group, judges: Sequence[str], batch: int, engine: str) -> Figure:
    """One reference's section as a figure of its own."""
    return whole_figure([group], judges, batch, engine)


def published_figure(published: Mapping[str, Sequence[Published]]) -> Figure:
    """The published points as a figure of their own."""
    return whole_figure([], (), 0, "", published)


def whole_figure(
    groups: Sequence[Group],
    judges: Sequence[str],
    batch: int,
    engine: str,
    published: Mapping[str, Sequence[Published]] | None = None,
) -> Figure:
    """All sections one below the other.

    Args:
        groups: a section each.
        judges: short names, a column each.
        batch: batch size of the timing.
        engine: that was timed.
        published: official points by dataset, for a last section; None to leave it out.
    """
    rows = 1 if len(judges) == 1 else 2
    heights = [rows * ROW + HEAD + 0.2 * ((len(g.points) - 1) // 3) for g in groups]
    if published:
        heights.append(len(published) * (ROW + 0.2) + 0.6)
    with figures.styled():
        figure = Figure((WIDTH, sum(heights)), layout="constrained")
        parts = list(np.ravel(np.asarray(figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False))))
        for part, group in zip(parts, groups, strict=False):
            _draw_group(part, group, judges, batch, engine)
        if published:
            _draw_published(parts[-1], published)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once, whatever it is written as
    return figure


def _draw_group(part: SubFigure, group: Group, judges: Sequence[str], batch: int, engine: str) -> None:
    costs = ("ms", "minutes")
    shape = (1, 2) if len(judges) == 1 else (2, len(judges))
    axes = np.asarray(part.subplots(*shape, squeeze=False)).ravel()
    panels = [(judge, cost) for cost in costs for judge in judges]
    for place, (judge, cost) in zip(axes, panels, strict=True):
        _panel(place, group, judge, cost)
        place.set_xlabel(COSTS[cost].format(engine=engine, batch=batch))
        place.set_title(TITLES[judge] if cost == costs[0] or len(judges) == 1 else "")
        if judge == judges[0]:
            place.set_ylabel("AUC")
    part.suptitle(
        f"{figures.plain(group.title)}: {group.events:,} events, judges trained on {group.training_events:,}", fontsize=10
    )
    colour, shapes = _styles(group)
    handles = [
        Line2D([], [], ls="none", marker=shapes[p.label], color=colour[p.label], label=figures.shortened(p.label, 44))
        for p in group.points
    ]
    part.legend(handles=handles, loc="outside lower center", ncols=3)


def _panel(axes: Axes, group: Group, judge: str, cost: str) -> None:
    """AUC of one judge against one cost, with floor, baselines and front."""
    colour, shape = _styles(group)
    known = [p for p in group.points if getattr(p, cost) is not None and p.judged[judge].auc is not None]
    xs = [_drawn_cost(p, cost) for p in known]
    for x, point in zip(xs, known, strict=True):
        entry = point.judged[judge]
        style: dict[str, Any] = {"color": colour[point.label], "marker": shape[point.label]}
        axes.errorbar(x, entry.auc or 0.0, entry.error or 0.0, ms=6, capsize=2.5, ls="none", zorder=3, **style)
    low, high = (min(xs) / 3, max(xs) * 3) if xs else (0.1, 10.0)
    chosen = on_front(group, judge, cost)
    steps = [(_drawn_cost(p, cost), p.judged[judge].auc or math.nan) for p in chosen]
    _draw_front(axes, steps, high)
    floor, error = group.floors[judge]
    heights = [p.judged[judge].auc for p in (*known, *group.baselines)]
    _line(axes, floor, error, "floor", figures.REFERENCE_LINE, "--")
    for baseline in group.baselines:
        entry = baseline.judged[judge]
        if entry.auc is not None:
            _line(axes, entry.auc, entry.error or 0.0, baseline.label, "#6a6a6a", ":", 0.015)
    if not xs:
        axes.annotate("not measured", (0.5, 0.5), xycoords="axes fraction", ha="center")
    _cost_axis(axes, low, high)
    _auc_axis(axes, [h for h in (*heights, floor) if h is not None and math.isfinite(h)])


def _drawn_cost(point: Point, cost: str) -> float:
    value = float(getattr(point, cost))
    return max(value, SHORTEST) if cost == "minutes" else value


def _draw_front(axes: Axes, steps: Sequence[tuple[float, float]], right: float) -> None:
    """A step line: the lowest AUC that is to be had at a cost."""
    if steps:
        x, y = zip(*steps, strict=True)
        axes.step([*x, right], [*y, y[-1]], where="post", color=figures.REFERENCE_LINE, lw=0.9, alpha=0.55, zorder=1)


def _line(axes: Axes, value: float, error: float, name: str, colour: str, dashes: str, place: float = 0.985) -> None:
    """A horizontal line with its error as a band and its name at `place`, at the left or right."""
    if not math.isfinite(value):
        return
    axes.axhspan(value - error, value + error, color=colour, alpha=0.13, lw=0, zorder=0)
    axes.axhline(value, color=colour, lw=0.9, ls=dashes, zorder=1)
    axes.annotate(
        figures.shortened(name, 20),
        (place, value),
        xycoords=("axes fraction", "data"),
        ha="right" if place > 0.5 else "left",
        va="bottom",
        fontsize=7,
        color=colour,
    )


def _cost_axis(axes: Axes, low: float, high: float) -> None:
    """Logarithmic, with numbers as one writes them: 1, 2, 5 of every decade where there are few decades."""
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 50 * low else (1.0,), numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _auc_axis(axes: Axes, heights: Sequence[float]) -> None:
    def forward(auc: Array) -> Array:
        return np.arcsinh((np.asarray(auc) - 0.5) / LINEAR)

    def back(height: Array) -> Array:
        return 0.5 + LINEAR * np.sinh(height)

    axes.set_yscale("function", functions=(forward, back))
    lowest, highest = min([0.48, *heights]), max([0.56, *heights])
    axes.set_ylim(float(back(forward(np.array(lowest)) - 0.25)), float(back(forward(np.array(highest)) + 0.35)))
    axes.yaxis.set_major_locator(FixedLocator(TICKS))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2f}"))


def _styles(group: Group) -> tuple[dict[str, str], dict[str, str]]:
    labels = [p.label for p in group.points]
    return figures.colours(labels), figures.markers(labels)


def _draw_published(part: SubFigure, published: Mapping[str, Sequence[Published]]) -> None:
    """The official points: numbered, with their names beside."""
    part.set_facecolor(GROUND)
    axes = np.asarray(part.subplots(len(published), 3, squeeze=False, width_ratios=(1, 1, 0.75)))
    for row, (dataset, entries) in enumerate(published.items()):
        numbered = {e.name: n for n, e in enumerate((e for e in entries if e.ms is not None), 1)}
        for column, judge in enumerate(OFFICIAL):
            place = axes[row, column]
            _published_panel(place, entries, judge, numbered)
            place.set_title(f"dataset {dataset}, {OFFICIAL[judge]}")
            if row == len(published) - 1:
                place.set_xlabel("ms per shower on the challenge's CPU, batches of 100")
        axes[row, 0].set_ylabel("AUC")
        names = "\n".join(f"{n:2d}  {figures.plain(name)}" for name, n in numbered.items())
        axes[row, 2].axis("off")
        axes[row, 2].text(0.0, 0.98, names, va="top", fontsize=6.6, transform=axes[row, 2].transAxes, linespacing=1.15)
    part.suptitle(f"Other data, other judges, other computers: {CITATION}", fontsize=9)


def _published_panel(axes: Axes, entries: Sequence[Published], judge: str, numbered: Mapping[str, int]) -> None:
    for entry in entries:
        auc, error = entry.auc[judge]
        if entry.ms is None:
            _line(axes, auc, error, f"floor ({FLOOR})", figures.REFERENCE_LINE, "--")
            continue
        ms, spread = entry.ms
        axes.errorbar(ms, auc, error, spread, color=figures.PALETTE[0], marker="o", ms=3.5, ls="none", zorder=3)
        axes.annotate(str(numbered[entry.name]), (ms, auc), xytext=(4, 3), textcoords="offset points", fontsize=6.5)
    costs = [e.ms[0] for e in entries if e.ms is not None]
    _draw_front(axes, published_front(entries, judge), 3 * max(costs))
    _cost_axis(axes, min(costs) / 3, 3 * max(costs))
    axes.set_ylim(0.47, 1.03)
    figures.minor_ticks(axes)
