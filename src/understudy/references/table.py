"""Events from a table that others made: its branches are named in the recipe, with their units and the column of weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Literal

import numpy as np

from understudy.events import Events
from understudy.plausible import RESPONSE
from understudy.registry import register
from understudy.schema import Array, Schema
from understudy.storage.quantity import Quantity, Words, check_lengths
from understudy.storage.table import ROWS, Table
from understudy.storage.tables import open_table


@register("references", "table")
class TableFile:
    """A source over a ROOT, Parquet, CSV or HDF5 table.

    Each block is the path of a branch, a list of them, or `{branch: ..., unit: ..., kind: ...}` (see `Quantity`).

    Args:
        path: `.root`, `.parquet`, `.csv`, `.h5` or `.hdf5`.
        tree: which tree of a ROOT file, or which group or data set of an HDF5 file.
        conditions: what the detector is asked, by the block's name.
        response: what it answers.
        weight: the branch of the weights, which may be negative.
        mask: the branch that is true (not 0) where something was detected; the response may be NaN elsewhere.
        aux: blocks that travel along, unseen by models.
        rows: `entries`, or `items`: every item of the lists is a row of its own, single numbers being repeated.
        events: use only the first so many rows.

    Raises:
        ValueError: when used without a path; unknown branches, units, lists of unequal length, weights that are NaN or do not add
            up to more than zero, and whatever `Events` refuses.
    """

    geometry = None
    expected_response = RESPONSE

    def __init__(
        self,
        conditions: dict[str, Words],
        response: dict[str, Words],
        path: str | None = None,
        tree: str | None = None,
        weight: str | None = None,
        mask: str | None = None,
        aux: dict[str, Words] | None = None,
        rows: Literal["entries", "items"] = "entries",
        events: int | None = None,
    ) -> None:
        if not conditions or not response:
            raise ValueError("a table needs at least one block of 'conditions' and one of the 'response'")
        if events is not None and events < 1:
            raise ValueError(f"a table cannot give its first {events} rows; ask for 1 or more")
        self.path, self.tree = path, tree
        self._parts: dict[str, Mapping[str, Quantity]] = {"conditions": conditions, "response": response, "aux": aux or {}}
        self._weight, self._mask, self._first = weight, mask, events
        self._items = rows == "items"

    def _table(self) -> Table:
        if self.path is None:
            raise ValueError("the reference is a table, but no file is named; give --data FILE or a path in the recipe")
        return open_table(self.path, self.tree)

    @cached_property
    def _description(self) -> tuple[Schema, int]:
        with self._table() as table:
            if self._items and not self._lists(table):
                raise ValueError(f"{table.where}: none of the named branches holds lists, so rows are entries; leave 'rows' out")
            blocks = {p: tuple(q.block(n, table, self._items) for n, q in named.items()) for p, named in self._parts.items()}
            for path in self._paths():
                table.find(path)
            n = self._count(table) if self._items else len(table)
        if self._first is not None and self._first > n:
            raise ValueError(f"{self.path} holds {n} rows where the first {self._first} are asked for; ask for fewer")
        return Schema(blocks["conditions"], blocks["response"], blocks["aux"]), self._first or n

    @property
    def schema(self) -> Schema:
        """The blocks of the table's events."""
        return self._description[0]

    def __len__(self) -> int:
        return self._description[1]

    def chunks(self, rows: int = ROWS) -> Iterator[Events]:
        """All events in the file's order, from at most `rows` entries of the file at a time."""
        left = len(self)
        with self._table() as table:
            names = list(dict.fromkeys(table.find(path)[0].name for path in self._paths()))
            for start in range(0, len(table), rows):
                if left <= 0:
                    return
                stop = min(start + rows, len(table), start + left if not self._items else len(table))
                made = self._events(table, table.take(names, start, stop), start, stop)
                yield made[:left] if left < len(made) else made
                left -= len(made)

    def events(self) -> Events:
        """All events, in the file's order; ValueError if their weights add up to zero or less."""
        events: Events = Events.concatenate(list(self.chunks()))
        if events.weights is not None and not (total := float(events.weights.sum())) > 0:
            raise ValueError(
                f"{self.path}: the weights {self._weight!r} of {len(events)} events add up to {total:g}; weights that describe a"
                " sample add up to more than zero, so check which branch holds them and what was selected"
            )
        return events

    def generate(self, n: int, generator: np.random.Generator) -> Events:
        """Draw `n` different events at random, in random order; memory is bounded by them and one chunk of the file."""
        if not 1 <= n <= len(self):
            raise ValueError(f"{self.path} cannot give {n} different events: it has {len(self)}; ask for fewer")
        index = generator.choice(len(self), n, replace=False)
        order = np.argsort(index, kind="stable")
        parts, start = [], 0
        for events in self.chunks():
            low, high = np.searchsorted(index[order], (start, start + len(events)))
            if high > low:
                parts.append(events[index[order[low:high]] - start])
            start += len(events)
        drawn: Events = Events.concatenate(parts)[np.argsort(order, kind="stable")]
        return drawn

    def _paths(self) -> list[str]:
        """The paths of all branches that are named."""
        named = [b for part in self._parts.values() for q in part.values() for b in q.branch]
        return [*named, *(p for p in (self._weight, self._mask) if p is not None)]

    def _lists(self, table: Table) -> list[str]:
        """The named branches whose items become rows."""
        found = [table.find(path) for path in self._paths()]
        return list(dict.fromkeys(column.name for column, index in found if column.jagged and index is None))

    def _count(self, table: Table) -> int:
        """Number of items of all entries."""
        names, total = self._lists(table), 0
        for start in range(0, len(table), ROWS):
            total += int(self._counts(table, table.take(names, start, min(start + ROWS, len(table))), start).sum())
        return total

    def _counts(self, table: Table, read: Mapping[str, Any], start: int) -> Array:
        """Number of items of each entry; ValueError where the lists differ in length."""
        import awkward

        lengths = {name: awkward.to_numpy(awkward.num(read[name], axis=1)) for name in self._lists(table)}
        check_lengths(table, lengths, start)
        return np.asarray(next(iter(lengths.values())))

    def _events(self, table: Table, read: Mapping[str, Any], start: int, stop: int) -> Events:
        counts = self._counts(table, read, start) if self._items else None
        rows = np.arange(start, stop)

        def part(name: str) -> dict[str, Any]:
            return {n: q.numbers(n, table, read, rows, start, counts) for n, q in self._parts[name].items()}

        def vector(path: str | None) -> Array | None:
            return None if path is None else np.asarray(Quantity(branch=(path,)).numbers(path, table, read, rows, start, counts))

        where = table.where if start == 0 else f"{table.where} (counted from {'entry' if self._items else 'event'} {start})"
        mask = vector(self._mask)
        return Events(
            self.schema,
            part("conditions"),
            part("response"),
            weights=vector(self._weight),
            mask=None if mask is None else mask != 0,
            aux=part("aux"),
            where=where,
        )
