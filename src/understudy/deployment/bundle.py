"""The bundle: all that an experiment needs to run a stand-in, and to know what it is.

`bundle/` holds the ONNX graphs, `weights.safetensors`, `recipe.yaml`, `metrics.json`, `card.md` and `manifest.json` (the sha256
of each file, versions, seed, schema, geometry and training domain). Loading one checks every checksum and executes
nothing from it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from understudy import seeds
from understudy.build import build_surrogate
from understudy.conditions import together
from understudy.deployment.card import card
from understudy.deployment.export import Graph
from understudy.deployment.parity import check_parity
from understudy.deployment.pipeline import Pipeline, export_pipeline
from understudy.deployment.runtime import OnnxSurrogate, Session
from understudy.domain import Domain
from understudy.events import Events
from understudy.files import atomic_directory, atomic_path, sha256, write_json, write_text
from understudy.geometry import Calorimeter
from understudy.needs import bundle_of, pin
from understudy.recipe import Recipe
from understudy.rundir import MANIFEST, read_json, read_manifest
from understudy.schema import Schema
from understudy.surrogate import Surrogate
from understudy.versions import versions

WEIGHTS = "weights.safetensors"
TRAINED = "surrogate.safetensors"
ASKED = "conditions.safetensors"
"""Training conditions beside a trained surrogate, at which its graphs are compared with it."""
COMPARED = 2000
"""Events whose answers are compared."""
NEEDS = "needs"
"""Folder of a bundle, or of a run, with what it needs: a bundle is whole without the runs that it was made from."""


def write_bundle(
    directory: Path,
    surrogate: Surrogate,
    recipe: Recipe,
    graphs: Sequence[Graph],
    metrics: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    asked: Events | None = None,
) -> Path:
    """Write a bundle, after checking that the graphs give what torch gives.

    Args:
        directory: where; replaced whole if it exists.
        surrogate: the trained chain.
        recipe: what it was trained with.
        graphs: its exported graphs.
        metrics: the validation's metrics, if there was one.
        data: `name` and `sha256` of the events that it was trained on. A run that needs it is then refused on other ones.
        asked: events at whose given conditions graphs and torch are compared, `COMPARED` of them; drawn uniformly over the domain
            if None, where a momentum, say, may belong to no energy that was ever seen.

    Raises:
        ParityError: the exported graph differs from torch.
    """
    generator = seeds.generator(recipe.seed, "parity")
    conditions = _drawn(surrogate, COMPARED, generator) if asked is None else compared(asked)
    parity = check_parity(surrogate, Session(graphs[0].path), conditions, generator)
    with atomic_directory(directory) as partial:
        for graph in graphs:
            shutil.copyfile(graph.path, partial / graph.path.name)
        save_weights(surrogate, partial / WEIGHTS)
        write_text(partial / "recipe.yaml", recipe.to_yaml())
        write_json(partial / "metrics.json", dict(metrics or {}))
        if recipe.propagate is not None:
            export_pipeline(Pipeline(load_needs(recipe)[recipe.propagate.need], surrogate), partial)
        for name, need in recipe.needs.items():
            shutil.copytree(bundle_of(need), partial / NEEDS / name)
        write_text(partial / "card.md", card(recipe, surrogate, metrics, parity))
        manifest = {
            "format": 1,
            "kind": "bundle",
            "name": recipe.name,
            "fingerprint": recipe.fingerprint,
            "seed": recipe.seed,
            "versions": versions(),
            "graphs": [g.to_dict() for g in graphs],
            "noise_size": surrogate.noise_size,
            "parity": parity.to_dict(),
            "data": dict(data or {}),
            **description(surrogate),
            "files": {p.name: sha256(p) for p in sorted(partial.iterdir()) if p.is_file()},
        }
        write_json(partial / MANIFEST, manifest)
    return directory


def compared(events: Events) -> Events:
    """The given conditions of `COMPARED` events, evenly spaced; of fewer ones again and again, with other noise.

    Where responses are wide there are fewer: all of them pass through the networks at once.
    """
    names = [b.name for b in events.schema.given]
    n = together(events.schema.response_width, COMPARED)
    rows = np.linspace(0, len(events) - 1, n).round().astype(int) if len(events) > n else np.arange(n)
    return Events(Schema(events.schema.given), {name: events.conditions[name][rows % len(events)] for name in names})


def _drawn(surrogate: Surrogate, n: int, generator: np.random.Generator) -> Events:
    """`n` conditions uniform over the trained domain."""
    schema, drawn = Schema(surrogate.schema.given), surrogate.domain.draw(n, generator)
    whole = {b.name for b in schema.conditions if b.kind == "categorical"}
    shaped = {b.name: drawn[b.name].reshape(n, *b.shape) for b in schema.conditions}
    return Events(schema, {name: np.rint(v) if name in whole else v for name, v in shaped.items()})


def description(surrogate: Surrogate) -> dict[str, Any]:
    """Schema, geometry and domain as plain data; with a recipe, all that rebuilds the untrained surrogate."""
    geometry = None if surrogate.geometry is None else surrogate.geometry.to_dict()
    return {"schema": surrogate.schema.to_dict(), "geometry": geometry, "domain": surrogate.domain.to_dict()}


def save_weights(surrogate: Surrogate, path: Path) -> None:
    """All weights and fitted constants as safetensors."""
    save_file({k: v.detach().cpu().contiguous().clone() for k, v in surrogate.state_dict().items()}, path)


def rebuild(folder: Path, manifest: Mapping[str, Any], weights: Path) -> Surrogate:
    """The torch surrogate from a folder's recipe and weights, and a manifest's description."""
    geometry = None if manifest["geometry"] is None else Calorimeter.from_dict(manifest["geometry"])
    recipe = Recipe.load(folder / "recipe.yaml")
    schema, domain = Schema.from_dict(manifest["schema"]), Domain.from_dict(manifest["domain"])
    surrogate = build_surrogate(recipe, schema, geometry, domain, needs=load_needs(recipe, folder))
    surrogate.load_state_dict(load_file(weights))
    return surrogate.eval()


def write_trained(folder: Path, surrogate: Surrogate, training: Mapping[str, Any], events: Events) -> None:
    """Keep a trained surrogate and some training conditions among a run's checkpoints, so that it can be exported later."""
    with atomic_path(folder / TRAINED) as partial:
        save_weights(surrogate, partial)
    with atomic_path(folder / ASKED) as partial:
        save_file({k: torch.tensor(np.asarray(v)) for k, v in compared(events).conditions.items()}, partial)
    write_json(
        folder / "surrogate.json", {**description(surrogate), "sha256": sha256(folder / TRAINED), "training": dict(training)}
    )


