"""Figures of the separation of particles: distributions in a grid, maps of AUC differences, correlation matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from understudy.schema import Array
from understudy.validation import figures
from understudy.validation.figures_histograms import histogram
from understudy.validation.tracks import Pair, Tracks, enough

BINS = 40
NOTHING = "#f0f0f0"
SIGMAS = 4.0
"""End of the colour scale of significances."""


def distributions(reference: Tracks, made: Tracks, pair: Pair, edges: tuple[Array, Array], names: tuple[str, str]) -> Figure:
    """A DLL of two species in every cell of a grid: the reference filled, the stand-in as lines; momentum upwards.

    Args:
        reference: its tracks.
        made: the stand-in's.
        pair: species and DLL.
        edges: of momentum [MeV] and pseudorapidity.
        names: what the legend calls reference and stand-in.
    """
    rows, columns = (len(e) - 1 for e in edges)
    cells = reference.cells(edges), made.cells(edges)
    with figures.styled():
        width, height = 2.4 * columns + 0.4, 1.8 * rows + 1.0
        figure = Figure((width, height))
        edge = {"left": 0.2 / width, "right": 1 - 0.2 / width, "bottom": 0.45 / height, "top": 1 - 0.75 / height}
        grid = figure.subplots(rows, columns, squeeze=False, gridspec_kw={**edge, "hspace": 0.42, "wspace": 0.12})
        for k in range(rows * columns):
            axes = grid[rows - 1 - k // columns][k % columns]
            _cell(axes, (reference, cells[0] == k), (made, cells[1] == k), pair, names)
            low, high = edges[0][k // columns] / 1000, edges[0][k // columns + 1] / 1000
            first, last = edges[1][k % columns], edges[1][k % columns + 1]
            axes.set_title(rf"{low:.3g}–{high:.3g} GeV, $\eta$ {first:.2f}–{last:.2f}", fontsize=7)
            axes.tick_params(labelsize=6)
            axes.set_yticks([])
        for axes in grid[-1]:
            axes.set_xlabel(pair.column)
        handles, labels = _legend(grid)
        if handles:
            figure.legend(handles, labels, loc="upper center", ncols=2, fontsize=7)
    return figure


def _legend(grid: Any) -> tuple[list[Any], list[str]]:
    found: tuple[list[Any], list[str]] = max((a.get_legend_handles_labels() for a in grid.ravel()), key=lambda f: len(f[0]))
    return found


def _cell(axes: Axes, reference: tuple[Tracks, Array], made: tuple[Tracks, Array], pair: Pair, names: tuple[str, str]) -> None:
    values = reference[0].dll[pair.column]
    own = [reference[1] & reference[0].species(s) for s in (pair.first, pair.second)]
    known = values[own[0] | own[1]]
    if not all(enough(reference[0].weights[rows]) for rows in own):
        axes.text(0.5, 0.5, "fewer than ten tracks", ha="center", va="center", transform=axes.transAxes, fontsize=7)
        axes.set_facecolor(NOTHING)
        return
    low, high = np.quantile(known, [0.005, 0.995])
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    for k, species in enumerate((pair.first, pair.second)):
        colour = figures.PALETTE[k]
        for (tracks, rows), name, filled in ((reference, names[0], True), (made, names[1], False)):
            chosen = rows & tracks.species(species)
            if not enough(tracks.weights[chosen]):
                continue
            h = histogram(tracks.dll[pair.column][chosen], edges, tracks.weights[chosen])
            y = h.contents / h.defined
            label = figures.shortened(f"{species} ({name})")
            style: dict[str, Any] = {"fill": True, "alpha": 0.3} if filled else {"lw": 1.1}
            axes.stairs(y, edges, color=colour, label=label, **style)


def maps(found: Mapping[str, Any], edges: tuple[Array, Array], pairs: Sequence[Pair]) -> Figure:
    """Differences of AUCs: over their errors in the upper row, absolute in the lower one; empty bins are grey.

    Args:
        found: by pair, what `tracks.compared` gives.
        edges: of momentum [MeV] and pseudorapidity.
        pairs: species and DLLs, a column each.
    """
    largest = max((float(np.nanmax(np.abs(found[p.name]["difference"]), initial=0.0)) for p in pairs), default=0.0) or 1.0
    with figures.styled():
        width = 2.7 * len(pairs) + 1.7
        figure = Figure((width, 5.4))
        edge = {"left": 0.7 / width, "right": 1 - 0.2 / width, "bottom": 0.09, "top": 0.94}
        grid = figure.subplots(2, len(pairs), squeeze=False, gridspec_kw={**edge, "hspace": 0.3, "wspace": 0.28})
        for row, (what, end, label) in enumerate(
            (("significance", SIGMAS, "difference over its error"), ("difference", largest, "difference"))
        ):
            for column, pair in enumerate(pairs):
                axes = grid[row][column]
                mesh = _map(axes, np.asarray(found[pair.name][what], float), edges, end, ".1f" if row == 0 else ".4f")
                if row == 0:
                    axes.set_title(f"{pair.first} and {pair.second}, {pair.column}", fontsize=8)
                axes.set_xlabel(r"$\eta$")
                axes.set_ylabel("momentum [GeV]" if column == 0 else "")
            figure.colorbar(mesh, ax=list(grid[row]), label=label, shrink=0.9)
    return figure


def _map(axes: Axes, values: Array, edges: tuple[Array, Array], end: float, form: str) -> Any:
    axes.set_facecolor(NOTHING)
    momentum, eta = edges[0] / 1000, edges[1]
    mesh = axes.pcolormesh(eta, momentum, np.ma.masked_invalid(values), cmap="RdBu_r", vmin=-end, vmax=end)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda v, _: f"{v:g}")
    axes.yaxis.set_minor_formatter(lambda v, _: "")
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            if np.isfinite(values[i, j]):
                place = 0.5 * (eta[j] + eta[j + 1]), float(np.sqrt(momentum[i] * momentum[i + 1]))
                shade = "white" if abs(values[i, j]) > 0.6 * end else "black"
                axes.text(*place, f"{values[i, j]:{form}}", ha="center", va="center", fontsize=6.5, color=shade)
    return mesh


def correlations(found: Mapping[str, tuple[Array, Array]], columns: Sequence[str], name: str) -> Figure:
    """Correlation matrices of the reference, of the stand-in, and their difference, a row for each species.

    Args:
        found: by species, both matrices `(d, d)`.
        columns: names of the DLLs.
        name: of the stand-in.
    """
    with figures.styled():
        height = 2.7 * len(found) + 0.3
        figure = Figure((9.0, height))
        edge = {"left": 0.07, "right": 0.97, "bottom": 0.5 / height, "top": 1 - 0.25 / height}
        grid = figure.subplots(len(found), 3, squeeze=False, gridspec_kw={**edge, "hspace": 0.45, "wspace": 0.3})
        for row, (species, (first, second)) in zip(grid, found.items(), strict=True):
            largest = float(np.nanmax(np.abs(second - first), initial=0.0)) or 1e-3
            shown = ((first, "reference", 1.0), (second, figures.shortened(name), 1.0), (second - first, "difference", largest))
            for axes, (matrix, words, end) in zip(row, shown, strict=True):
                axes.set_facecolor(NOTHING)
                mesh = axes.imshow(np.ma.masked_invalid(matrix), cmap="RdBu_r", vmin=-end, vmax=end)
                axes.set_xticks(range(len(columns)), columns, rotation=60, fontsize=6.5)
                axes.set_yticks(range(len(columns)), columns, fontsize=6.5)
                axes.set_title(f"{species}s, {words}", fontsize=8)
                figure.colorbar(mesh, ax=axes, shrink=0.8)
    return figure
