"""The response to isolated tracks: its mean, width and tail against their energy (see `validation/hcal_isolated.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from pydantic import PositiveFloat, PositiveInt

from understudy.events import Events
from understudy.registry import register
from understudy.schema import Array
from understudy.validation import figures
from understudy.validation.analyses.base import Analysis, Finding, Samples, agreement
from understudy.validation.analyses.hcal_trigger import binomial
from understudy.validation.curve import FEWEST, Curve
from understudy.validation.figures_curves import curve_figure
from understudy.validation.figures_histograms import draw_contents, draw_key, histogram
from understudy.validation.hcal_isolated import REGIONS, IsolatedTracks, isolated_tracks, track_images

LABELS = {"mean": "mean response", "width": "width of the response", "tail": "fraction of tracks in the tail"}
LARGEST = 2.5
"""Ratio at the end of the histograms' axis."""


@register("analyses", "hcal-isolated-tracks")
class HcalIsolatedTracks(Analysis):
    """Transverse energy of the 3 x 3 cells around an isolated track over that of the track, in both regions.

    Args:
        least: transverse energy of a track that is looked at [MeV].
        bins: of the tracks' transverse energy, with equal numbers of reference tracks.
        tail: ratio above which a track counts as answered too much.
        least_p: p-value of a curve below which the verdict is `fail`; None leaves the verdict alone.
    """

    def __init__(
        self,
        least: PositiveFloat = 500.0,
        bins: PositiveInt = 6,
        tail: PositiveFloat = 1.25,
        least_p: PositiveFloat | None = None,
    ) -> None:
        self.least, self.bins, self.tail, self.least_p = least, bins, tail, least_p

    def __call__(self, samples: Samples) -> Sequence[Finding]:
        """One finding; ValueError if the reference does not say its tracks."""
        reference = self._seen(samples.reference)
        floor = self._seen(samples.floor)
        if reference is None or floor is None:
            raise ValueError(
                "hcal-isolated-tracks needs events with the condition or aux 'tracker_image' or 'tracks';"
                " take a reference of whole events"
            )
        seen = {name: found for name, events in samples.candidates.items() if (found := self._seen(events)) is not None}
        filled = [region for region in REGIONS if len(reference[region].et) >= 2 * FEWEST * self.bins]
        edges = {region: _edges(reference[region].et, self.bins) for region in filled}
        base = self._curves(reference, edges, samples.reference)
        second = self._curves(floor, edges, samples.floor)
        own = {name: self._curves(tracks, edges, samples.candidates[name]) for name, tracks in seen.items()}
        entries = {name: {key: agreement(base[key], second[key], curves[key]) for key in base} for name, curves in own.items()}
        numbers = {name: {r: _numbers(tracks[r], reference[r], floor[r]) for r in filled} for name, tracks in seen.items()}
        pictures = [
            figures.svg(
                curve_figure((samples.reference_name, curve), {name: curves[key] for name, curves in own.items()}),
                f"{curve.label} against the track's transverse energy, {key.rsplit('_', 1)[1]} region; below, pulls",
            )
            for key, curve in base.items()
        ]
        if filled:
            drawn = _figure(samples.reference_name, {samples.reference_name: reference, **seen}, filled)
            pictures.insert(0, figures.svg(drawn, "Response to isolated tracks over their transverse energy, by region"))
        text = (
            "Transverse energy of the 3 x 3 real cells around a track over that of the track, for tracks of at least"
            f" {self.least:g} MeV that within 7 x 7 cells have no tenth of their energy beside them. A shower that is shared"
            " wrongly between its cells is too wide here, even where every cell by itself and the sum over the image are right."
            f" The tail holds tracks with more than {self.tail:g} of their energy. Samples at the same tracks are taken as"
            f" independent. Histograms are fractions of all tracks; ratios above {LARGEST:g} lie beyond their axis."
        )
        reasons = {name: self._reasons(found) for name, found in entries.items()}
        return [Finding("Isolated tracks in the HCAL", text, numbers, entries, _table(numbers), pictures, reasons)]

    def _reasons(self, entries: Mapping[str, Mapping[str, Any]]) -> list[str]:
        low = {k: e["p_value"] for k, e in entries.items() if self.least_p is not None and e["p_value"] < self.least_p}
        parts = {key: key.split("_")[1:] for key in low}
        return [
            f"the {parts[key][0]} of the response to isolated tracks ({parts[key][1]} region) has a p-value of {p:.2g},"
            f" below {self.least_p:g}"
            for key, p in low.items()
        ]

    def _seen(self, events: Events) -> dict[str, IsolatedTracks] | None:
        tracks = track_images(events)
        return None if tracks is None else isolated_tracks(events, tracks, self.least)

    def _curves(self, seen: dict[str, IsolatedTracks], edges: dict[str, Array], events: Events) -> dict[str, Curve]:
        """Mean, width and tail of each region by `<quantity>_<region>`."""
        found = {}
        for region, own in edges.items():
            tracks = seen[region]
            weights = np.ones(len(tracks.et)) if events.weights is None else np.asarray(events.weights, float)[tracks.event]
            tail = binomial(tracks.et, tracks.ratio > self.tail, own, weights)[:2]
            mean, width = _moments(tracks, own, weights)
            for name, (y, error) in {"mean": mean, "width": width, "tail": tail}.items():
                key, label = f"isolated_{name}_{region}", f"{LABELS[name]} ({region})"
                found[key] = Curve(key, own, y, error, "", label, r"$E_T$ of the track", "MeV")
        return found


