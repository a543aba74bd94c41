"""What a recipe says of a block's origin in a table, and from columns to the block's numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from understudy.schema import Array, Block
from understudy.storage.layout import base_unit
from understudy.storage.table import Table, TableColumn


class Quantity(BaseModel):
    """One block of events and the branches that it comes from.

    Args:
        branch: path of a branch (or column); several give a block with as many components.
        value: one number for all rows, in place of a branch.
        unit: of the numbers in the file; they are converted to MeV, mm, ns and rad.
        kind: `continuous`, `categorical` (classes from 0), `periodic`, or `jagged` (a list per row).
        columns: names of the components; by default the branches' own.
        minimum: smallest allowed value, after conversion.
        period: of a periodic quantity, after conversion.
        classes: of a categorical one, the numbers in the file that are class 0, 1, ...; a list where several are one class
            (`[[211, -211], [321, -321]]`). By default the numbers are the classes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    branch: tuple[str, ...] = ()
    value: float | None = None
    unit: str = ""
    kind: Literal["continuous", "categorical", "periodic", "jagged"] = "continuous"
    columns: tuple[str, ...] = ()
    minimum: float | None = None
    period: float | None = Field(None, gt=0)
    classes: tuple[int | tuple[int, ...], ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _one_branch(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and isinstance(data.get("branch"), str):
            return {**data, "branch": (data["branch"],)}
        return data

    @model_validator(mode="after")
    def _says_where_from(self) -> Quantity:
        if bool(self.branch) == (self.value is not None):
            raise ValueError("a quantity needs either a 'branch' (one or several) or a 'value' for all rows")
        if self.classes and self.kind != "categorical":
            raise ValueError("only a quantity of kind categorical has 'classes'")
        base_unit(self.unit)
        return self

    def block(self, name: str, table: Table, items: bool = False) -> Block:
        """The block called `name` that this quantity becomes; `items` if every item of a list is a row of its own.

        Raises:
            ValueError: an unknown branch, or lists of different lengths in the first rows.
        """
        shape: tuple[int, ...] = ()
        if self.branch:
            first = table.take([table.find(b)[0].name for b in self.branch], 0, 1)
            inner = [_shape(*table.find(b), first, self.kind == "jagged" or items) for b in self.branch]
            if len(set(inner)) > 1:
                raise ValueError(
                    f"{table.where}: the branches of {name!r} hold {' and '.join(str(s or 'one number') for s in inner)} per row;"
                    " name them as blocks of their own"
                )
            shape = inner[0] if len(self.branch) == 1 else (len(self.branch), *inner[0])
        columns = self.columns or (_names(self.branch) if len(shape) == 1 and len(self.branch) > 1 else ())
        unit, _ = base_unit(self.unit)
        return Block(name, unit, self.kind, shape, columns, minimum=self.minimum, period=self.period)

    def numbers(self, name: str, table: Table, read: Mapping[str, Any], rows: Array, start: int, counts: Array | None) -> Any:
        """The block's values in rows that were read.

        Args:
            name: of the block, for errors.
            table: the table.
            read: columns by name, as of `Table.take`.
            rows: an index per row that was read, for its length.
            start: the first row's number.
            counts: number of items of each row where every item becomes a row of its own, else None.

        Raises:
            ValueError: lists of unequal length, an index beyond the end of one, or a number that is no class.
        """
        if not self.branch:
            total = len(rows) if counts is None else int(counts.sum())
            return np.full(total, self.value)
        parts = [self._part(b, table, read, start, counts) for b in self.branch]
        if self.kind == "jagged":
            return self._lists(name, table, parts, start)
        if len({len(p) for p in parts}) > 1 or any(p.shape[1:] != parts[0].shape[1:] for p in parts):
            raise ValueError(f"{table.where}: the branches of {name!r} have different lengths; name them as blocks of their own")
        values = parts[0] if len(parts) == 1 else np.stack(parts, axis=1)
        return self._classes(name, table, values, start) if self.classes else self._scaled(values)

    def _part(self, path: str, table: Table, read: Mapping[str, Any], start: int, counts: Array | None) -> Any:
        column, index = table.find(path)
        values = read[column.name]
        if not column.jagged:
            values = values if index is None else _picked(values, index, table, path)
            return values if counts is None else np.repeat(values, counts, axis=0)
        import awkward

        lengths = awkward.to_numpy(awkward.num(values, axis=1))
        if index is not None:
            if (short := np.flatnonzero(lengths <= index)).size:
                raise ValueError(
                    f"{table.where}: entry {start + short[0]} of {column.name!r} has {lengths[short[0]]} numbers, so there is no"
                    f" [{index}]; choose another index, or leave such entries out"
                )
            return awkward.to_numpy(values[:, index])
        if counts is not None:
            return awkward.to_numpy(awkward.flatten(values, axis=1))
        if self.kind == "jagged":
            return values
        if (odd := np.flatnonzero(lengths != lengths[:1])).size:
            raise ValueError(
                f"{table.where}: entry {start + odd[0]} of {column.name!r} has {lengths[odd[0]]} numbers where entry {start} has"
                f" {lengths[0]}; take one with an index ({path}[0]), say kind: jagged, or make every item a row with rows: items"
            )
        return awkward.to_numpy(values)

    def _lists(self, name: str, table: Table, parts: list[Any], start: int) -> Any:
        import awkward

        if any(isinstance(p, np.ndarray) for p in parts):
            raise ValueError(f"{table.where}: {name!r} is jagged, but a branch of it holds one number per entry")
        lengths = [awkward.to_numpy(awkward.num(p, axis=1)) for p in parts]
        check_lengths(table, dict(zip(self.branch, lengths, strict=True)), start)
        if len(parts) == 1:
            return parts[0] * base_unit(self.unit)[1]
        flat = np.stack([awkward.to_numpy(awkward.flatten(p, axis=1)) for p in parts], axis=1)
        return awkward.unflatten(self._scaled(flat), lengths[0])

    def _scaled(self, values: Array) -> Array:
        factor = base_unit(self.unit)[1]
        return values if factor == 1.0 else np.asarray(values * np.float64(factor))

    def _classes(self, name: str, table: Table, values: Array, start: int) -> Array:
        found = np.full(values.shape, -1, np.int64)
        for number, which in enumerate(self.classes):
            found[np.isin(values, which)] = number
        if (unknown := np.argwhere(found < 0)).size:
            value = values[tuple(unknown[0])]
            raise ValueError(
                f"{table.where}: {name!r} holds {value:g} in row {start + int(unknown[0][0])}, which 'classes' does not name;"
                " add it, or leave such rows out"
            )
        return found


def _words(value: Any) -> Any:
    return {"branch": value} if isinstance(value, str | list | tuple) else value


Words = Annotated[Quantity, BeforeValidator(_words)]
"""A quantity as a recipe says it: a branch's name, a list of them, or the words of `Quantity`."""


def check_lengths(table: Table, lengths: Mapping[str, Array], start: int) -> None:
    """ValueError unless lists that belong together are equally long in every entry."""
    (first, ours), *others = lengths.items()
    for name, theirs in others:
        if (odd := np.flatnonzero(ours != theirs)).size:
            i = odd[0]
            raise ValueError(
                f"{table.where}: entry {start + i} has {ours[i]} numbers in {first!r} and {theirs[i]} in {name!r}; they cannot be"
                " put side by side, so leave one out or write the tree again"
            )


def _picked(values: Array, index: int, table: Table, path: str) -> Array:
    if values.ndim < 2 or values.shape[1] <= index:
        length = values.shape[1] if values.ndim > 1 else 1
        raise ValueError(f"{table.where}: {path!r} asks for number {index} of {length} (counted from 0)")
    return np.asarray(values[:, index])


def _shape(column: TableColumn, index: int | None, first: Mapping[str, Any], lists: bool) -> tuple[int, ...]:
    """Numbers per row of a column, a list being as long as in the first row."""
    if column.jagged:
        return () if lists or index is not None else (len(first[column.name][0]),)
    return column.shape if index is None else column.shape[1:]


def _names(branches: tuple[str, ...]) -> tuple[str, ...]:
    """The last words of the branches' paths, where they are names and differ."""
    last = tuple(b.rpartition("/")[2].rpartition(".")[2] for b in branches)
    return last if len(set(last)) == len(last) and all(n.isidentifier() for n in last) else ()
