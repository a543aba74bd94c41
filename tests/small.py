"""A whole journey in seconds: the quickstart's recipe with little data and next to no training."""

from __future__ import annotations

from typing import Any

from understudy.recipe import Recipe, read_yaml


def small(shipped: str = "quickstart", **changes: Any) -> dict[str, Any]:
    """A shipped recipe as plain data, cut down to seconds."""
    data = dict(read_yaml(shipped))
    data["events"] = 600
    data["reference"] = data["alternatives"]["parametric"] if data["reference"]["kind"] == "file" else data["reference"]
    data["split"] = {"train": 0.5, "validation": 0.2, "test": 0.3}
    for stage in data["stages"]:
        if stage["model"]["kind"] != "library":
            stage["training"] = {"epochs": 2, "batch_size": 50, "score_every": 1}
        for transform in (t for t in stage.get("transforms", []) if t["kind"] == "conditional-marginals"):
            transform.update({"epochs": 2, "layers": 1, "width": 8, "impute": 1})
        for calibration in stage.get("calibration", []):
            calibration["training"] = {"epochs": 1, "batch_size": 100, "score_every": 1}
            if calibration["kind"] == "moments":  # more of them are tested in `calibrations`: large graphs export slowly
                calibration.update({"moments": calibration["moments"][:1], "steps": 1})
        if stage["model"]["kind"] == "flow-matching":
            stage["model"]["steps"] = 1  # the graph holds the network once for each
        if stage["model"].get("warm_up"):
            stage["model"]["warm_up"] = 1
        for network in (stage["model"].get(part) for part in ("generator", "critic", "network", "velocity")):
            if isinstance(network, dict) and "channels" in network:
                network["channels"] = [max(4, c // 16) for c in network["channels"]]
            if isinstance(network, dict) and "widths" in network:
                network["widths"] = [max(4, w // 64) for w in network["widths"]]
    data["validation"] = {
        "replicas": 5,
        "floor_repeats": 2,
        "histograms": 6,  # figures take longer than such a training
        "curves": 4,
        "classifier": {"seeds": 1, "epochs": 2, "iterations": 5},
    }
    return data | changes


def small_recipe(shipped: str = "quickstart", **changes: Any) -> Recipe:
    """The same, checked."""
    return Recipe.from_dict(small(shipped, **changes))
