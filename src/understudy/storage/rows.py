"""Files of events whose data sets are columns of one table: what ROOT and Parquet have in common.

A block of any shape is a column with a fixed number of values per row, a jagged one a column of lists, its items one after the
other; shapes are restored from the schema that the file carries. Other people's files of this kind do not say which column is
a condition and which the response: they are read as references of kind `table`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from understudy.schema import Array, Block, Schema
from understudy.storage import layout
from understudy.storage.layout import Column
from understudy.storage.reader import Reader
from understudy.storage.table import Table
from understudy.storage.writer import Writer

HEADER = "understudy"
"""Where a file says what it holds, as JSON."""
LARGEST = 2**23
"""Bytes (about) of the rows that are written together."""


class RowsReader(Reader):
    """Events from a table; a format names its class of `table` and implements `_header`."""

    table: ClassVar[type[Table]]
    _table: Table
    _tree: str | None = None

    def _columns(self) -> Mapping[str, Column]:
        self._table = self.table(self.path, self._tree)
        n, found = len(self._table), {}
        for name, column in self._table.columns.items():
            kind = np.dtype("f8") if column.numeric else np.dtype("O")
            if column.jagged:
                found[f"{name}/offsets"], found[f"{name}/content"] = Column((n + 1,), kind), Column((n,), kind)
            else:
                found[name] = Column((n, *column.shape), kind)
        return found

    def _chosen(self, schema: Schema | None, conditions: Any) -> Schema:
        if schema is None and self._has_response and "showers" not in self.columns:
            raise ValueError(
                f"{self.path} does not say which of its columns are conditions and which the response; say it in the recipe, as a"
                f" reference of kind 'table' (`understudy info {self.path.name}` drafts one)"
            )
        return super()._chosen(schema, conditions)

    def _take(self, name: str, start: int, stop: int) -> Array:
        return np.asarray(self._table.take([name], start, stop)[name])

    def _values(self, block: Block, start: int, stop: int) -> Any:
        values = super()._values(block, start, stop)
        return values if block.kind == "jagged" else np.asarray(values).reshape(-1, *block.shape)

    def _jagged(self, key: str, start: int, stop: int) -> Any:
        import awkward

        block = next(
            b for b in (*self.schema.conditions, *self.schema.response, *self.schema.aux) if layout.data_set(b.name) == key
        )
        values = self._table.take([key], start, stop)[key]
        counts = awkward.to_numpy(awkward.num(values, axis=1))
        content = awkward.to_numpy(awkward.flatten(values, axis=1)).reshape(-1, *block.shape)
        return layout.jagged(counts // block.width, content)

    def close(self) -> None:
        """Close the file."""
        if hasattr(self, "_table"):
            self._table.close()


class RowsWriter(Writer):
    """Events into a table, some rows at a time; a format implements `_open`, `_write`, `_finish` and `_close`."""

    def __init__(self, path: str | Path, schema: Schema, geometry: Any = None, provenance: Any = None) -> None:
        super().__init__(path, schema, geometry, provenance)
        width = sum(b.width for b in (*schema.conditions, *schema.response, *schema.aux))
        self._rows = int(np.clip(LARGEST // max(4 * width, 1), 1, 2**16))
        self._kinds: dict[str, np.dtype[Any]] = {}
        self._waiting: dict[str, Array] = {}

    @abstractmethod
    def _write(self, rows: Mapping[str, Any]) -> None:
        """Write rows: by name arrays `(n,)` or `(n, width)`, or awkward arrays of lists."""

    def _create(self, name: str, shape: tuple[int, ...], dtype: Any, attributes: Mapping[str, str]) -> None:
        self._kinds[name] = np.dtype(dtype)

    def _extend(self, name: str, values: Array) -> None:
        self._waiting[name] = np.asarray(values, self._kinds[name])

    def _flush(self) -> None:
        before, self._waiting = dict(self._items), {}  # the first offset, 0, is of the layout in two data sets
        super()._flush()
        rows: dict[str, Any] = {}
        for name, values in self._waiting.items():
            base = name.removesuffix("/offsets")
            if base != name:
                content = self._waiting[f"{base}/content"]
                counts = np.diff(values, prepend=before[base])
                rows[base] = layout.jagged(counts * int(np.prod(content.shape[1:], dtype=int)), content.reshape(-1))
            elif not name.endswith("/content"):
                rows[name] = values.reshape(len(values), -1) if values.ndim > 1 else values
        if rows:
            self._write(rows)
