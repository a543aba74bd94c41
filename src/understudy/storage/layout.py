"""The layout of event files: which data set holds which block, and what is assumed where a file does not say.

The layout is that of the CaloChallenge (arXiv:2410.21611): `incident_energies` `(n, 1)` and `showers` `(n, cells)`, to
which further conditions and auxiliary truth are added as data sets of their own name, weights as `weights`, the
detection mask as `mask`, and a jagged block as the pair `NAME/offsets` `(n + 1,)` and `NAME/content`. Files written here
carry their schema, geometry and provenance as JSON. Of other files the schema is inferred from the data sets and from
their `unit` and `columns` attributes; other units than MeV, mm, ns and rad are converted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import hepunits
import numpy as np

from understudy.geometry import Calorimeter
from understudy.schema import Array, Block, Schema

FORMAT = 1
"""Version of the layout, written into every file."""

_DATA_SETS = {"incident_energy": "incident_energies"}
_BLOCKS = {data_set: block for block, data_set in _DATA_SETS.items()}
_RESERVED = ("weights", "mask", *_BLOCKS)

_KNOWN = {
    "incident_energy": Block("incident_energy", "MeV", minimum=0.0),
    "momentum": Block("momentum", "MeV", columns=("px", "py", "pz"), shape=(3,)),
    "position": Block("position", "mm", columns=("x", "y"), shape=(2,)),
    "true_pt": Block("true_pt", "MeV", minimum=0.0),
    "true_eta": Block("true_eta"),
    "showers": Block("showers", "MeV", minimum=0.0),
}
"""What blocks of these names are where the file does not say it."""

_UNITS = {"MeV": ("eV", "keV", "GeV", "TeV"), "mm": ("um", "cm", "m"), "ns": ("ps", "us", "s"), "rad": ("mrad", "deg")}


@dataclass(frozen=True)
class Header:
    """What a file written here says of itself."""

    schema: Schema
    response: bool = True
    geometry: Calorimeter | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, str]:
        """The header's parts as JSON, by name."""
        parts: dict[str, Any] = {"format": FORMAT, "schema": self.schema.to_dict(), "response": self.response}
        parts["provenance"] = dict(self.provenance)
        if self.geometry is not None:
            parts["geometry"] = self.geometry.to_dict()
        return {name: json.dumps(part, sort_keys=True) for name, part in parts.items()}

    @classmethod
    def from_json(cls, parts: Mapping[str, str], where: str) -> Header:
        """The inverse of `to_json`; ValueError if a part is not what was written."""
        try:
            data = {name: json.loads(text) for name, text in parts.items()}
            if data["format"] != FORMAT:
                raise ValueError(f"format {data['format']} is not {FORMAT}")
            geometry = Calorimeter.from_dict(data["geometry"]) if "geometry" in data else None
            return cls(Schema.from_dict(data["schema"]), bool(data["response"]), geometry, data["provenance"])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{where}: its header cannot be read ({error}); write the file again with this version") from error


@dataclass(frozen=True)
class Column:
    """A data set of a file: shape with events first, type, and attributes."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def numeric(self) -> bool:
        """True for numbers and booleans with one row per event."""
        return bool(self.shape) and self.dtype.kind in "fiub"


def data_set(block: str) -> str:
    """Name of the data set that holds a block."""
    return _DATA_SETS.get(block, block)


def check_names(schema: Schema, where: str) -> None:
    """ValueError if a block's name cannot be that of a data set."""
    for block in (*schema.conditions, *schema.response, *schema.aux):
        if block.name in _RESERVED or "/" in block.name or block.name.startswith("."):
            raise ValueError(f"{where}: a block cannot be called {block.name!r} in a file; give it another name")


def check_geometry(schema: Schema, geometry: Calorimeter, where: str) -> None:
    """ValueError unless the showers of `schema`, in its response or as an image among its conditions, fit `geometry`."""
    blocks = [b for b in schema.response if b.name == "showers"] or [b for b in schema.conditions if b.kind == "image"]
    blocks = blocks or list(schema.response)
    geometry.check_cells(sum(b.width for b in blocks), where)


def dtype(block: Block) -> np.dtype[Any]:
    """The type a block is stored in."""
    return np.dtype(np.int64 if block.kind == "categorical" else np.float32)


