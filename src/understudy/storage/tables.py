"""Tables by the ending of their file."""

from __future__ import annotations

from pathlib import Path

from understudy.storage.table import Table
from understudy.storage.table_arrow import CsvTable, ParquetTable
from understudy.storage.table_hdf5 import Hdf5Table
from understudy.storage.table_root import RootTable

FORMATS: dict[str, type[Table]] = {
    ".root": RootTable,
    ".parquet": ParquetTable,
    ".csv": CsvTable,
    ".h5": Hdf5Table,
    ".hdf5": Hdf5Table,
}


def open_table(path: str | Path, tree: str | None = None) -> Table:
    """Open a table; arguments and errors as of `Table`, and ValueError for an ending that is none of `FORMATS`."""
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise ValueError(f"{path} has the ending {suffix!r}, which is no table; use {', '.join(FORMATS)}")
    return FORMATS[suffix](path, tree)
