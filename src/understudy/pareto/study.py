"""`understudy pareto`: read runs, and write the figure, the page and the table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.files import atomic_path, make_directory, write_text
from understudy.pareto.figures import whole_figure
from understudy.pareto.page import page
from understudy.pareto.points import JUDGES, REPORT, STRONG, Group, Point, groups, on_front
from understudy.pareto.published import published
from understudy.validation import figures
from understudy.validation.html_tables import MISSING, quantity

COSTS = {"ms": "speed", "minutes": "training"}


@dataclass(frozen=True)
class Pareto:
    """What was found.

    Args:
        groups: stand-ins that may be compared with each other.
        judges: short names of the judges that were asked for.
        batch: batch size of the timing.
        engine: that was timed.
        directory: where the files are.
    """

    groups: tuple[Group, ...]
    judges: tuple[str, ...]
    batch: int
    engine: str
    directory: Path

    def rows(self, group: Group) -> list[dict[str, Any]]:
        """A table for the terminal: a row per stand-in, baseline and floor."""
        return summary(group, self.judges)


def pareto(
    runs: Iterable[str | Path],
    *,
    judges: Sequence[str] = tuple(JUDGES),
    batch: int = 100,
    engine: str = "onnx",
    strong: bool = False,
    out: str | Path = "pareto",
) -> Pareto:
    """Compare runs, and write `pareto.html`, `pareto.svg`, `pareto.png` and `pareto.csv`.

    Args:
        runs: directories of finished runs, of reports or of bundles.
        judges: which AUCs: `low`, `high`, `combined`.
        batch: batch size of the timing.
        engine: `onnx` or `torch`.
        strong: use the judges that were trained on the training events, where reports have them.
        out: directory to write into.

    Raises:
        FileNotFoundError: a run does not exist or was not validated.
        ValueError: no runs, an unknown judge, metrics of another format, no run was timed so, or a run has no strong judges.
    """
    chosen = tuple(dict.fromkeys(judges)) or tuple(JUDGES)
    if unknown := [judge for judge in chosen if judge not in JUDGES]:
        raise ValueError(f"there is no judge {unknown[0]!r}; choose among {', '.join(JUDGES)}")
    found = groups(runs, batch, engine, STRONG if strong else REPORT)
    folder = make_directory(Path(out))
    figure = whole_figure(found, chosen, batch, engine, published())
    alt = "AUC against ms per shower and minutes of training"
    for name, picture in (("pareto.svg", figures.svg(figure, alt)), ("pareto.png", figures.png(figure, alt, dpi=130))):
        with atomic_path(folder / name) as partial:
            partial.write_bytes(picture.data)
    tables = [summary(group, chosen) for group in found]
    write_text(folder / "pareto.html", page(found, tables, chosen, batch, engine))
    write_text(folder / "pareto.csv", table(found, batch, engine))
    return Pareto(tuple(found), chosen, batch, engine, folder)


def summary(group: Group, judges: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of text by column; `front` says on which fronts a stand-in is (AUC against speed, against training)."""
    rows = []
    for point in group.points:
        on = {cost: [judge for judge in judges if point in on_front(group, judge, cost)] for cost in COSTS}
        fronts = [
            what if len(on[cost]) == len(judges) else f"{what} ({', '.join(on[cost])})"
            for cost, what in COSTS.items()
            if on[cost]
        ]
        told = {"ms/shower": quantity(point.ms), "train [min]": quantity(point.minutes)}
        rows.append({"stand-in": point.label, **_aucs(point, judges), **told, "front": "; ".join(fronts)})
    empty = {"ms/shower": MISSING, "train [min]": MISSING, "front": ""}
    rows += [{"stand-in": f"{p.label} (baseline)", **_aucs(p, judges), **empty} for p in group.baselines]
    floors = {f"AUC {judge}": quantity(*group.floors[judge]) for judge in judges}
    return [*rows, {"stand-in": "floor", **floors, **empty}]


def _aucs(point: Point, judges: Sequence[str]) -> dict[str, str]:
    return {f"AUC {judge}": quantity(point.judged[judge].auc, point.judged[judge].error, most=4) for judge in judges}


def table(found: Sequence[Group], batch: int, engine: str) -> str:
    """Every number as CSV, a row per stand-in and baseline; an empty cell was not measured."""
    heads = ["reference", "events", "reference_sha256", "floor_sha256", "judges_training_events", "run", "name", "role", "label"]
    for judge in JUDGES:
        heads += [f"auc_{judge}", f"auc_{judge}_error", f"floor_{judge}", f"floor_{judge}_error"]
        heads += [f"front_{judge}_ms", f"front_{judge}_minutes"]
    heads += ["ms_per_shower", "batch", "engine", "hardware", "training_minutes", "parameters", "verdict"]
    text = io.StringIO()
    writer = csv.DictWriter(text, heads, lineterminator="\n")
    writer.writeheader()
    for group in found:
        for role, points in (("stand-in", group.points), ("baseline", group.baselines)):
            writer.writerows(_csv_row(group, point, role, batch, engine) for point in points)
    return text.getvalue()


def _csv_row(group: Group, point: Point, role: str, batch: int, engine: str) -> Mapping[str, Any]:
    row: dict[str, Any] = {
        "reference": group.reference,
        "events": group.events,
        "reference_sha256": group.sha256[0],
        "floor_sha256": group.sha256[1],
        "judges_training_events": group.training_events,
        "run": point.run,
        "name": point.name,
        "role": role,
        "label": point.label,
        "ms_per_shower": _plain(point.ms),
        "batch": batch,
        "engine": engine,
        "hardware": point.hardware,
        "training_minutes": _plain(point.minutes),
        "parameters": "" if point.parameters is None else point.parameters,
        "verdict": point.verdict,
    }
    for judge in JUDGES:
        entry = point.judged[judge]
        names = ("auc", "error", "floor", "floor_error")
        keys = (f"auc_{judge}", f"auc_{judge}_error", f"floor_{judge}", f"floor_{judge}_error")
        row |= {key: _plain(getattr(entry, name)) for key, name in zip(keys, names, strict=True)}
        row |= {f"front_{judge}_{cost}": int(point in on_front(group, judge, cost)) for cost in COSTS}
    return row


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
