"""How much the numbers of a report move from training to training: a recipe run with several seeds.

    python benchmarks/seed_study.py delphes-electron [--seeds 5] [--out runs/seeds] [--events N] [--same-events] [--all]

Every number of `metrics.json` that has a value is tabulated: its mean over the runs, their standard deviation, the smallest and
the largest, and the mean of its floor where it has one. `--same-events` leaves the reference events and their split as they are, so
that the trainings alone differ. Runs that are there already are used again. The table is written to `OUT/spread.json` as well.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from understudy.console import Console
from understudy.files import write_json
from understudy.journey import run
from understudy.recipe import Recipe

SHOWN = ("classifier", "observables", "analyses", "scale", "timing", "training")
"""Parts of a candidate's metrics that are printed without `--all`."""


def numbers(part: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Every number of plain data with its dotted path; lists are left out."""
    if isinstance(part, Mapping):
        for key, value in part.items():
            yield from numbers(value, f"{path}.{key}" if path else str(key))
    elif isinstance(part, int | float) and not isinstance(part, bool):
        yield path, float(part)


def of_run(recipe: str, seed: int, place: Path, events: int | None, same_events: bool) -> dict[str, float]:
    """The numbers of one run, which is done unless it is there."""
    report = place / "report" / "metrics.json"
    if not report.is_file():
        words = Recipe.load(recipe)
        if same_events:
            words = words.model_copy(update={"split": words.split.model_copy(update={"seed": words.seed})})
        kept = {"data": place.parent / "1" / "reference.h5"} if same_events and seed > 1 else {"events": events}
        run(words, seed=seed, out=place, overwrite=True, console=Console(), **kept)  # type: ignore[arg-type]
    found = json.loads(report.read_text(encoding="utf-8"))
    mine = found["candidates"][next(iter(found["candidates"]))] if "candidates" in found else found
    return dict(numbers(mine))


def spread(runs: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean, standard deviation, smallest and largest of every number that all runs have."""
    common = [k for k in runs[0] if all(k in r for r in runs)]
    table = {}
    for key in common:
        values = np.array([r[key] for r in runs])
        if np.isfinite(values).all():
            sigma = float(values.std(ddof=1)) if len(values) > 1 else 0.0
            table[key] = {"mean": float(values.mean()), "sigma": sigma, "min": float(values.min()), "max": float(values.max())}
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/seeds"))
    parser.add_argument("--events", type=int)
    parser.add_argument("--same-events", action="store_true")
    parser.add_argument("--all", action="store_true", help="print every number")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    found = [
        of_run(options.recipe, seed, options.out / str(seed), options.events, options.same_events)
        for seed in range(1, options.seeds + 1)
    ]
    table = spread(found)
    write_json(options.out / "spread.json", table)
    print(f"{'':64} {'mean':>11} {'sigma':>10} {'smallest':>11} {'largest':>11}   floor   ({options.seeds} trainings)")
    for key, row in table.items():
        if key.endswith(("floor", "error", "floor_error")) or not (options.all or key.startswith(SHOWN)):
            continue
        base = key.removesuffix(".value").removesuffix(".auc")
        floor = table.get(f"{base}.floor", {}).get("mean")
        print(
            f"{key[-64:]:64} {row['mean']:11.5g} {row['sigma']:10.2g} {row['min']:11.5g} {row['max']:11.5g}"
            + ("" if floor is None else f"   {floor:.4g}")
        )


if __name__ == "__main__":
    main()
