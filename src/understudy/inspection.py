"""What a file of events, a bundle or a run holds, as tables of plain rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from understudy import storage
from understudy.inspection_table import describe_table, draft
from understudy.inspection_table import trees as tree_names
from understudy.rundir import MANIFEST, read_json, read_manifest
from understudy.schema import Block
from understudy.storage.images import is_images
from understudy.storage.tables import FORMATS

Tables = dict[str, list[dict[str, Any]]]


def describe(path: Path) -> Tables:
    """Tables by title that say what `path` holds.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: neither a file of events, nor a bundle, nor a run.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; check the path")
    if path.is_file() or is_images(path):
        return describe_file(path)
    manifest = read_manifest(path)
    return describe_bundle(path, manifest) if manifest.get("kind") == "bundle" else describe_run(path, manifest)


def describe_file(path: Path) -> Tables:
    """Blocks of a file of events, or columns of a table.

    Raises:
        ValueError: neither, or damaged.
    """
    if path.suffix.lower() not in FORMATS:
        return describe_events(path)
    try:
        return describe_events(path)
    except ValueError as error:
        try:
            return dict(describe_table(path, tree) for tree in tree_names(path))
        except ValueError:
            if path.suffix.lower() in (".h5", ".hdf5"):
                raise error from None
            raise


def drafts(path: Path) -> str:
    """What a recipe may say of a table that is no file of events: YAML, one document per tree; empty for everything else."""
    if not path.is_file() or path.suffix.lower() not in FORMATS:
        return ""
    try:
        with storage.reader(path):
            return ""
    except ValueError:
        return "---\n".join(text for tree in tree_names(path) if (text := draft(path, tree)))


def describe_events(path: Path, look_at: int = 20_000) -> Tables:
    """Blocks of a file of events with their units and ranges, and its geometry."""
    with storage.reader(path) as file:
        events, geometry, total = file.read(0, min(len(file), look_at)), file.geometry, len(file)
    rows = []
    for part in ("conditions", "response", "aux"):
        for block in getattr(events.schema, part):
            rows.append({"block": block.name, "role": part, **_range(block, getattr(events, part)[block.name])})
    if events.weights is not None:
        rows.append(
            {
                "block": "weights",
                "role": "weights",
                "from": float(events.weights.min()),
                "mean": float(events.weights.mean()),
                "to": float(events.weights.max()),
                "negative": f"{np.mean(events.weights < 0):.1%}",
            }
        )
    seen = f"{total:,} events" + (f", ranges of the first {look_at:,}" if total > look_at else "")
    tables: Tables = {f"{path.name}: {seen}": rows}
    if geometry is not None:
        tables[f"geometry {geometry.name}: {geometry.n_cells} cells"] = [
            {"layer": x.name, **{a: f"{n} cells" for a, n in zip(x.axes, x.shape, strict=True)}} for x in geometry.layers
        ]
    return tables


def _range(block: Block, values: Any) -> dict[str, Any]:
    shape = " ".join(block.columns) or " x ".join(map(str, block.shape)) or "1"
    row: dict[str, Any] = {"per event": shape if block.kind == "continuous" else f"{shape} ({block.kind})", "unit": block.unit}
    if block.kind == "jagged":
        return row
    array = np.asarray(values)
    ends = {"from": float(array.min()), "mean": float(array.mean()), "to": float(array.max())}
    return {**row, **ends, "negative": f"{np.mean(array < 0):.1%}"}


def describe_run(path: Path, manifest: Mapping[str, Any]) -> Tables:
    """A run: its recipe, state, training and verdict."""
    rows = [
        {"what": "recipe", "is": manifest["recipe"]},
        {"what": "seed", "is": manifest["seed"]},
        {"what": "state", "is": "finished" if manifest["finished"] else "not finished; continue it with --resume"},
        {"what": "hardware", "is": manifest["hardware"]},
    ]
    if "training" in manifest:
        facts = manifest["training"]
        rows.append(
            {"what": "training", "is": f"{facts['minutes']:.1f} min on {facts['device']}, {facts['parameters']:,} parameters"}
        )
    metrics = path / "report" / "metrics.json"
    if metrics.is_file():
        rows.append({"what": "verdict", "is": read_json(metrics).get("verdict")})
    return {f"run {path}": rows}


def describe_bundle(path: Path, manifest: Mapping[str, Any]) -> Tables:
    """A bundle: what it takes, the trained range, and its graphs."""
    blocks = {b["name"]: b for b in manifest["schema"]["conditions"]}
    domain = manifest["domain"]
    rows = []
    for name, low in domain["low"].items():
        columns = blocks[name]["columns"] or [""] * len(low)
        for column, a, b in zip(columns, low, domain["high"][name], strict=True):
            rows.append({"condition": f"{name} {column}".strip(), "unit": domain["units"][name], "trained from": a, "to": b})
    graphs = [{"graph": g["file"], "takes": ", ".join(["noise", *g["inputs"]])} for g in manifest["graphs"]]
    return {f"bundle {path}: {manifest['name']}, seed {manifest['seed']}": rows, f"{MANIFEST}: graphs": graphs}
