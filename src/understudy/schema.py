"""What the numbers of an event are: named blocks with a kind, a unit and a shape.

A `Schema` lists the blocks of the conditions (what a simulation is asked for), of the response (what it answers) and of
the auxiliary truth that travels along but that no model sees. It is plain data: it is written into files and bundles
as JSON and read back unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Kind = Literal["continuous", "categorical", "periodic", "image", "jagged"]
Array = NDArray[Any]


@dataclass(frozen=True)
class Block:
    """One named array of an event.

    Args:
        name: the block's name, e.g. `incident_energy` or `showers`.
        unit: unit in hepunits' system (`MeV`, `mm`, `ns`, `rad`), empty for pure numbers.
        kind: `continuous`, `categorical` (integers from 0), `periodic`, `image` or `jagged` (one list per event, as an
            awkward array). Categorical blocks are int64, all others float32.
        shape: shape per event; `()` is one number per event. A jagged block's shape is that of one list item.
        columns: names of the components along the last axis, where they have names (`px`, `py`, `pz`).
        derived: True if the block is computed from the response (the energy sum of an event's cells, say).
        minimum: smallest allowed value, or None. Energies deposited in cells have 0.
        period: the period of a periodic block (2 pi, say).
    """

    name: str
    unit: str = ""
    kind: Kind = "continuous"
    shape: tuple[int, ...] = ()
    columns: tuple[str, ...] = ()
    derived: bool = False
    minimum: float | None = None
    period: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(s) for s in self.shape))
        object.__setattr__(self, "columns", tuple(self.columns))
        if not self.name:
            raise ValueError("a block needs a name")
        if self.kind not in get_args(Kind):
            raise ValueError(f"block {self.name!r} has kind {self.kind!r}; choose one of {', '.join(get_args(Kind))}")
        if self.columns and (not self.shape or len(self.columns) != self.shape[-1]):
            raise ValueError(f"block {self.name!r} names {len(self.columns)} columns but has shape {self.shape} per event")
        if any(s < 1 for s in self.shape):
            raise ValueError(f"block {self.name!r} has shape {self.shape} per event; every length must be 1 or more")
        if self.kind == "periodic" and not (self.period or 0) > 0:
            raise ValueError(f"periodic block {self.name!r} needs its period (2 pi for an angle in rad)")

    @property
    def width(self) -> int:
        """Numbers per event (per list item if jagged)."""
        return int(np.prod(self.shape, dtype=int))

    def check(self, values: Any, n: int, where: str = "events", valid: Array | None = None) -> Any:
        """Return `values` as a read-only array of this block, or raise ValueError in one sentence.

        Args:
            values: array of shape `(n, *shape)`; `(n, 1)` and `(n,)` are taken for each other. Jagged: an awkward array.
            n: number of events expected.
            where: the origin of the values, named in errors.
            valid: optional boolean `(n,)`; where False the values may be NaN (a particle that was not detected).
        """
        if self.kind == "jagged":
            return self._check_jagged(values, n, where)
        array = np.asarray(values)
        if array.dtype.kind not in "fiub":
            raise ValueError(f"{where}: {self.name!r} has type {array.dtype}, which is not a number")
        expected = (n, *self.shape)
        if array.shape != expected and array.size == n * self.width and {array.shape, expected} == {(n,), (n, 1)}:
            array = array.reshape(expected)
        if array.shape != expected:
            raise ValueError(f"{where}: {self.name!r} has shape {array.shape} where {expected} is expected")
        if self.kind == "categorical":
            array = self._categories(array, where, valid)
        with np.errstate(over="ignore"):
            array = np.asarray(array, dtype=np.int64 if self.kind == "categorical" else np.float32).view()
        self._check_values(array, where, valid)
        array.flags.writeable = False
        return array

    def _check_jagged(self, values: Any, n: int, where: str) -> Any:
        """`values` as an awkward array of `n` lists of float32 items of this block's shape."""
        import awkward

        array = awkward.values_astype(awkward.Array(values), np.float32)
        if len(array) != n:
            raise ValueError(f"{where}: {self.name!r} has {len(array)} events where {n} are expected")
        if array.ndim < 2:
            raise ValueError(f"{where}: {self.name!r} is jagged and needs one list per event, not one number")
        try:
            items = awkward.to_numpy(awkward.flatten(array, axis=1), allow_missing=False)
        except ValueError:
            items = np.empty((1, 0))
        if items.dtype.kind != "f" or (len(items) and items.shape[1:] != self.shape):
            raise ValueError(f"{where}: {self.name!r} is jagged and needs lists of numbers of shape {self.shape} each")
        if not np.isfinite(items).all() or (self.minimum is not None and (items < self.minimum).any()):
            low = "" if self.minimum is None else f" or numbers below {self.minimum:g}"
            raise ValueError(f"{where}: {self.name!r} holds NaN, infinity{low}; remove or mend these events")
        return array

    def _categories(self, array: Array, where: str, valid: Array | None) -> Array:
        """`array` with anything in place of what is not valid, or ValueError unless it holds whole numbers from 0."""
        if valid is not None:
            array = np.where(valid.reshape(-1, *(1,) * len(self.shape)), array, 0)
        bad = (array < 0) | (array != np.rint(array)) if array.dtype.kind in "if" else np.zeros(array.shape, bool)
        if bad.any():
            event = int(np.argwhere(bad)[0, 0])
            raise ValueError(
                f"{where}: {self.name!r} is categorical and holds {array[bad][0]:g} in event {event}; number its classes from 0"
            )
        return array

    def _check_values(self, array: Array, where: str, valid: Array | None) -> None:
        if array.dtype.kind != "f":
            return
        rows = slice(None) if valid is None else np.flatnonzero(valid)
        seen = array[rows]

        def event(bad: Array) -> int:
            first = int(np.argwhere(bad)[0, 0])
            return first if valid is None else int(np.flatnonzero(valid)[first])

        if not np.isfinite(seen).all():
            bad = event(~np.isfinite(seen))
            raise ValueError(f"{where}: {self.name!r} holds NaN or infinity, first in event {bad}; remove or mend these events")
        if self.minimum is not None and seen.size and (lowest := float(seen.min())) < self.minimum:
            unit = f" {self.unit}" if self.unit else ""
            raise ValueError(
                f"{where}: {self.name!r} holds {lowest:g}{unit} in event {event(seen == seen.min())}, below its minimum"
                f" {self.minimum:g}{unit}; check the unit and the calibration, or remove these events"
            )


@dataclass(frozen=True)
class Schema:
    """The blocks of a set of events: `conditions`, `response` and `aux`, each in a fixed order."""

    conditions: tuple[Block, ...]
    response: tuple[Block, ...] = ()
    aux: tuple[Block, ...] = field(default=())

    def __post_init__(self) -> None:
        for part in ("conditions", "response", "aux"):
            object.__setattr__(self, part, tuple(getattr(self, part)))
        names = [b.name for b in (*self.conditions, *self.response, *self.aux)]
        if len(set(names)) != len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ValueError(f"a schema names {', '.join(twice)} more than once; give every block its own name")

    def block(self, name: str) -> Block:
        """The block called `name`; KeyError if there is none."""
        for b in (*self.conditions, *self.response, *self.aux):
            if b.name == name:
                return b
        known = ", ".join(b.name for b in (*self.conditions, *self.response, *self.aux))
        raise KeyError(f"no block {name!r} in these events; they have {known}")

    @property
    def given(self) -> tuple[Block, ...]:
        """The conditions that a user chooses: those not computed from the response."""
        return tuple(b for b in self.conditions if not b.derived)

    @property
    def response_width(self) -> int:
        """Numbers per event in the packed response."""
        return sum(b.width for b in self.response)

    def pack(self, response: Mapping[str, Any]) -> Array:
        """The response blocks side by side, float32 `(n, response_width)`."""
        if missing := [b.name for b in self.response if b.name not in response]:
            raise ValueError(f"the response lacks {', '.join(missing)}; it has {', '.join(response) or 'not been simulated yet'}")
        if jagged := [b.name for b in self.response if b.kind == "jagged"]:
            raise ValueError(f"the jagged response {', '.join(jagged)} cannot be packed; pad it to a fixed length first")
        if not self.response:
            raise ValueError("this schema names no response that could be packed")
        parts = [np.asarray(response[b.name], np.float32).reshape(len(response[b.name]), b.width) for b in self.response]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def unpack(self, packed: Array) -> dict[str, Array]:
        """The inverse of `pack`: `(n, response_width)` to named blocks."""
        if packed.ndim != 2 or packed.shape[1] != self.response_width or not self.response:
            raise ValueError(f"a packed response of shape {packed.shape} does not fit {self.response_width} numbers per event")
        cuts = np.cumsum([b.width for b in self.response])[:-1]
        parts = np.split(packed, cuts, axis=1)
        return {b.name: p.reshape(len(p), *b.shape) for b, p in zip(self.response, parts, strict=True)}

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {part: [asdict(b) for b in getattr(self, part)] for part in ("conditions", "response", "aux")}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Schema:
        """The inverse of `to_dict`."""
        try:
            parts = {part: tuple(Block(**b) for b in data.get(part, ())) for part in ("conditions", "response", "aux")}
        except (TypeError, AttributeError) as error:
            raise ValueError(f"this is no schema: {error}") from error
        return cls(**parts)
