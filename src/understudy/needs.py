"""Earlier runs that a recipe builds on: found, and pinned by the content of their bundles."""

from __future__ import annotations

from pathlib import Path

from understudy.files import sha256
from understudy.recipe import Need, Recipe
from understudy.rundir import MANIFEST


def bundle_of(need: Need) -> Path:
    """The folder of the bundle that a need names: a run's directory, or the bundle itself."""
    folder = Path(need.run)
    return folder / "bundle" if (folder / "bundle" / MANIFEST).is_file() else folder


def pin(recipe: Recipe) -> Recipe:
    """The recipe with the content of everything it needs written down.

    Raises:
        FileNotFoundError: a needed run has no bundle.
        ValueError: a needed run is not the one that was pinned before.
    """
    return recipe.model_copy(update={"needs": {name: _pinned(name, need) for name, need in recipe.needs.items()}})


def _pinned(name: str, need: Need) -> Need:
    manifest = bundle_of(need) / MANIFEST
    if not manifest.is_file():
        raise FileNotFoundError(f"the recipe needs {name!r} from {need.run}, which holds no bundle; do that run first")
    found = sha256(manifest)
    if need.sha256 not in (None, found):
        raise ValueError(
            f"the recipe needs {name!r} from {need.run}, whose bundle has changed since it was pinned; bring that run back,"
            " or leave out its sha256 and start anew"
        )
    return Need(run=need.run, sha256=found)
