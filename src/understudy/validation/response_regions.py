r"""The answer of a tracker to single particles: how many are found, and how well their transverse momentum is, in regions.

In a region of $p_T$ and $|\eta|$: the efficiency $\epsilon$, and of what is found the median and the width between the quantiles
of 16 % and 84 % of $p_T'/p_T$. Errors are those of counting: $\sqrt{\epsilon (1 - \epsilon)/n}$, and for a quantile at $q$
$\sqrt{q (1 - q)/n}/f$ with the density $f$ of the sample there, taken from the quantiles around it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from understudy.events import Events
from understudy.schema import Array

FEWEST = 100
"""Particles that a region must hold to be looked at."""
QUANTILES = (0.16, 0.5, 0.84)
STEP = 0.04
"""Half the distance in $q$ over which the density at a quantile is taken."""


@dataclass(frozen=True, eq=False)
class Tracks:
    """Single particles and what is reconstructed of them, all `(n,)`.

    Args:
        pt: true transverse momentum [MeV].
        eta: true pseudorapidity.
        phi: true azimuth [rad].
        found: whether anything is reconstructed.
        ratio: $p_T'/p_T$; NaN where nothing is.
        eta_shift: $\\eta' - \\eta$; likewise.
        phi_shift: $\\phi' - \\phi$ in $[-\\pi, \\pi)$; likewise.
    """

    pt: Array
    eta: Array
    phi: Array
    found: Array
    ratio: Array
    eta_shift: Array
    phi_shift: Array

    @classmethod
    def of(cls, events: Events) -> Tracks:
        """From events with the conditions `pt`, `eta`, `phi` and the response `reconstructed_...`; ValueError of others."""
        wanted = ("pt", "eta", "phi")
        names = [b.name for b in (*events.schema.conditions, *events.schema.response)]
        if missing := [n for n in (*wanted, *(f"reconstructed_{w}" for w in wanted)) if n not in names]:
            raise ValueError(
                f"{events.where}: a detector's response to tracks needs {', '.join(missing)}; found {', '.join(names)}"
            )
        pt, eta, phi = (np.asarray(events[w], np.float64).reshape(-1) for w in wanted)
        found = np.ones(len(pt), bool) if events.mask is None else events.mask
        made = [np.where(found, np.asarray(events[f"reconstructed_{w}"], np.float64).reshape(-1), np.nan) for w in wanted]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(pt > 0, made[0] / pt, np.nan)
        turned = np.mod(made[2] - phi + np.pi, 2 * np.pi) - np.pi
        return cls(pt, eta, phi, found, ratio, made[1] - eta, turned)

    def __getitem__(self, rows: Array | slice) -> Tracks:
        return Tracks(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def __len__(self) -> int:
        return len(self.pt)


@dataclass(frozen=True)
class Region:
    """Bounds of $p_T$ [MeV] and $|\\eta|$; each holds its upper end."""

    pt: tuple[float, float]
    eta: tuple[float, float]

    def inside(self, tracks: Tracks) -> Array:
        """Which tracks lie in it, boolean `(n,)`."""
        size = np.abs(tracks.eta)
        (a, b), (c, d) = self.pt, self.eta
        lowest = size >= 0 if c <= 0 else size > c
        found: Array = (tracks.pt > a) & (tracks.pt <= b) & lowest & (size <= d)
        return found

    @property
    def name(self) -> str:
        """What a table calls it."""
        (a, b), (c, d) = self.pt, self.eta
        energies = f"{a / 1000:g} < pT" + (f" <= {b / 1000:g} GeV" if np.isfinite(b) else " [GeV]")
        return f"{energies}, {c:g} < |eta|" + (f" <= {d:g}" if np.isfinite(d) else "")


def all_regions(pt_edges: Sequence[float], eta_edges: Sequence[float]) -> list[Region]:
    """The regions between edges, and beyond the last ones."""
    pts, etas = ([0.0, *edges, np.inf] for edges in (pt_edges, eta_edges))
    return [Region(p, e) for e in itertools.pairwise(etas) for p in itertools.pairwise(pts)]


def summary(tracks: Tracks) -> dict[str, tuple[float, float]]:
    """`efficiency`, `median` and `width` with their errors; NaN where too few are found."""
    n, found = len(tracks), tracks.ratio[tracks.found & np.isfinite(tracks.ratio)]
    chance = float(tracks.found.mean()) if n else np.nan
    values = {"efficiency": (chance, float(np.sqrt(max(chance * (1 - chance), 1 / max(n, 1)) / max(n, 1))))}
    if len(found) < FEWEST:
        return values | {"median": (np.nan, np.nan), "width": (np.nan, np.nan)}
    q = np.array([[p - STEP, p, p + STEP] for p in QUANTILES])
    at = np.quantile(found, q.ravel()).reshape(3, 3)
    slope = (at[:, 2] - at[:, 0]) / (2 * STEP)  # of the quantile with q: one over the density
    error = slope * np.sqrt(q[:, 1] * (1 - q[:, 1]) / len(found))
    both = float(np.sqrt(error[0] ** 2 + error[2] ** 2 - 2 * 0.16**2 / len(found) * slope[0] * slope[2]))
    return values | {"median": (float(at[1, 1]), float(error[1])), "width": (float(at[2, 1] - at[0, 1]), both)}


def differences(reference: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Differences of two summaries with their errors: of the efficiency absolute, of median and width relative."""
    answer = {}
    for name, (value, error) in other.items():
        base, base_error = reference[name]
        scale = 1.0 if name == "efficiency" else base
        answer[name] = ((value - base) / scale, float(np.hypot(error, base_error)) / scale)
    return answer


def worst(found: Sequence[Mapping[str, tuple[float, float]]]) -> dict[str, float]:
    """The largest absolute differences over regions, and how far they are beyond three standard deviations of counting."""
    answer: dict[str, float] = {}
    for name in ("efficiency", "median", "width"):
        known = [d[name] for d in found if np.isfinite(d[name]).all()]
        answer[name] = max((abs(v) for v, _ in known), default=float("nan"))
        answer[f"{name}_error"] = max(known, key=lambda d: abs(d[0]), default=(0.0, float("nan")))[1]
    return answer


def binned(tracks: Tracks, pt_edges: Array, eta_edges: Array) -> dict[str, tuple[Array, Array]]:
    """Maps of efficiency, median and width with errors over bins of $p_T$ and $\\eta$, each `(len(eta) - 1, len(pt) - 1)`."""
    shape = len(eta_edges) - 1, len(pt_edges) - 1
    across, along = np.digitize(tracks.eta, eta_edges) - 1, np.digitize(tracks.pt, pt_edges) - 1
    inside = (across >= 0) & (across < shape[0]) & (along >= 0) & (along < shape[1])
    cell = np.where(inside, across * shape[1] + along, -1)
    order = np.argsort(cell, kind="stable")
    cuts = np.searchsorted(cell[order], np.arange(shape[0] * shape[1] + 1))
    maps = {name: np.full((2, shape[0] * shape[1]), np.nan) for name in ("efficiency", "median", "width")}
    for k, (start, stop) in enumerate(itertools.pairwise(cuts)):
        if stop - start >= FEWEST:
            for name, pair in summary(tracks[order[start:stop]]).items():
                maps[name][:, k] = pair
    return {name: (m[0].reshape(shape), m[1].reshape(shape)) for name, m in maps.items()}
