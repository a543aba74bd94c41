"""Parquet and CSV files, read with pyarrow in row groups and blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from understudy.extras import extra
from understudy.storage.table import Table, TableColumn

_BLOCK = 2**22
"""Bytes of a CSV file read at a time."""


class ParquetTable(Table):
    """A Parquet file; nested fields by path, lists of fixed or variable length."""

    extra = "parquet"

    def _open(self) -> Mapping[str, TableColumn]:
        parquet = extra("pyarrow.parquet", self.extra, "reading Parquet files")
        with readable(self.path, "Parquet"):
            self._file = parquet.ParquetFile(self.path)
            self._ends = np.cumsum([self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)])
        self._kept: tuple[int, tuple[str, ...], Any] | None = None
        return {c.name: c for field in self._file.schema_arrow for c in _columns(field.name, field.type)}

    @property
    def metadata(self) -> Mapping[bytes, bytes]:
        """Key and value pairs of the file."""
        return self._file.metadata.metadata or {}

    def _length(self) -> int:
        return int(self._file.metadata.num_rows)

    def take(self, names: Sequence[str], start: int, stop: int) -> dict[str, Any]:
        """Columns from row `start` up to `stop`."""
        arrow = extra("pyarrow", self.extra, "reading Parquet files")
        names = tuple(dict.fromkeys(names))
        parts = []
        first = int(np.searchsorted(self._ends, start, side="right"))
        for group in range(first, self._file.num_row_groups):
            begin = int(self._ends[group - 1]) if group else 0
            if begin >= stop:
                break
            parts.append(self._group(group, names).slice(max(start - begin, 0), stop - max(start, begin)))
        with readable(self.path, "Parquet"):
            rows = arrow.concat_tables(parts) if parts else self._group(0, names).slice(0, 0)
        return {n: _values(rows, n, self.columns[n], str(self.path)) for n in names}

    def _group(self, group: int, names: tuple[str, ...]) -> Any:
        if self._kept is None or self._kept[:2] != (group, names):
            with readable(self.path, "Parquet"):
                tops = list(dict.fromkeys(n.partition(".")[0] if n not in self._file.schema_arrow.names else n for n in names))
                self._kept = group, names, self._file.read_row_group(group, columns=tops)
        return self._kept[2]


class CsvTable(Table):
    """A CSV file with a line of names; read forwards in blocks, and again from its beginning where an earlier row is asked for.

    All numbers are read as floating-point ones: whole numbers in the first block may be others further down.
    """

    extra = "parquet"

    def _open(self) -> Mapping[str, TableColumn]:
        self._types: dict[str, Any] = {}
        self._rewind()
        self._names = [n or f"column_{i}" for i, n in enumerate(self._file.schema.names)]
        if len(set(self._names)) < len(self._names):
            twice = next(n for n in self._names if self._names.count(n) > 1)
            raise ValueError(f"{self.path}: its first line names {twice!r} more than once; give each column its own name")
        types = zip(self._names, self._file.schema.types, strict=True)
        return {c.name: c for name, kind in types for c in _columns(name, kind)}

    def _rewind(self) -> None:
        arrow, csv = (extra(m, self.extra, "reading CSV files") for m in ("pyarrow", "pyarrow.csv"))
        self.close()
        if self.path.stat().st_size == 0:
            raise ValueError(f"{self.path} is empty; choose a file with events")
        options = csv.ReadOptions(block_size=_BLOCK, use_threads=False)
        with readable(self.path, "CSV"):
            if not self._types:
                with csv.open_csv(self.path, read_options=options) as first:
                    self._types = {f.name: arrow.float64() if _plain(f.type) else f.type for f in first.schema}
            convert = csv.ConvertOptions(column_types=self._types)
            self._file = csv.open_csv(self.path, read_options=options, convert_options=convert)
        self._before = 0
        self._batch: Any = None

    def _next(self) -> bool:
        """Move to the next block; False at the end."""
        self._before += 0 if self._batch is None else self._batch.num_rows
        with readable(self.path, "CSV"):
            try:
                self._batch = self._file.read_next_batch()
            except StopIteration:
                self._batch = None
        return self._batch is not None

    def _length(self) -> int:
        while self._next():
            pass
        return self._before

    def take(self, names: Sequence[str], start: int, stop: int) -> dict[str, Any]:
        """Columns from row `start` up to `stop`."""
        arrow = extra("pyarrow", self.extra, "reading CSV files")
        stop = min(stop, len(self))
        if self._batch is None or start < self._before:
            self._rewind()
        parts: list[Any] = []
        while start < stop and (self._batch is not None or self._next()):
            inside = start - self._before
            if inside < self._batch.num_rows:
                parts.append(self._batch.slice(inside, stop - start))
                start += parts[-1].num_rows
            if start < stop and not self._next():
                break
        rows = arrow.Table.from_batches(parts or [], schema=self._file.schema).rename_columns(self._names)
        return {n: _values(rows, n, self.columns[n], str(self.path)) for n in dict.fromkeys(names)}


def _plain(kind: Any) -> bool:
    types = extra("pyarrow", "parquet", "reading CSV files").types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_null(kind))


def _columns(name: str, kind: Any) -> Iterator[TableColumn]:
    """The columns of a field, those inside a structure by path."""
    types = extra("pyarrow", "parquet", "reading Parquet files").types
    if types.is_struct(kind):
        for field in kind:
            yield from _columns(f"{name}.{field.name}", field.type)
        return
    listed, shape = types.is_list(kind) or types.is_large_list(kind), []
    inner = kind.value_type if listed else kind
    while types.is_fixed_size_list(inner):
        shape.append(inner.list_size)
        inner = inner.value_type
    numeric = types.is_integer(inner) or types.is_floating(inner) or types.is_boolean(inner)
    yield TableColumn(name, str(kind), numeric and not (listed and shape), listed, tuple(shape))


def _values(rows: Any, name: str, column: TableColumn, where: str) -> Any:
    """A column as an array, NaN where a number is missing; ValueError where a list is."""
    arrow = extra("pyarrow", "parquet", "reading Parquet files")
    array = rows.column(name) if name in rows.column_names else rows.column(name.partition(".")[0])
    array = array.combine_chunks() if isinstance(array, arrow.ChunkedArray) else array
    for part in name.split(".")[1:] if name not in rows.column_names else ():
        array = arrow.compute.struct_field(array, part) if hasattr(arrow, "compute") else array.field(part)
    if column.shape or column.jagged:
        if array.null_count or array.flatten().null_count:
            raise ValueError(f"{where}: the column {name!r} lacks lists or numbers in some rows; fill or remove these rows")
    elif array.null_count:
        array = array.cast(arrow.float64())
    if column.jagged:
        import awkward

        return awkward.from_arrow(array)
    inner = array
    for _ in column.shape:
        inner = inner.flatten()
    return np.asarray(inner.to_numpy(zero_copy_only=False)).reshape(len(array), *column.shape)


@contextmanager
def readable(path: Path, kind: str) -> Iterator[None]:
    """One sentence for whatever pyarrow says of a file that cannot be read."""
    arrow = extra("pyarrow", "parquet", f"reading {kind} files")
    try:
        yield
    except PermissionError:
        raise PermissionError(f"no permission to read {path}; ask its owner for it") from None
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
        words = " ".join(str(error).split())[:160]
        raise ValueError(f"{path} is damaged or no {kind} file ({words}); copy or write it again") from error
