"""What a table holds, and a first version of what a recipe says of it.

The draft guesses from names and ranges; a person moves names between conditions, response and aux, and checks the units.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from understudy.schema import Array
from understudy.storage.table import Table, TableColumn
from understudy.storage.tables import open_table

LOOK_AT = 20_000
"""Rows that ranges are taken from."""
MANY = 12
"""Auxiliary columns that a draft names at most."""

_WEIGHT = re.compile(r"(^|_)(s?weights?|sw)(_|$)", re.IGNORECASE)
_MASK = re.compile(r"^(has|is_?(detected|reconstructed|reco))", re.IGNORECASE)
_RESPONSE = re.compile(r"dll|pid|prob(?!e)|shower|cells|edep|response|^reco_", re.IGNORECASE)
_MOMENTUM = re.compile(r"(^|[_.])(p|pt|px|py|pz|e|energy|momentum(\.[xyz])?|incident_energ(y|ies))$", re.IGNORECASE)
_CONDITION = re.compile(r"(^|[_.])(eta|phi|theta|pseudorapidity|n_?(sp)?tra?c?ks|true_?id|pdg(id)?|species)$", re.IGNORECASE)
_INDEX = re.compile(r"^(column_0|index|__index_level_0__)$")


def trees(path: Path) -> list[str | None]:
    """The tables of a file to open one by one; None for a file that is one table."""
    try:
        with open_table(path) as table:
            return [*(table.trees() or (None,))]
    except ValueError as error:
        if match := re.search(r"holds the trees (.*); say which", str(error)):
            return [*match[1].split(", ")]
        raise


def describe_table(path: Path, tree: str | None = None) -> tuple[str, list[dict[str, Any]]]:
    """A title and a row per column: name, type, numbers per row, range, and the parts of them that are NaN and negative."""
    with open_table(path, tree) as table:
        seen = table.take([n for n, c in table.columns.items() if c.numeric], 0, min(len(table), LOOK_AT))
        called = _short(table)
        rows = [_row(called[name], column, seen.get(name)) for name, column in table.columns.items()]
        name = f"{path.name}: {table.tree}" if table.tree else path.name
        more = f", ranges of the first {LOOK_AT:,}" if len(table) > LOOK_AT else ""
        return f"{name}: {len(table):,} rows{more}", rows


def _short(table: Table) -> dict[str, str]:
    """What each column may be called: by the last part of its path where that is unique."""
    last = [_last(name) for name in table.columns]
    return {name: _last(name) if last.count(_last(name)) == 1 else name for name in table.columns}


def _row(name: str, column: TableColumn, values: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"branch": name, "type": column.type}
    row["per row"] = _per_row(column, values)
    if values is None:
        return row
    flat = _flat(values)
    if not flat.size:
        return row
    finite = flat[np.isfinite(flat)]
    ends = {"from": float(finite.min()), "mean": float(finite.mean()), "to": float(finite.max())} if finite.size else {}
    return {
        **row,
        **ends,
        "NaN": f"{np.mean(~np.isfinite(flat)):.1%}",
        "negative": f"{np.mean(finite < 0):.1%}" if finite.size else "",
    }


def _per_row(column: TableColumn, values: Any) -> str:
    if column.jagged and values is not None:
        counts = [len(v) for v in values] if len(values) < 100 else _counts(values)
        return f"list of {min(counts)} to {max(counts)}"
    return " x ".join(map(str, column.shape)) or "1"


def _counts(values: Any) -> Array:
    import awkward

    return np.asarray(awkward.to_numpy(awkward.num(values, axis=1)))


def _flat(values: Any) -> Array:
    if isinstance(values, np.ndarray):
        return np.asarray(values, float).reshape(-1)
    import awkward

    return np.asarray(awkward.to_numpy(awkward.flatten(values, axis=None)), float)


def draft(path: Path, tree: str | None = None) -> str:
    """YAML of a reference that reads the table, to be edited; empty where there are fewer than two columns of numbers."""
    with open_table(path, tree) as table:
        words = _words(table)
    if words is None:
        return ""
    said = {"kind": "table", "path": str(path), **({"tree": tree} if tree else {}), **words}
    text: str = yaml.safe_dump({"reference": said}, sort_keys=False, width=120)
    return "# A draft: move names between conditions, response and aux, and check the units, which are guesses.\n" + text


def _words(table: Table) -> dict[str, Any] | None:
    usable = [c for c in table.columns.values() if c.numeric and not _INDEX.match(_last(c.name))]
    single = [c for c in usable if not c.jagged]
    items = len(single) < 2
    usable = _collection(usable) if items else single
    if len(usable) < 2:
        return None
    seen = table.take([c.name for c in usable], 0, min(len(table), LOOK_AT))
    weight = next((c.name for c in usable if not c.shape and _WEIGHT.search(_last(c.name))), None)
    mask = next((c.name for c in usable if not c.shape and _MASK.match(_last(c.name)) and _is_flag(seen[c.name])), None)
    free = [c for c in usable if c.name not in (weight, mask)]
    response = [c for c in free if _RESPONSE.search(_last(c.name))]
    conditions = [c for c in free if c not in response and (_MOMENTUM.search(_last(c.name)) or _CONDITION.search(_last(c.name)))]
    rest = [c for c in free if c not in response and c not in conditions]
    response = response or [(rest or conditions).pop()]
    conditions = conditions or [(rest or response[:-1]).pop(0)]
    parts = {"conditions": conditions, "response": response, "aux": rest[:MANY]}
    names = dict(_named([c.name for part in parts.values() for c in part]))
    called = _short(table)
    words: dict[str, Any] = {
        p: {names[c.name]: _quantity(c, called[c.name], seen[c.name]) for c in part} for p, part in parts.items() if part
    }
    words |= {key: called[name] for key, name in (("weight", weight), ("mask", mask)) if name is not None}
    return words | ({"rows": "items"} if items else {})


def _collection(columns: Sequence[TableColumn]) -> list[TableColumn]:
    """The lists of the group of branches in which most names sound like conditions or response."""
    groups: dict[str, list[TableColumn]] = {}
    for column in columns:
        if column.jagged:
            groups.setdefault(column.name.partition("/")[0] if "/" in column.name else "", []).append(column)

    def sounds(group: list[TableColumn]) -> int:
        return sum(bool(_MOMENTUM.search(c.name) or _CONDITION.search(c.name) or _RESPONSE.search(c.name)) for c in group)

    return max(groups.values(), key=sounds, default=[])


def _quantity(column: TableColumn, name: str, values: Any) -> Any:
    if not _MOMENTUM.search(_last(column.name)):
        return name
    flat = np.abs(_flat(values))
    return {"branch": name, "unit": "MeV" if flat.size and np.nanmedian(flat) > 500 else "GeV"}


def _is_flag(values: Any) -> bool:
    return bool(np.isin(_flat(values), (0, 1)).all())


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _named(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Names of blocks for columns: their last words where these differ, made of letters, digits and underscores."""
    taken: Mapping[str, int] = {}
    for name in names:
        short = re.sub(r"\W+", "_", _last(name)).strip("_") or "column"
        taken = {**taken, short: taken.get(short, 0) + 1}
        yield name, short if taken[short] == 1 else f"{short}_{taken[short]}"
