"""Curves against the energy or the depth, with the pulls of the candidates below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from understudy.schema import Array
from understudy.validation import figures
from understudy.validation.curves import Curve, pulls
from understudy.validation.figures_histograms import draw_key
from understudy.validation.resolution_fit import ResolutionFit


def curve_figure(
    reference: tuple[str, Curve],
    candidates: Mapping[str, Curve],
    size: tuple[float, float] = (3.5, 3.5),
    fits: Mapping[str, ResolutionFit] | None = None,
) -> Figure:
    """Draw a curve of the reference and of all candidates, and the pulls.

    Args:
        reference: its name and curve.
        candidates: the same curve of each candidate by name.
        size: width and height in inches.
        fits: functions fitted to the curves by the sample's name, drawn as lines with their parameters.

    Raises:
        ValueError: the curves have different bins.
    """
    name, curve = reference
    with figures.styled():
        figure = Figure(size)
        top = figure.add_axes((0.185, 0.395, 0.77, 0.475))
        below = figure.add_axes((0.185, 0.14, 0.77, 0.24), sharex=top)
        draw_curves(top, name, curve, candidates)
        draw_fits(top, name, curve, fits or {}, figures.colours(candidates))
        _draw_pulls(below, curve, candidates)
        top.tick_params(labelbottom=False)
        label_energy_axis(below, curve)
        figures.minor_ticks(top)
        figures.minor_ticks(below)
        if curve.ticks:
            for axes in (top, below):
                axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
        figure.align_ylabels([top, below])
        draw_key(figure, name, list(candidates), loc="upper center", fontsize=7.5, length=21, columns=2)
    return figure


def draw_curves(axes: Axes, name: str, curve: Curve, candidates: Mapping[str, Curve]) -> None:
    """Reference as grey steps with its error as a band, candidates as points with errors."""
    scale, unit = _y_scale(curve)
    edges = _shown_edges(curve)
    band_low, band_high = (curve.y - curve.error) * scale, (curve.y + curve.error) * scale
    axes.stairs(band_high, edges, baseline=band_low, fill=True, color=figures.BAND, lw=0)
    for low, high, y in zip(edges[:-1], edges[1:], curve.y * scale, strict=True):
        axes.plot([low, high], [y, y], color=figures.REFERENCE_LINE, lw=1.0)
    axes.plot([], [], color=figures.REFERENCE_LINE, lw=1.0, label=figures.shortened(name))
    colour, shape = figures.colours(candidates), figures.markers(candidates)
    for i, (key, other) in enumerate(candidates.items()):
        x, y, error = _positions(curve, i, len(candidates)), other.y * scale, other.error * scale
        figures.bars(axes, x, y - error, y + error, color=colour[key], lw=0.9)
        axes.plot(x, y, ls="none", marker=shape[key], ms=3.2, color=colour[key], label=figures.shortened(key))
    if _logarithmic(curve):
        axes.set_xscale("log")
    axes.set_xlim(edges[0], edges[-1])
    axes.margins(y=0.12)
    _scale_vertically(axes, [curve, *candidates.values()], scale)
    axes.set_ylabel(figures.with_unit(curve.label, unit))


def draw_fits(axes: Axes, name: str, curve: Curve, fits: Mapping[str, ResolutionFit], colours: Mapping[str, str]) -> None:
    """Fitted functions as dashed lines over the whole axis, their parameters in the upper right corner."""
    x = (
        np.geomspace(curve.edges[0], curve.edges[-1], 100)
        if _logarithmic(curve)
        else np.linspace(curve.edges[0], curve.edges[-1], 100)
    )
    shown = x * _x_scale(curve)[0]
    for row, (key, fit) in enumerate(fits.items()):
        colour = figures.REFERENCE_LINE if key == name else colours[key]
        axes.plot(shown, fit(x), ls="--", lw=0.9, color=colour)
        place = (0.97, 0.95 - 0.095 * row)
        axes.text(*place, fit.formula(), transform=axes.transAxes, ha="right", va="top", fontsize=7.5, color=colour)


def _scale_vertically(axes: Axes, curves: Sequence[Curve], scale: float) -> None:
    """A logarithmic axis over the values above zero, where the curve asks for one."""
    y = np.concatenate([c.y for c in curves]) * scale
    above = y[np.isfinite(y) & (y > 0)]
    if curves[0].logarithmic and len(above):
        axes.set_yscale("log")
        axes.set_ylim(0.5 * float(above.min()), 3.0 * float(above.max()))
        axes.yaxis.set_major_locator(mpl.ticker.LogLocator(numticks=6))
        axes.yaxis.set_minor_formatter(mpl.ticker.NullFormatter())


def label_energy_axis(axes: Axes, curve: Curve) -> None:
    """Label the horizontal axis: energies in GeV as plain numbers, or the names of the bins."""
    scale, unit = _x_scale(curve)
    axes.set_xlabel(figures.with_unit(curve.x_label, unit))
    if curve.ticks:
        centres = 0.5 * (curve.edges[1:] + curve.edges[:-1])
        some = slice(None, None, max(1, -(-len(curve.ticks) // 5)))
        axes.set_xticks(centres[some] * scale, [figures.shortened(t, 11) for t in curve.ticks[some]])
    elif _wide(curve):
        axes.xaxis.set_major_locator(mpl.ticker.LogLocator(numticks=8))
        axes.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    elif _logarithmic(curve):
        axes.xaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
        axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())


def _draw_pulls(axes: Axes, curve: Curve, candidates: Mapping[str, Curve]) -> None:
    """Pulls with bands of one and two standard deviations; those beyond five are arrows at the border."""
    edges = _shown_edges(curve)
    for sigma, shade in ((2, "#ececec"), (1, figures.REFERENCE_FILL)):
        axes.axhspan(-sigma, sigma, color=shade, lw=0)
    axes.axhline(0.0, color=figures.REFERENCE_LINE, lw=0.7)
    colour, shape = figures.colours(candidates), figures.markers(candidates)
    for i, (key, other) in enumerate(candidates.items()):
        pull, x = pulls(curve, other), _positions(curve, i, len(candidates))
        inside = np.abs(pull) <= 5
        axes.plot(x[inside], pull[inside], ls="none", marker=shape[key], ms=3, color=colour[key])
        for beyond, at, arrow in ((pull > 5, 5, "^"), (pull < -5, -5, "v")):
            axes.plot(
                x[beyond], np.full(int(beyond.sum()), at), ls="none", marker=arrow, ms=4.5, color=colour[key], clip_on=False
            )
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(-5, 5)
    axes.set_yticks([-4, -2, 0, 2, 4])
    axes.set_ylabel("pull")


def _y_scale(curve: Curve) -> tuple[float, str]:
    defined = curve.y[np.isfinite(curve.y)]
    return figures.in_display_unit(curve.unit, float(np.abs(defined).max(initial=0.0)))


def _x_scale(curve: Curve) -> tuple[float, str]:
    return (1.0, curve.x_unit) if _wide(curve) else figures.in_display_unit(curve.x_unit, float(np.abs(curve.edges).max()))


def _logarithmic(curve: Curve) -> bool:
    """Whether the bins grow in geometric steps over more than a decade."""
    if curve.ticks or curve.edges[0] <= 0 or curve.edges[-1] <= 10 * curve.edges[0]:
        return False
    steps = np.diff(np.log(curve.edges))
    return bool(np.allclose(steps, steps[0], rtol=1e-3))


def _wide(curve: Curve) -> bool:
    """Whether the bins span so many decades that only powers of ten can be ticks."""
    return _logarithmic(curve) and bool(curve.edges[-1] > 2000 * curve.edges[0])


def _shown_edges(curve: Curve) -> Array:
    scale, _ = _x_scale(curve)
    return np.asarray(curve.edges * scale)


def _positions(curve: Curve, i: int, n: int) -> Array:
    """Where candidate `i` of `n` is drawn within each bin, so that error bars stay apart."""
    edges = _shown_edges(curve)
    share = (i + 1) / (n + 1)
    if _logarithmic(curve):
        return np.asarray(edges[:-1] ** (1 - share) * edges[1:] ** share)
    return np.asarray(edges[:-1] + share * np.diff(edges))
