"""Parquet files of events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from understudy.extras import extra
from understudy.storage.layout import Header
from understudy.storage.rows import HEADER, RowsReader, RowsWriter
from understudy.storage.table_arrow import ParquetTable


class ParquetReader(RowsReader):
    """Events from a Parquet file."""

    table = ParquetTable

    def _header(self) -> Header | None:
        assert isinstance(self._table, ParquetTable)
        said = self._table.metadata.get(HEADER.encode())
        return None if said is None else Header.from_json(json.loads(said), str(self.path))


class ParquetWriter(RowsWriter):
    """Events into a Parquet file."""

    _file: Any = None

    def _open(self, partial: Path) -> None:
        extra("pyarrow.parquet", "parquet", "writing Parquet files")
        self._partial = partial

    def _write(self, rows: Mapping[str, Any]) -> None:
        arrow, parquet = (extra(m, "parquet", "writing Parquet files") for m in ("pyarrow", "pyarrow.parquet"))
        table = arrow.table({name: _column(arrow, values) for name, values in rows.items()})
        if self._file is None:
            self._file = parquet.ParquetWriter(self._partial, table.schema, compression="zstd")
        self._file.write_table(table)

    def _finish(self, header: Header) -> None:
        self._file.add_key_value_metadata({HEADER: json.dumps(header.to_json(), sort_keys=True)})
        self._file.close()

    def _close(self) -> None:
        with suppress(Exception):
            if self._file is not None:
                self._file.close()


def _column(arrow: Any, values: Any) -> Any:
    if not isinstance(values, np.ndarray):
        import awkward

        return awkward.to_arrow(values, list_to32=True, extensionarray=False)
    if values.ndim == 1:
        return arrow.array(values)
    return arrow.FixedSizeListArray.from_arrays(arrow.array(values.reshape(-1)), values.shape[1])
