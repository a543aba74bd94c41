"""The directory of a run: what it holds, whether it may be written, and its manifest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from understudy.files import sha256, write_json, write_text
from understudy.recipe import Recipe
from understudy.versions import hardware, versions

MANIFEST = "manifest.json"
RECIPE = "recipe.yaml"
PRODUCTS = ("recipe.yaml", "manifest.json", "history.json", "samples.h5", "reference.h5", "checkpoints", "report", "bundle")
"""All that a run leaves in its directory."""


@dataclass(frozen=True)
class RunDirectory:
    """A run's place on disk."""

    path: Path
    recipe: Recipe

    @classmethod
    def open(cls, path: str | Path, recipe: Recipe, *, resume: bool = False, overwrite: bool = False) -> RunDirectory:
        """Claim `path` for a run of `recipe` and write the resolved recipe there.

        Raises:
            FileExistsError: another run is there and neither `resume` nor `overwrite` is given.
            NotADirectoryError: `path` is a file.
            ValueError: `resume` with a recipe that differs from the one that the run began with.
        """
        path = Path(path)
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(f"{path} is a file; give a directory for the run with --out")
        present = [name for name in PRODUCTS if (path / name).exists()]
        if present and not (path / RECIPE).exists():
            raise FileExistsError(f"{path} holds {', '.join(present)} but no {RECIPE}, so it is no run; choose another --out")
        if present and resume:
            _require_same(path, recipe)
        elif present and overwrite:
            for name in present:
                _remove(path / name)
        elif present:
            raise FileExistsError(
                f"{path} holds a run already; continue it with --resume, replace it with --overwrite, or choose another --out"
            )
        path.mkdir(parents=True, exist_ok=True)
        write_text(path / RECIPE, recipe.to_yaml())
        place = cls(path, recipe)
        place._write_manifest(finished=False)
        return place

    def write_history(self, history: Mapping[str, Any]) -> None:
        """`history.json`: one list of rows per stage."""
        write_json(self.path / "history.json", dict(history))

    def finish(self, **facts: Any) -> None:
        """Write the manifest of a finished run, with the sha256 of every file."""
        self._write_manifest(finished=True, **facts)

    def _write_manifest(self, *, finished: bool, **facts: Any) -> None:
        files = sorted(p for p in self.path.rglob("*") if p.is_file() and p.name != MANIFEST) if finished else []
        write_json(
            self.path / MANIFEST,
            {
                "format": 1,
                "recipe": self.recipe.name,
                "fingerprint": self.recipe.fingerprint,
                "seed": self.recipe.seed,
                "finished": finished,
                "versions": versions(),
                "hardware": hardware(),
                **facts,
                "files": {str(p.relative_to(self.path)): sha256(p) for p in files},
            },
        )


def _require_same(path: Path, recipe: Recipe) -> None:
    """ValueError unless the run in `path` began with this very recipe; names the keys that differ."""
    before: Any = yaml.safe_load((path / RECIPE).read_text(encoding="utf-8"))
    now = recipe.to_dict()
    if before == now:
        return
    changed = sorted(k for k in {*before, *now} if before.get(k) != now.get(k)) if isinstance(before, dict) else ["everything"]
    raise ValueError(
        f"the recipe has changed since the run in {path} began (in {', '.join(changed)}); resume with the recipe in"
        f" {path / RECIPE}, or start anew with --overwrite or another --out"
    )


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def read_manifest(path: Path) -> dict[str, Any]:
    """A run's or bundle's manifest; ValueError if it is not one."""
    try:
        data = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} holds no {MANIFEST}: it is neither a finished run nor a bundle") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path / MANIFEST} is not a manifest ({error}); the directory is damaged, make it again") from None
    if not isinstance(data, dict) or data.get("format") != 1:
        raise ValueError(f"{path / MANIFEST} is not a manifest of format 1")
    return data