def _edges(et: Array, bins: int) -> Array:
    """Edges with equal numbers of tracks between them; the outermost bins take what lies beyond."""
    edges = np.quantile(et, np.linspace(0, 1, bins + 1))
    edges[-1] = max(float(np.quantile(et, 0.995)), 1.2 * edges[-2])
    return np.unique(edges)


def _moments(tracks: IsolatedTracks, edges: Array, weights: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Mean and standard deviation of the ratio in each bin, each with its error."""
    member = np.digitize(tracks.et, edges[1:-1])
    found = np.full((4, len(edges) - 1), np.nan)
    for k in range(len(edges) - 1):
        r, w = tracks.ratio[member == k], weights[member == k]
        total, squares = w.sum(), (w**2).sum()
        if total <= 0 or total**2 < FEWEST * squares:
            continue
        n = total**2 / squares
        mean = w @ r / total
        second, fourth = w @ (r - mean) ** 2 / total, w @ (r - mean) ** 4 / total
        if second <= 0:
            continue
        found[:, k] = mean, np.sqrt(second / n), np.sqrt(second), np.sqrt(max(fourth - second**2, 0.0) / n / second) / 2
    return (found[0], found[1]), (found[2], found[3])


def _numbers(tracks: IsolatedTracks, reference: IsolatedTracks, floor: IsolatedTracks) -> dict[str, Any]:
    """Mean and width over all energies, of the candidate, the reference and the floor; the number of tracks."""
    found: dict[str, Any] = {}
    for name, sample in (("candidate", tracks), ("reference", reference), ("floor", floor)):
        r = sample.ratio
        mean, spread = (float(r.mean()), float(r.std())) if len(r) else (float("nan"), float("nan"))
        found[name] = {"tracks": len(r), "mean": mean, "mean_error": spread / max(len(r), 1) ** 0.5, "width": spread}
    return found


def _table(numbers: dict[str, dict[str, Any]]) -> list[dict[str, str]]:
    def said(n: dict[str, float]) -> str:
        return f"{n['mean']:.3f} ± {n['mean_error']:.3f}, {n['width']:.3f}"

    return [
        {
            "candidate": name,
            "region": region,
            "isolated tracks": f"{n['candidate']['tracks']:,}",
            "mean, width": said(n["candidate"]),
            "of the reference": said(n["reference"]),
            "floor": said(n["floor"]),
        }
        for name, regions in numbers.items()
        for region, n in regions.items()
    ]


def _figure(name: str, samples: dict[str, dict[str, IsolatedTracks]], regions: Sequence[str]) -> Figure:
    """Histograms of the ratio, one region beside the other."""
    with figures.styled():
        figure = Figure((3.4 * len(regions), 3.1))
        for i, region in enumerate(regions):
            axes = figure.add_subplot(1, len(regions), i + 1)
            edges = np.linspace(0, LARGEST, 51)
            draw_contents(axes, {key: histogram(tracks[region].ratio, edges) for key, tracks in samples.items()}, 1.0)
            axes.set_ylabel("fraction of tracks")
            axes.set_xlabel(rf"$\sum_{{3 \times 3}} E_T\, /\, E_T$ of the track ({region})")
        figure.tight_layout(rect=(0, 0, 1, 0.88))
        draw_key(figure, name, [key for key in samples if key != name], loc="upper center")
    return figure
