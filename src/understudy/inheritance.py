"""A recipe that extends another one says only what is different.

    extends: atlas-photon-89-paper                        # a shipped recipe, or a YAML file beside this one
    name: mine
    change: {stages.response.model.generator.layers: 4}   # dotted paths into the other, see `paths.py`

The other recipe is resolved first, every default filled in, so that a path may also lead to what it does not spell out. Then
the paths of `change` are set, and then the keys beside `change` replace those of the other. Without a `name` of its own a
recipe is called as its file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from understudy.paths import changed

Read = Callable[[str | Path], tuple[Any, Path]]
"""From a name or path to what a YAML file says, and the file."""
Resolve = Callable[[Any, str], dict[str, Any]]
"""From plain data and what to call them in errors to a resolved recipe."""


def inherited(data: Any, file: Path, read: Read, resolve: Resolve, below: tuple[Path, ...] = ()) -> Any:
    """`data` with everything that it extends filled in, without `extends` and `change`.

    Args:
        data: what a YAML file says.
        file: that file.
        read: reads another one.
        resolve: checks a recipe and fills in its defaults.
        below: files that extend this one, to notice a circle.

    Raises:
        ValueError: a circle, a `change` that changes nothing, a path that leads to nothing, or the other is no recipe.
        FileNotFoundError: the other recipe is neither shipped nor a file.
    """
    if not isinstance(data, Mapping) or not {"extends", "change"} & set(data):
        return data
    where, own = f"recipe {file.stem}", {k: v for k, v in data.items() if k not in ("extends", "change")}
    if "extends" not in data:
        raise ValueError(f"{where}: 'change' changes nothing without 'extends'; name the recipe that is changed")
    above, change = data["extends"], data.get("change") or {}
    if not isinstance(above, str) or not isinstance(change, Mapping):
        raise ValueError(f"{where}: 'extends' is the name or file of one recipe, and 'change' gives a value to each dotted path")
    beside = file.parent / above
    theirs, origin = read(beside if beside.is_file() else above)
    chain = (*below, file.resolve())
    if origin.resolve() in chain:
        raise ValueError(f"{where}: recipes extend each other in a circle: {' extends '.join(p.stem for p in (*chain, origin))}")
    base = resolve(inherited(theirs, origin, read, resolve, chain), f"recipe {above}")
    return {**changed(base, change, f"{where}: change"), "name": file.stem, **own}
