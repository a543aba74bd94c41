"""Single events as pictures: tracks, reference and candidates on one colour scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from pydantic import PositiveInt

from understudy import hcal_geometry as hcal
from understudy.events import Events
from understudy.registry import register
from understudy.schema import Array
from understudy.validation import figures
from understudy.validation.analyses.base import Analysis, Finding, Samples, answered
from understudy.validation.hcal_images import image

LOWEST = hcal.COUNT / 4
"""Where the colour scale begins [MeV]; pixels below are white."""


@register("analyses", "hcal-gallery")
class HcalGallery(Analysis):
    """Some test events: the tracks' image, single-track propagation where a candidate is one, the reference, and the others.

    Args:
        events: rows of the gallery, evenly spaced in the reference's total transverse energy.
    """

    def __init__(self, events: PositiveInt = 5) -> None:
        self.events = events

    def __call__(self, samples: Samples) -> Sequence[Finding]:
        """One finding."""
        images = image(samples.reference)
        order = np.argsort(images.sum((1, 2)), kind="stable")
        rows = order[np.rint(np.linspace(0.1, 0.95, self.events) * (len(order) - 1)).astype(int)]
        columns = panels(samples, rows)
        text = (
            "Transverse energies on one logarithmic colour scale from 6 MeV; white pixels hold less. The events of a row have"
            " the same tracks; candidates that cannot be asked about them are left out."
        )
        picture = figures.png(gallery_figure(columns), "Events as images: " + ", ".join(columns))
        return [Finding("Gallery of the HCAL", text, pictures=[picture])]


def panels(samples: Samples, rows: Array) -> dict[str, Array]:
    """Images `(len(rows), 52, 64)` by title, in the order of the thesis: tracks, STP, reference, then what refines them."""
    asked = samples.reference[rows]
    own = {}
    for name, events in samples.candidates.items():
        if samples.paired.get(name, False):
            own[name] = image(events)[rows]
        elif name in samples.standins:
            own[name] = image(answered(samples.standins[name], asked, samples.generator("hcal-gallery", name)))
    before = {name: v for name, v in own.items() if "stp" in name.lower()}
    after = {name: v for name, v in own.items() if name not in before}
    if len(own) == len(before):  # the stand-in of single tracks is what is judged, and comes behind its reference
        before, after = {}, own
    tracks = tracker(samples.reference, rows)
    if hcal.STP_IMAGE.name in asked.conditions:
        before = {"STP": np.asarray(asked.conditions[hcal.STP_IMAGE.name]), **before}
    return {
        **({} if tracks is None else {"tracks": tracks}),
        **before,
        samples.reference_name: image(samples.reference)[rows],
        **after,
    }


def tracker(events: Events, rows: Array) -> Array | None:
    """The tracks of `rows` as images; None where the events say neither their image nor their tracks nor a single one."""
    if hcal.TRACKER_IMAGE.name in events.conditions:
        return np.asarray(events.conditions[hcal.TRACKER_IMAGE.name])[rows]
    if hcal.TRACKS.name in events.aux:
        return hcal.tracker_image(events.aux[hcal.TRACKS.name][rows])
    if {"position", "et"} <= set(events.conditions):
        tracks = np.column_stack([np.asarray(events.conditions["position"])[rows], np.asarray(events.conditions["et"])[rows]])
        return hcal.tracker_image(tracks[:, None, :])
    return None


def gallery_figure(columns: Mapping[str, Array]) -> Figure:
    """One row per event, one column per title; ValueError if there is nothing to show."""
    if not columns:
        raise ValueError("a gallery needs at least one column of images")
    rows = len(next(iter(columns.values())))
    highest = max(float(v.max()) for v in columns.values())
    norm = mpl.colors.LogNorm(LOWEST, max(highest, 10 * LOWEST))
    colours = mpl.colormaps["viridis_r"].with_extremes(bad="white", under="white")
    with figures.styled():
        figure = Figure((1.9 * len(columns) + 0.7, 1.6 * rows + 0.25), layout="constrained")
        grid = figure.subplots(rows, len(columns), squeeze=False)
        for j, (title, images) in enumerate(columns.items()):
            for i, axes in enumerate(grid[:, j]):
                shown = axes.imshow(np.ma.masked_less(images[i], LOWEST), origin="lower", norm=norm, cmap=colours)
                axes.set_xticks([])
                axes.set_yticks([])
            grid[0, j].set_title(figures.shortened(title, 22))
        figure.colorbar(shown, ax=grid, label=figures.with_unit("$E_T$", "MeV"), shrink=0.7, pad=0.01)
    return figure
