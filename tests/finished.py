"""Metrics of finished runs, made up: what `understudy pareto` reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def judged(auc: float | None, floor: float = 0.5) -> dict[str, float | None]:
    """A judge's AUC."""
    return {"auc": auc, "error": 0.01, "floor": floor, "floor_error": 0.008}


def comparison(name: str, auc: float | None, **more: Any) -> dict[str, Any]:
    """A candidate; all judges agree."""
    classifier = {key: judged(auc) for key in ("low_level", "high_level", "combined", "neighbour")}
    return {
        "candidate": {"name": name, "events": 100, "sha256": "c"},
        "classifier": {**classifier, "training_events": 100},
        "observables": {},
        "paired": False,
        "floor_paired": False,
        "verdict": "pass",
        "reasons": [],
        **more,
    }


def write_run(
    place: Path,
    auc: float | None,
    ms: float | None,
    minutes: float | None,
    name: str = "flow",
    sha256: str = "reference",
    floor: str = "floor",
    baseline: float | None = 0.6,
    **more: Any,
) -> Path:
    """Write the metrics of a finished run; returns its directory."""
    cost = {
        "timing": {"hardware": "a computer", "threads": 1, "onnx": {"100": ms, "1": 3.0}, "torch": {"100": 2.0}},
        "training": {"minutes": minutes, "device": "cpu", "parameters": 7},
    }
    candidates = {name: comparison(name, auc), f"{name} given total_energy": comparison("given", 0.4)}
    if baseline is not None:
        candidates["library"] = comparison("library", baseline)
    data = (
        comparison(name, auc)
        | cost
        | {
            "format": 1,
            "reference": {"name": "showers.h5", "events": 100, "sha256": sha256},
            "floor_sample": {"name": "floor", "events": 100, "sha256": floor},
            "seed": 1,
            "settings": {"classifier": {"seeds": 3}},
            "candidates": candidates,
        }
    )
    (place / "report").mkdir(parents=True)
    (place / "report" / "metrics.json").write_text(json.dumps(data | more))
    return place
