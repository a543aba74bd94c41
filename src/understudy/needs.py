"""Earlier runs that a recipe builds on: done first where the recipe says how, and pinned by the content of their bundles.

    needs:
      first: {run: runs/first}                     # a run that was done before, or its bundle
      regressor: {recipe: lhcb-ecal-regressor}     # done first, in OUT/needs/regressor

A needed run must have been trained on the very training events of the run that needs it: with another division of the
same events, some of those that the new run is judged on would have trained what it learned from. The exception is a need of
events of another kind, which says `own_events: true`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from understudy import storage
from understudy.files import sha256
from understudy.recipe import Need, Recipe, is_file, read_yaml
from understudy.rundir import MANIFEST, RECIPE, read_manifest

SHARED = ("reference", "seed", "events", "noise", "projections", "derived", "select", "split", "hold_out")
"""Keys that say which events there are, what they look like, and which of them are trained on."""

Do = Callable[[Recipe, Path, bool, bool], Any]
"""Does a run: `(recipe, out, resume, overwrite)`."""


def bundle_of(need: Need) -> Path:
    """The folder of the bundle that a need names: a run's directory, or the bundle itself.

    Raises:
        ValueError: the need names a recipe that has not been run yet.
    """
    if need.run is None:
        raise ValueError(
            f"the recipe needs a run of {need.recipe} that has not been done; 'understudy run' and 'understudy train' do it"
            " first, elsewhere do it yourself and name its directory as the need's 'run'"
        )
    folder = Path(need.run)
    return folder / "bundle" if (folder / "bundle" / MANIFEST).is_file() else folder


def pin(recipe: Recipe) -> Recipe:
    """The recipe with the content of everything it needs written down, but for what is still to be run.

    Raises:
        FileNotFoundError: a needed run has no bundle.
        ValueError: a needed run is not the one that was pinned before.
    """
    needs = {name: need if need.run is None else _pinned(name, need) for name, need in recipe.needs.items()}
    return recipe.model_copy(update={"needs": needs})


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
    return need.model_copy(update={"sha256": found})


def fulfil(recipe: Recipe, out: Path, do: Do, overwrite: bool = False) -> Recipe:
    """Do the runs that a recipe needs and that are said by their recipes, and return it pinned.

    They go to `out/needs/NAME`, on the same events and the same division of them. One that is finished there is not done
    again, and one that was interrupted is continued.

    Args:
        recipe: with or without needs.
        out: the directory of the run that needs them.
        do: does a run.
        overwrite: replace runs of other recipes that are in the way.

    Raises:
        ValueError: recipes that need each other in a circle, or another run lies where a needed one goes.
        FileNotFoundError: a needed recipe, or the run of a need, is not there.
    """
    check_circle(recipe)
    done = {}
    for name, need in recipe.needs.items():
        if need.run is not None or need.recipe is None:
            done[name] = need
            continue
        theirs, place = Recipe.load(need.recipe), out / "needs" / name
        theirs = theirs if need.own_events else alike(theirs, recipe)
        begun = (place / RECIPE).is_file()
        same = begun and read_yaml(place / RECIPE) == fulfilled_words(theirs, place)
        same = same and (need.own_events or _same_file(place, recipe))
        if not (same and _finished(place)):
            do(theirs, place, begun and (same or not overwrite), begun and overwrite and not same)
        done[name] = need.model_copy(update={"run": str(place)})
    return pin(recipe.model_copy(update={"needs": done}))


def alike(theirs: Recipe, recipe: Recipe) -> Recipe:
    """The recipe of a needed run, on the events of `recipe`."""
    return theirs.model_copy(update={key: getattr(recipe, key) for key in SHARED})


def fulfilled_words(theirs: Recipe, place: Path) -> dict[str, Any]:
    """What the recipe of a needed run is once its own needs, if it has any, are done."""
    words = theirs.to_dict()
    written = read_yaml(place / RECIPE)
    return {**words, "needs": written.get("needs", {})} if words["needs"] and isinstance(written, dict) else words


def _same_file(place: Path, recipe: Recipe) -> bool:
    """Whether the run in `place` uses the file of events that `recipe` names, as far as either says one."""
    known = _digest(Need(run=str(place)))
    path = recipe.reference.arguments.get("path") if is_file(recipe.reference) else None
    return known is None or path is None or not Path(path).exists() or known == storage.digest(path)


def _finished(place: Path) -> bool:
    return (place / MANIFEST).is_file() and bool(read_manifest(place)["finished"]) and (place / "bundle" / MANIFEST).is_file()


def check_circle(recipe: Recipe, above: tuple[str, ...] = ()) -> None:
    """ValueError where recipes need each other in a circle."""
    if recipe.name in above:
        raise ValueError(f"recipes need each other in a circle: {' needs '.join((*above, recipe.name))}; leave one need out")
    for need in recipe.needs.values():
        if need.run is None and need.recipe is not None:
            check_circle(Recipe.load(need.recipe), (*above, recipe.name))


def check_same_events(recipe: Recipe, digest: str) -> None:
    """See that what a recipe needs was trained on the recipe's own training events.

    Args:
        recipe: its needs fulfilled and pinned.
        digest: sha256 of the file of its reference events.

    Raises:
        ValueError: a needed run had other events, or divided them otherwise.
    """
    mine = _events(recipe)
    for name, need in recipe.needs.items():
        if need.own_events:
            continue
        theirs = _events(Recipe.load(bundle_of(need) / RECIPE))
        if differ := [key for key in mine if mine[key] != theirs[key]]:
            key = differ[0]
            what = f"{key} is {_said(theirs[key])} there and {_said(mine[key])} here"
        elif _digest(need) not in (None, digest):
            what = "its file of events has another sha256"
        else:
            continue
        raise ValueError(
            f"the recipe needs {name!r} from {need.run}, which had other training events ({what}): it may have seen the test"
            " events of this run; do that run again with the same events, seed and split, or say its recipe in place of its run"
        )


def _events(recipe: Recipe) -> dict[str, Any]:
    """All that decides which events a run is trained on, besides the content of a file."""
    words, split = recipe.to_dict(), recipe.split
    keys = ["events", "select", "hold_out", *(["derived"] if recipe.select else [])]
    found = {"split": {**words["split"], "seed": recipe.seed if split.seed is None else split.seed}}
    found |= {key: words[key] for key in keys}
    simulates = not is_file(recipe.reference)
    return found | {"reference": recipe.reference.kind} | ({"simulation": (words["reference"], recipe.seed)} if simulates else {})


def _said(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _digest(need: Need) -> str | None:
    """sha256 of the file of events that a needed run was trained on, from its run or bundle; None where neither tells."""
    folder = Path(need.run or "")
    if not (folder / MANIFEST).is_file():
        return None
    found = read_manifest(folder).get("data", {}).get("sha256")
    return found if isinstance(found, str) else None


def simulated_before(recipe: Recipe) -> Path | None:
    """The events of a needed run that were simulated as those of `recipe` are to be, so that it need not be done twice."""
    for need in recipe.needs.values():
        if need.run is None:
            continue
        kept, words = Path(need.run) / "reference.h5", Path(need.run) / RECIPE
        if not (kept.is_file() and words.is_file()):
            continue
        theirs = Recipe.load(words)
        same = all(getattr(theirs, key) == getattr(recipe, key) for key in ("reference", "seed", "events"))
        if same and sha256(kept) == _digest(need):
            return kept
    return None
