"""Dotted paths into a recipe's plain data, such as `stages.response.model.generator.layers`.

A step names a key of a mapping, or an entry of a list by its number or by what it `produces`, its `name` or its `kind`. The
last step may name a key that is not there yet: whether it may be there is for the check of the whole recipe to say.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping
from typing import Any

LABELS = ("produces", "name", "kind")
"""Keys by whose values an entry of a list can be called."""


def get(data: Any, path: str, where: str = "recipe") -> Any:
    """What lies at `path`.

    Args:
        data: mappings and lists in each other.
        path: steps with dots between them.
        where: what `data` is, for errors.

    Raises:
        ValueError: the path leads to nothing; names what is there instead.
    """
    return _follow(data, _steps(path, where), path, where)


def changed(data: Mapping[str, Any], changes: Mapping[str, Any], where: str = "recipe") -> dict[str, Any]:
    """A copy of `data` with the value of each path in `changes` in its place, one after the other.

    Raises:
        ValueError: a path leads to nothing; names what is there instead.
    """
    copied: dict[str, Any] = copy.deepcopy(dict(data))
    for path, value in changes.items():
        *upper, last = _steps(path, where)
        holder = _follow(copied, upper, path, where)
        key: Any = last if isinstance(holder, dict) else _key(holder, last, path, upper, where)
        holder[key] = copy.deepcopy(value)
    return copied


def _steps(path: Any, where: str) -> list[str]:
    if not isinstance(path, str) or not all(steps := path.split(".")):
        raise ValueError(f"{where}: {path!r} is no path; name the keys with dots between them, e.g. stages.response.model.noise")
    return steps


def _follow(data: Any, steps: list[str], path: str, where: str) -> Any:
    """What the first `steps` of `path` lead to."""
    for number, step in enumerate(steps):
        data = data[_key(data, step, path, steps[:number], where)]
    return data


def _key(data: Any, step: str, path: str, before: list[str], where: str) -> str | int:
    """The key or number that `step` means inside `data`."""
    inside = ".".join(before) or "the recipe"
    if isinstance(data, Mapping):
        if step in data:
            return step
        raise ValueError(_unknown(where, path, step, inside, list(data)))
    if not isinstance(data, list):
        raise ValueError(f"{where}: the path {path!r} leads to nothing: {inside} is {data!r} and holds no {step!r}")
    if step.isdecimal() and int(step) < len(data):
        return int(step)
    labels = [[entry[k] for k in LABELS if k in entry] if isinstance(entry, Mapping) else [] for entry in data]
    found = [i for i, names in enumerate(labels) if step in names]
    if len(found) == 1:
        return found[0]
    if found:
        numbers = " and ".join(map(str, found))
        raise ValueError(f"{where}: the path {path!r} is not clear: entries {numbers} of {inside} are {step!r}; give the number")
    raise ValueError(_unknown(where, path, step, inside, [names[0] if names else str(i) for i, names in enumerate(labels)]))


def _unknown(where: str, path: str, step: str, inside: str, known: list[str]) -> str:
    close = difflib.get_close_matches(step, known, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"{where}: the path {path!r} leads to nothing: no {step!r} in {inside}{hint}; there are {', '.join(known) or 'none'}"