def read_trained(run: Path) -> tuple[Surrogate, Recipe, dict[str, Any] | None]:
    """A run's trained surrogate, its recipe, and its metrics where it was validated.

    Raises:
        FileNotFoundError: the run has not been trained to the end.
        ValueError: the weights are damaged.
    """
    note = run / "checkpoints" / "surrogate.json"
    if not note.is_file():
        raise FileNotFoundError(f"{run} holds no trained surrogate; train it with 'understudy run' or 'understudy train' first")
    manifest = read_json(note)
    weights = note.with_name(TRAINED)
    if not weights.is_file() or sha256(weights) != manifest.get("sha256"):
        raise ValueError(f"{weights} is missing or damaged; train again with --resume")
    metrics = run / "report" / "metrics.json"
    judged = read_json(metrics) if metrics.is_file() else None
    return rebuild(run, manifest, weights), Recipe.load(run / "recipe.yaml"), judged


def read_asked(run: Path, surrogate: Surrogate) -> Events | None:
    """The training conditions kept by `write_trained`; None where an earlier version kept none."""
    kept = run / "checkpoints" / ASKED
    if not kept.is_file():
        return None
    found = load_file(kept)
    return Events(Schema(surrogate.schema.given), {name: values.numpy() for name, values in found.items()}, where=str(kept))


def load_bundle(
    path: str | Path, *, engine: Literal["onnx", "torch"] = "onnx", threads: int | None = None
) -> OnnxSurrogate | Surrogate:
    """Load a bundle as a Simulator.

    Args:
        path: the bundle's directory, or a run's directory that holds `bundle/`.
        engine: `onnx` (needs ONNX Runtime alone) or `torch`.
        threads: threads of ONNX Runtime; all cores if None.

    Raises:
        FileNotFoundError: no bundle there.
        ValueError: a file is missing or its checksum differs from the manifest's.
    """
    folder = Path(path)
    if (folder / "bundle" / MANIFEST).is_file():
        folder = folder / "bundle"
    manifest = read_manifest(folder)
    if manifest.get("kind") != "bundle":
        raise ValueError(f"{folder} is a run without a bundle; finish it, or make the bundle with 'understudy export {folder}'")
    verify(folder, manifest)
    if engine == "torch":
        return rebuild(folder, manifest, folder / WEIGHTS)
    sessions = tuple(
        (frozenset(g["inputs"]), (int(g["noise"][0]), int(g["noise"][1])), Session(folder / g["file"], threads))
        for g in manifest["graphs"]
    )
    geometry = None if manifest["geometry"] is None else Calorimeter.from_dict(manifest["geometry"])
    schema, domain = Schema.from_dict(manifest["schema"]), Domain.from_dict(manifest["domain"])
    return OnnxSurrogate(schema, sessions, int(manifest["noise_size"]), domain, geometry, manifest)


def load_needs(recipe: Recipe, folder: Path | None = None) -> dict[str, Surrogate]:
    """The trained stand-ins that a recipe builds on, by name, frozen; errors as of `needs.pin` and `load_bundle`.

    Args:
        recipe: its needs fulfilled.
        folder: of a bundle or run, which may hold them itself.
    """
    kept = {name: folder / NEEDS / name for name in recipe.needs if folder is not None and (folder / NEEDS / name).is_dir()}
    needs = {n: need.model_copy(update={"run": str(kept[n])}) if n in kept else need for n, need in recipe.needs.items()}
    found = pin(recipe.model_copy(update={"needs": needs}))
    loaded = {name: load_bundle(bundle_of(need), engine="torch") for name, need in found.needs.items()}
    return {name: s.requires_grad_(False) for name, s in loaded.items() if isinstance(s, Surrogate)}


def verify(folder: Path, manifest: Mapping[str, Any]) -> None:
    """ValueError unless every file that the manifest names is there with its checksum."""
    needed = [WEIGHTS, "recipe.yaml", *(g["file"] for g in manifest["graphs"])]
    if unlisted := [name for name in needed if name not in manifest["files"]]:
        raise ValueError(f"the manifest of bundle {folder} has no checksum of {', '.join(unlisted)}; export it again")
    for name, expected in manifest["files"].items():
        file = folder / name
        if file.name != name or not file.is_file():
            raise ValueError(f"bundle {folder} lacks {name}; copy or export it again")
        if sha256(file) != expected:
            raise ValueError(
                f"bundle {folder}: {name} differs from its checksum in the manifest: it was changed or damaged; export again"
            )
