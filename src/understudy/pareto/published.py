"""The CaloChallenge's official points, for a panel of their own: other detectors, other judges, other computers.

The numbers and where they come from are in `calochallenge.csv` beside this file (arXiv:2410.21611).
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from understudy.pareto.points import front

FILE = "calochallenge.csv"
CITATION = "C. Krause et al., CaloChallenge 2022, Rep. Prog. Phys. 88 (2025) 116201, arXiv:2410.21611"
NUMBERS = "https://github.com/CaloChallenge/homepage, final_results/reference_creation.ipynb"
FLOOR = "Geant4"
"""What the file calls a second sample of the reference."""
JUDGES = ("low", "high")


@dataclass(frozen=True)
class Published:
    """A submission: AUC with its standard deviation over ten trainings by judge, and ms per shower with theirs (floor: none)."""

    name: str
    auc: dict[str, tuple[float, float]]
    ms: tuple[float, float] | None


def published() -> dict[str, list[Published]]:
    """Submissions by dataset, in the file's order; the second Geant4 sample is among them."""
    text = resources.files("understudy.pareto").joinpath(FILE).read_text(encoding="utf-8")
    found: dict[str, list[Published]] = {}
    for row in csv.DictReader(line for line in text.splitlines() if not line.startswith("#")):
        auc = {judge: (float(row[f"auc_{judge}"]), float(row[f"auc_{judge}_std"])) for judge in JUDGES}
        ms = (float(row["cpu_ms"]), float(row["cpu_ms_std"])) if row["cpu_ms"] else None
        found.setdefault(row["dataset"], []).append(Published(row["submission"], auc, ms))
    return found


def published_front(entries: Sequence[Published], judge: str) -> list[tuple[float, float]]:
    """The front `(ms, auc)` of a dataset's submissions, the fastest first."""
    points = [(e.ms[0], e.auc[judge][0]) for e in entries if e.ms is not None]
    return [points[i] for i in front(points)]