def infer(columns: Mapping[str, Column], conditions: Sequence[str] | None, where: str, response: bool = True) -> Schema:
    """The schema of a file that does not say it: `showers` given some conditions.

    Args:
        columns: the file's data sets.
        conditions: blocks or data sets to take as conditions; by default those of `incident_energies`, `momentum`,
            `position`, `true_pt` and `true_eta` that there are, and without any of them every numeric data set as long.
        where: the file, named in errors.
        response: False for the conditions alone, which need no showers.

    Raises:
        ValueError: there are no showers, or a condition is not there or not numeric.
    """
    if response and "showers" not in columns:
        raise missing("showers", columns, where)
    if conditions is None:
        known = [data_set(name) for name in _KNOWN if name != "showers" and data_set(name) in columns]
        conditions = known or _same_length(columns)
    names = [data_set(name) for name in conditions]
    for name in names:
        if name not in columns:
            raise missing(name, columns, where)
    given = tuple(_block(name, columns[name], where) for name in names)
    return Schema(given, (_block("showers", columns["showers"], where),) if response else ())


def _same_length(columns: Mapping[str, Column]) -> list[str]:
    """Numeric data sets of one or two axes that are as long as the showers (or as the first of them)."""
    numeric = {k: c for k, c in columns.items() if k not in ("weights", "mask") and c.numeric}
    rows = numeric["showers"].shape[0] if "showers" in numeric else next((c.shape[0] for c in numeric.values()), 0)
    return [k for k, c in numeric.items() if k != "showers" and len(c.shape) < 3 and c.shape[0] == rows]


def missing(name: str, columns: Mapping[str, Column], where: str) -> ValueError:
    """The error for a data set that is not there."""
    return ValueError(
        f"{where}: there is no data set {name!r}; there are {', '.join(columns) or 'none'};"
        " rename the data set or name the conditions that the file has"
    )


def _block(name: str, column: Column, where: str) -> Block:
    """The block of a data set that has no schema."""
    if not column.numeric:
        raise ValueError(f"{where}: the data set {name!r} has type {column.dtype}, which is not a number")
    known = _KNOWN.get(_BLOCKS.get(name, name), Block(name))
    shape = () if known.name != "showers" and column.shape[1:] == (1,) else column.shape[1:]
    unit = _text(column.attributes.get("unit", known.unit))
    base = next((b for b, others in _UNITS.items() if unit in others), unit)
    columns = _names(_text(column.attributes.get("columns", "")), shape)
    if not columns and shape == known.shape and base == known.unit:
        columns = known.columns
    return replace(known, unit=base, shape=shape, columns=columns)


def factor(column: Column) -> float:
    """What the numbers of a data set are multiplied with to be in MeV, mm, ns or rad."""
    unit = _text(column.attributes.get("unit", ""))
    return float(getattr(hepunits, unit)) if any(unit in others for others in _UNITS.values()) else 1.0


def base_unit(unit: str) -> tuple[str, float]:
    """MeV, mm, ns, rad or nothing, and what numbers in `unit` are multiplied with; `GeV/c` and `GeV/c^2` are GeV.

    Raises:
        ValueError: the unit is none of them.
    """
    plain = re.sub(r"/c(\^?2)?$", "", unit.strip())
    for base, others in _UNITS.items():
        if plain == base or plain in others:
            return base, float(getattr(hepunits, plain))
    if plain:
        known = ", ".join(u for base, others in _UNITS.items() for u in (base, *others))
        raise ValueError(f"unknown unit {unit!r}; known are {known}, and none for pure numbers")
    return "", 1.0


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _names(text: str, shape: Sequence[int]) -> tuple[str, ...]:
    """Column names from free text, where it is a plain list of the right length."""
    words = [w for w in re.split(r"[\s,;]+", re.sub(r"\([^)]*\)", " ", text)) if w]
    fits = len(shape) > 0 and len(words) == shape[-1] == len(set(words))
    return tuple(words) if fits and all(w.isidentifier() for w in words) else ()


def rows_per_chunk(schema: Schema) -> int:
    """Events in one compressed chunk of a file: 500, or fewer where they would take more than 4 MiB; more of single numbers."""
    blocks = (*schema.conditions, *schema.response, *schema.aux)
    most = 500 if any(b.shape or b.kind == "jagged" for b in blocks) else 2**14
    return int(np.clip(2**22 // max(4 * sum(b.width for b in blocks), 1), 1, most))


def jagged_parts(values: Any, block: Block) -> tuple[Array, Array]:
    """Numbers of items `(n,)` and all items `(items, *block.shape)` of a jagged array."""
    import awkward

    counts: Array = awkward.to_numpy(awkward.num(values, axis=1)).astype(np.int64)
    content: Array = awkward.to_numpy(awkward.flatten(values, axis=1)).astype(np.float32)
    return counts, content.reshape(-1, *block.shape)


def jagged(counts: Array, content: Array) -> Any:
    """The inverse of `jagged_parts`."""
    import awkward

    return awkward.unflatten(content, counts)
