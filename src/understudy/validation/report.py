"""The outcome of a comparison, written down for tools and for people."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from understudy.files import write_json
from understudy.validation.html import write_report
from understudy.validation.outcome import Outcome


@dataclass(frozen=True, eq=False)
class Report(Outcome):
    """Everything that a comparison found, and how it is written; see `Outcome` for what it holds."""

    def write(self, directory: str | Path) -> Path:
        """Write `metrics.json`, `report.html` and `overview.png` into `directory`; returns the path of the page."""
        folder = Path(directory)
        write_json(folder / "metrics.json", self.metrics)
        return write_report(self, folder, self.history or None)
