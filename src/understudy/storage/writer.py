"""Writing events in chunks, whatever the file format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from understudy.events import Events
from understudy.files import atomic_path
from understudy.geometry import Calorimeter
from understudy.schema import Array, Block, Schema
from understudy.storage import layout
from understudy.storage.layout import Header
from understudy.storage.reader import Reader


class Writer(ABC):
    """A file of events in the making; a context manager.

    The file appears under its name when the `with` block ends without an error. Events are written in chunks of a fixed
    size, so the file's bytes depend on the events alone, not on how they were cut into calls of `append`, and no more than
    one chunk waits in memory. A format implements `_open`, `_create`, `_extend`, `_finish` and `_close`.

    Args:
        path: the file to make or to replace.
        schema: the blocks of all events that will be appended.
        geometry: where the cells of the response sit, written into the file.
        provenance: how the events were made (plain data), written into the file.

    Raises:
        ValueError: a block's name cannot be stored, the response does not fit the geometry, or no events were appended.
        OSError: the file cannot be written; the sentence says why and what to do.
    """

    def __init__(
        self,
        path: str | Path,
        schema: Schema,
        geometry: Calorimeter | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = Path(path)
        layout.check_names(schema, str(path))
        if geometry is not None:
            layout.check_geometry(schema, geometry, str(path))
        self.schema = schema
        self.geometry = geometry
        self.provenance = dict(provenance or {})
        self._rows = layout.rows_per_chunk(schema)
        self._n = 0
        self._buffer: list[Events] = []
        self._parts: tuple[bool, bool, bool] | None = None
        self._items: dict[str, int] = {}
        self._stack = ExitStack()

    @abstractmethod
    def _open(self, partial: Path) -> None:
        """Open the temporary file."""

    @abstractmethod
    def _create(self, name: str, shape: tuple[int, ...], dtype: Any, attributes: Mapping[str, str]) -> None:
        """Start a data set with rows of `shape`."""

    @abstractmethod
    def _extend(self, name: str, values: Array) -> None:
        """Append rows to a data set."""

    @abstractmethod
    def _finish(self, header: Header) -> None:
        """Write the header and complete the file."""

    @abstractmethod
    def _close(self) -> None:
        """Let go of the file, complete or not; raises nothing."""

    def __len__(self) -> int:
        return self._n

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            partial = stack.enter_context(atomic_path(self.path))
            stack.push(self._completing)
            self._open(partial)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, trace)

    def _completing(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if error is None:
                if self._parts is None:
                    raise ValueError(f"no events were given to write to {self.path}; nothing was written")
                self._flush()
                self._finish(Header(self.schema, self._parts[0], self.geometry, self.provenance))
        finally:
            self._close()

    def append(self, events: Events) -> None:
        """Add events at the end.

        Raises:
            ValueError: their schema is not the file's, or they have a response, weights or a mask where those before have
                none, or the other way round.
        """
        if events.schema != self.schema:
            raise ValueError(f"{self.path}: the appended events have another schema than the file; use one file per schema")
        if len(events) == 0:
            return
        self._begin((bool(events.response), events.weights is not None, events.mask is not None))
        start = 0
        while start < len(events):
            stop = min(start + self._rows - self._n % self._rows, len(events))
            self._buffer.append(events[start:stop])
            self._n += stop - start
            start = stop
            if self._n % self._rows == 0:
                self._flush()

    def append_file(self, source: Reader) -> None:
        """Add all events of an open file at the end; errors as of `append`."""
        for events in source.chunks():
            self.append(events)

    def _begin(self, parts: tuple[bool, bool, bool]) -> None:
        """Create the data sets if these are the first events, which have a response, weights and a mask or not."""
        if self._parts is None:
            self._parts = parts
            self._create_all()
        elif parts != self._parts:
            raise ValueError(f"{self.path}: either all or none of the appended events must have a response, weights or a mask")

    def _create_all(self) -> None:
        for block, name in self._stored():
            attributes = {"unit": block.unit, **({"columns": " ".join(block.columns)} if block.columns else {})}
            if block.kind == "jagged":
                self._create(f"{name}/offsets", (), np.int64, {})
                self._create(f"{name}/content", block.shape, np.float32, attributes)
                self._extend(f"{name}/offsets", np.zeros(1, np.int64))
                self._items[name] = 0
            else:
                self._create(name, _row(block), layout.dtype(block), attributes)
        if self._parts is not None and self._parts[1]:
            self._create("weights", (), np.float64, {})
        if self._parts is not None and self._parts[2]:
            self._create("mask", (), np.uint8, {})

    def _flush(self) -> None:
        if not self._buffer:
            return
        events = self._buffer[0] if len(self._buffer) == 1 else Events.concatenate(self._buffer)
        self._buffer = []
        for block, name in self._stored():
            if block.kind == "jagged":
                counts, content = layout.jagged_parts(events[block.name], block)
                ends = self._items[name] + np.cumsum(counts)
                self._items[name] = int(ends[-1])
                self._extend(f"{name}/offsets", ends)
                self._extend(f"{name}/content", content)
            else:
                self._extend(name, events[block.name].reshape(len(events), *_row(block)))
        if events.weights is not None:
            self._extend("weights", events.weights)
        if events.mask is not None:
            self._extend("mask", events.mask.astype(np.uint8))

    def _stored(self) -> Iterator[tuple[Block, str]]:
        """The blocks to store and the names of their data sets."""
        response = self.schema.response if self._parts and self._parts[0] else ()
        for block in (*self.schema.conditions, *response, *self.schema.aux):
            yield block, layout.data_set(block.name)


def _row(block: Block) -> tuple[int, ...]:
    """Shape of a block's row in the file: incident energies are `(n, 1)` in the CaloChallenge layout."""
    return (1,) if block.shape == () and layout.data_set(block.name) != block.name else block.shape
