"""The directory of a run: what it holds, whether it may be written, and its manifest.

A run begins (`RunDirectory.begin`) only when its reference events are there, so that a wrong recipe or a wrong file leaves
whatever was in the directory before.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.files import make_directory, sha256, write_json, write_text
from understudy.recipe import Recipe, read_yaml
from understudy.versions import hardware, versions

MANIFEST = "manifest.json"
RECIPE = "recipe.yaml"
PRODUCTS = (
    "bundle",
    "report",
    "samples.h5",
    "history.json",
    "checkpoints",
    "floor.h5",
    "reference.h5",
    "manifest.json",
    "recipe.yaml",
)
"""All that a run leaves in its directory, in the order in which it is removed: as long as anything is left, it is a run."""
KEYS = {
    "bundle": ("name", "seed", "schema", "geometry", "domain", "graphs", "noise_size", "files"),
    "run": ("recipe", "fingerprint", "seed", "finished", "hardware", "files"),
}
"""What a manifest of each kind must say."""


@dataclass(frozen=True)
class RunDirectory:
    """A run's place on disk.

    Args:
        path: the directory.
        recipe: what is run there.
        replaces: an earlier run in it is removed when this one begins.
        continues: an earlier run of the same recipe in it is continued.
    """

    path: Path
    recipe: Recipe
    replaces: bool = False
    continues: bool = False

    @classmethod
    def open(cls, path: str | Path, recipe: Recipe, *, resume: bool = False, overwrite: bool = False) -> RunDirectory:
        """See that `path` can take a run of `recipe`; nothing in it is changed before `begin`.

        Raises:
            FileExistsError: another run is there and neither `resume` nor `overwrite` is given.
            NotADirectoryError: `path` is a file.
            OSError: the directory cannot be made or written to.
            ValueError: `resume` with a recipe that differs from the one that the run began with, or with `overwrite`.
        """
        path = Path(path)
        if resume and overwrite:
            raise ValueError("a run is either continued or replaced; give --resume or --overwrite, not both")
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(f"{path} is a file; give a directory for the run with --out")
        present = [name for name in PRODUCTS if (path / name).exists()]
        if present and not (path / RECIPE).exists():
            raise FileExistsError(f"{path} holds {', '.join(present)} but no {RECIPE}, so it is no run; choose another --out")
        if present and resume:
            _require_same(path, recipe)
        elif present and not overwrite:
            raise FileExistsError(
                f"{path} holds a run already; continue it with --resume, replace it with --overwrite, or choose another --out"
            )
        make_directory(path)
        return cls(path, recipe, replaces=bool(present) and overwrite, continues=bool(present) and resume)

    def begin(self) -> None:
        """Remove the run that this one replaces, and write the resolved recipe and a manifest that says `finished: false`."""
        if self.replaces:
            for name in PRODUCTS:
                _remove(self.path / name)
        data = self._data()
        write_text(self.path / RECIPE, self.recipe.to_yaml())
        self._write_manifest(finished=False, **({"data": data} if data else {}))

    def use_data(self, name: str, digest: str) -> None:
        """Write down which reference events the run uses.

        Raises:
            ValueError: the run began with others.
        """
        data = self._data()
        if data and data.get("sha256") != digest:
            raise ValueError(
                f"the reference events of the run in {self.path} have changed since it began: {name} has another sha256 than"
                f" {data.get('name')} had; bring those back, or start anew with --overwrite or another --out"
            )
        self._write_manifest(finished=False, data={"name": name, "sha256": digest})

    def _data(self) -> dict[str, str]:
        """The reference events that the run began with; empty if that is not written down."""
        written = read_manifest(self.path).get("data") if (self.path / MANIFEST).is_file() else None
        return written if isinstance(written, dict) else {}

    def write_history(self, history: Mapping[str, Any]) -> None:
        """`history.json`: one list of rows per stage."""
        write_json(self.path / "history.json", dict(history))

    def finish(self, **facts: Any) -> None:
        """Write the manifest of a finished run, with the sha256 of every file."""
        self._write_manifest(finished=True, **facts)

    def _write_manifest(self, *, finished: bool, **facts: Any) -> None:
        files = sorted(p for p in self.path.rglob("*") if p.is_file() and p != self.path / MANIFEST) if finished else []
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
    before = read_yaml(path / RECIPE)
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
        path.unlink(missing_ok=True)


def read_manifest(path: Path) -> dict[str, Any]:
    """A run's or bundle's manifest; FileNotFoundError if there is none, ValueError if it is not one."""
    if not (path / MANIFEST).is_file():
        raise FileNotFoundError(f"{path} holds no {MANIFEST}: it is neither a finished run nor a bundle")
    data = read_json(path / MANIFEST)
    if data.get("format") != 1:
        raise ValueError(f"{path / MANIFEST} is not a manifest of format 1")
    kind = "bundle" if data.get("kind") == "bundle" else "run"
    if lacking := [key for key in KEYS[kind] if key not in data]:
        raise ValueError(f"{path / MANIFEST} is no manifest of a {kind}: it lacks {', '.join(lacking)}; make the {kind} again")
    return data


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds names and values; ValueError in one sentence if it does not."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged ({error}); make it again") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path} is damaged: expected names and values, found {type(data).__name__}; make it again")
    return data
