"""Reading events in chunks, whatever the file format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from understudy.events import Events
from understudy.geometry import Calorimeter
from understudy.schema import Array, Block, Schema
from understudy.storage import layout
from understudy.storage.layout import Column, Header


class Reader(ABC):
    """An open file of events; a context manager.

    A format implements `_columns`, `_header`, `_take` and `close`.

    Args:
        path: the file.
        schema: the blocks to read; by default those that the file names, or those inferred from its data sets.
        conditions: names of the conditions to read; by default all that the schema has.
        response: False to read the conditions alone.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged or of another format, holds no events, lacks a data set, or its data sets have
            different lengths.
    """

    def __init__(
        self,
        path: str | Path,
        schema: Schema | None = None,
        conditions: Sequence[str] | None = None,
        response: bool = True,
    ) -> None:
        self.path = Path(path)
        try:
            self.columns: Mapping[str, Column] = self._columns()
            header = self._header()
            self.geometry: Calorimeter | None = header.geometry if header else None
            self.provenance: Mapping[str, Any] = header.provenance if header else {}
            self.own = header is not None
            self._has_response = response and (header is None or header.response)
            self.schema = self._chosen(schema or (header.schema if header else None), conditions)
            self._n = self._checked_length()
        except BaseException:
            self.close()
            raise

    @abstractmethod
    def _columns(self) -> Mapping[str, Column]:
        """The file's data sets."""

    @abstractmethod
    def _header(self) -> Header | None:
        """What the file says of itself, if it was written here."""

    @abstractmethod
    def _take(self, name: str, start: int, stop: int) -> Array:
        """Rows of a data set."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        return self._n

    @property
    def chunk(self) -> int:
        """Events read at a time by default: at most 4000, or about 32 MiB."""
        return 8 * layout.rows_per_chunk(self.schema)

    @property
    def parts(self) -> tuple[bool, bool, bool]:
        """Whether the events have a response, weights and a mask."""
        return bool(self._has_response and self.schema.response), self._vector_there("weights"), self._vector_there("mask")

    def read(self, start: int = 0, stop: int | None = None) -> Events:
        """The events from `start` up to `stop`, checked."""
        start, stop, _ = slice(start, stop).indices(len(self))
        stop = max(start, stop)
        response = self.schema.response if self._has_response else ()
        return Events(
            self.schema,
            {b.name: self._values(b, start, stop) for b in self.schema.conditions},
            {b.name: self._values(b, start, stop) for b in response},
            weights=self._vector("weights", start, stop),
            mask=self._vector("mask", start, stop),
            aux={b.name: self._values(b, start, stop) for b in self.schema.aux},
            where=str(self.path) if start == 0 else f"{self.path} (counted from event {start})",
        )

    def chunks(self, size: int | None = None) -> Iterator[Events]:
        """All events in their order, at most `size` at a time."""
        if size is not None and size < 1:
            raise ValueError(f"{self.path} cannot be read {size} events at a time; give a chunk of 1 or more")
        size = size or self.chunk
        for start in range(0, len(self), size):
            yield self.read(start, start + size)

    def rows(self, index: Array) -> Events:
        """The events of an index array, in its order; memory is bounded by them and one chunk."""
        index = np.asarray(index)
        if index.size == 0 or index.min() < 0 or index.max() >= len(self):
            raise IndexError(f"{self.path} holds {len(self)} events; an index must name at least one from 0 to {len(self) - 1}")
        order = np.argsort(index, kind="stable")
        ordered = index[order]
        parts = []
        for start in range(0, len(self), self.chunk):
            low, high = np.searchsorted(ordered, (start, start + self.chunk))
            if high > low:
                parts.append(self.read(start, start + self.chunk)[ordered[low:high] - start])
        selected: Events = Events.concatenate(parts)[np.argsort(order, kind="stable")]
        return selected

    def _chosen(self, schema: Schema | None, conditions: Sequence[str] | None) -> Schema:
        if schema is None:
            return layout.infer(self.columns, conditions, str(self.path), self._has_response)
        if conditions is None:
            return schema
        blocks = {layout.data_set(b.name): b for b in schema.conditions}
        for name in conditions:
            if layout.data_set(name) not in blocks:
                known = ", ".join(b.name for b in schema.conditions) or "none"
                raise ValueError(f"{self.path}: {name!r} is not one of its conditions, which are {known}")
        return Schema(tuple(blocks[layout.data_set(name)] for name in conditions), schema.response, schema.aux)

    def _checked_length(self) -> int:
        lengths: dict[str, int] = {}
        for block in (*self.schema.conditions, *(self.schema.response if self._has_response else ()), *self.schema.aux):
            key = layout.data_set(block.name)
            stored = f"{key}/offsets" if block.kind == "jagged" else key
            for name in (stored, f"{key}/content") if block.kind == "jagged" else (stored,):
                if name not in self.columns:
                    raise layout.missing(name, self.columns, str(self.path))
                if not self.columns[name].numeric:
                    raise ValueError(
                        f"{self.path}: the data set {name!r} has type {self.columns[name].dtype}, which is not a number"
                    )
            lengths[key] = self.columns[stored].shape[0] - (block.kind == "jagged")
        lengths |= {name: self.columns[name].shape[0] for name in ("weights", "mask") if self._vector_there(name)}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{name} {n}" for name, n in lengths.items())
            raise ValueError(f"{self.path}: its data sets have different numbers of events ({found}); write the file again")
        n = next(iter(lengths.values()), 0)
        if n <= 0:
            raise ValueError(f"{self.path} holds zero events; choose a file with events")
        return n

    def _vector_there(self, name: str) -> bool:
        column = self.columns.get(name)
        return column is not None and column.numeric

    def _vector(self, name: str, start: int, stop: int) -> Array | None:
        if not self._vector_there(name):
            return None
        values = self._take(name, start, stop)
        return values.reshape(-1) if values.shape[1:] == (1,) else values

    def _values(self, block: Block, start: int, stop: int) -> Any:
        key = layout.data_set(block.name)
        if block.kind == "jagged":
            return self._jagged(key, start, stop)
        values = self._take(key, start, stop)
        scale = 1.0 if self.own else layout.factor(self.columns[key])
        return values if scale == 1.0 else values * np.float64(scale)

    def _jagged(self, key: str, start: int, stop: int) -> Any:
        offsets = self._take(f"{key}/offsets", start, stop + 1).astype(np.int64)
        counts = np.diff(offsets)
        if (counts < 0).any() or offsets[0] < 0 or offsets[-1] > self.columns[f"{key}/content"].shape[0]:
            raise ValueError(f"{self.path}: the offsets of {key!r} do not fit its content; the file is damaged, write it again")
        return layout.jagged(counts, self._take(f"{key}/content", int(offsets[0]), int(offsets[-1])))


@contextmanager
def opened(path: Path) -> Iterator[None]:
    """One sentence for a file that cannot be opened."""
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}; check the path") from None
    except IsADirectoryError:
        raise IsADirectoryError(f"{path} is a folder; name a file in it") from None
    except PermissionError:
        raise PermissionError(f"no permission to read {path}; ask its owner for it") from None
